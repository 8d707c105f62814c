"""Writes docs/findings.md from benchmarks/findings/: python docs/draw_findings.py [STUDIES].

With STUDIES, a folder that `nsfast study` wrote, its tables and figures are copied to benchmarks/findings/ first. Every
sentence with a number is made from the tables; why a finding of the paper does not hold here is in `WHY`, by claim.
"""

import shutil
import sys
from pathlib import Path

from nsfast.files import read_csv, read_json, write_text
from nsfast.pipeline.report_studies import claim_row, made_how

HERE = Path(__file__).parent
FINDINGS = HERE.parent / "benchmarks" / "findings"
FILES = ("comparisons.csv", "points.csv", "study.json", "figure.png")
ORDER = ("rq1", "rq2", "rq3", "rq4", "rq5", "findings")
WHY: dict[str, str] = {}
"""Why a claim of the paper is contradicted on small data, as far as it was found; shown where it is contradicted."""


def main(studies: Path | None) -> None:
    """Copy the studies, and write the page."""
    if studies:
        for about in sorted(studies.glob("*/study.json")):
            target = FINDINGS / about.parent.name
            target.mkdir(parents=True, exist_ok=True)
            for name in FILES:
                shutil.copyfile(about.parent / name, target / name)
    folders = [path.parent for path in FINDINGS.glob("*/study.json")]
    folders.sort(key=lambda folder: (ORDER.index(folder.name.split("-")[0]), folder.name))
    write_text(HERE / "findings.md", page(folders))


def page(folders: list[Path]) -> str:
    """Return docs/findings.md."""
    studies = [
        (folder, read_json(folder / "study.json"), read_csv(folder / "comparisons.csv")) for folder in folders
    ]
    rows = [row for _, _, rows in studies for row in rows]
    claims = [
        row for row in rows if row["verdict"] in ("reproduced", "contradicted", "undecided") and of_paper(row)
    ]
    counts = {
        word: sum(row["verdict"] == word for row in claims)
        for word in ("reproduced", "undecided", "contradicted")
    }
    lines = [
        "# The paper's questions, asked again",
        "",
        "Written by [draw_findings.py](draw_findings.py) from the tables in `benchmarks/findings/`, which "
        "`nsfast study` makes.",
        "",
        f"The paper's claims were tried on small pictures, on CPUs, with several seeds: of {len(claims)} comparisons "
        + ", ".join(f"{count} {word}" for word, count in counts.items())
        + ". What is undecided is no refutation: the table says how large an effect would have been seen. The paper's "
        "own effects are of ImageNet and stand there for orientation.",
        "",
        studies[0][1]["rule"] if studies else "",
    ]
    for folder, about, found in studies:
        lines += [
            "",
            f"## {about['study']}: {about['question']}",
            "",
            f"![{about['question']}]({picture(folder)})",
            "",
        ]
        lines += ["| claim | difference | the paper's | verdict |", "|---|---|---|---|"]
        for row in found:
            shown = claim_row(row)
            lines.append(
                f"| {row['comparison']} | {shown['difference']} | {shown['paper']} | {shown['verdict']} |"
            )
        lines += ["", f"{made_how(about, found)}."]
        if any(row["unit"] != "points" for row in found):
            lines.append("Differences are in points (of 100), the last line's in log-odds.")
        sources = {row["comparison"]: row for row in found if row["source"] or row["differs"]}
        if sources:
            lines += ["", "What the paper has beside it:", ""]
            lines += [
                f"- {name}: {'. '.join(part.rstrip('.') for part in (row['source'], row['differs']) if part)}."
                for name, row in sources.items()
            ]
        against = [row["comparison"] for row in found if row["verdict"] in ("contradicted", "worse")]
        lines += [
            line for name in against for line in ("", f"**{name}**: {WHY.get(name, 'not yet looked into.')}")
        ]
        lines += ["", "Arms: " + "; ".join(arm_words(name, arm) for name, arm in about["arms"].items()) + "."]
    return "\n".join(lines) + "\n"


def of_paper(row: dict) -> bool:
    """Whether a comparison is a claim of the paper."""
    return not str(row["source"]).startswith("no claim")


def picture(folder: Path) -> str:
    """Return the address of a study's figure, from the page."""
    return f"../benchmarks/findings/{folder.name}/figure.png"


def arm_words(name: str, arm: dict) -> str:
    """Return what an arm is, with its settings."""
    settings = " ".join(f"`{setting}`" for setting in arm["settings"])
    return f"*{name}* ({arm['says']}{'; ' if arm['says'] and settings else ''}{settings})"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
