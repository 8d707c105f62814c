"""docs/findings.md is what its script makes of the committed tables, and every verdict follows from its own seeds."""

import csv
import sys
from pathlib import Path

import pytest

from nsfast.files import read_csv, read_json

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "benchmarks" / "findings").glob("*/study.json"))


def test_the_page_is_written_from_the_tables(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    monkeypatch.delitem(sys.modules, "draw_findings", raising=False)
    import draw_findings

    assert (ROOT / "docs" / "findings.md").read_text(encoding="utf-8") == draw_findings.page(
        draw_findings.folders()
    )


@pytest.mark.parametrize("about", STUDIES, ids=lambda path: path.parent.name)
def test_the_verdicts_follow_from_the_points_of_at_least_five_seeds(about):
    from nsfast.study.verdict import verdicts

    said, folder = read_json(about), about.parent
    assert len(said["seeds"]) >= 5 and (folder / "figure.png").is_file()
    points = {
        (row["seed"], row["arm"], row["model"], row["measure"]): row["value"]
        for row in read_csv(folder / "points.csv", text=("arm", "model", "measure"))
    }
    with open(folder / "comparisons.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["verdict"] != "not measured"]
    assert rows
    families = []
    for row in rows:
        unit = 100 if row["unit"] == "points" else 1
        (first, second) = (tuple(row[side].split("/")) for side in ("first", "second"))
        raw = "raw_accuracy" if row["first"] == row["second"] else row["measure"]
        seeds = [
            s for s in said["seeds"] if (s, *first, row["measure"]) in points and (s, *second, raw) in points
        ]
        assert len(seeds) == int(row["seeds"])
        families.append(
            [unit * (points[(s, *first, row["measure"])] - points[(s, *second, raw)]) for s in seeds]
        )
    words = {"better": "reproduced", "worse": "contradicted"}
    for row, found in zip(rows, verdicts(families), strict=True):
        assert words.get(row["verdict"], row["verdict"]) == found.verdict
        assert float(row["difference"]) == pytest.approx(found.difference, abs=1e-4)
        assert float(row["p_holm"]) == pytest.approx(found.p_holm, abs=1e-4)  # of values of six digits
