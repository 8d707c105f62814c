"""Studies in notebook and report: those beside a run, else those that come with nsfast, everything escaped."""

import pytest

from nsfast.files import write_csv, write_json
from nsfast.pipeline.report_studies import claim_row, found_studies, shipped_studies, studies_html

ROW = {
    **{
        "comparison": "<b>student</b> > control",
        "unit": "points",
        "difference": 2.04,
        "low": 0.5,
        "high": 3.61,
    },
    **{"paper": 2.9, "verdict": "reproduced", "p_holm": 0.0101, "smallest": 1.234, "n": 2500, "note": ""},
    "measure": "accuracy",
}
ABOUT = {
    **{
        "study": "rq1",
        "question": "Is <i>it</i> better?",
        "data": "digits",
        "rule": "A & B",
        "seeds": [0, 1],
    },
    **{"hours_of_stages": 0.5, "machine": "2 cores", "command": "nsfast study rq1"},
}


def write_study(folder):
    write_csv(folder / "comparisons.csv", [ROW])
    write_json(folder / "study.json", ABOUT)
    return folder


def test_a_claim_is_shown_with_interval_paper_and_verdict():
    assert claim_row(ROW)["difference"] == "+2.0 [+0.5, +3.6]"
    assert claim_row(ROW)["verdict"] == "reproduced (p = 0.010)" and claim_row(ROW)["paper"] == "+2.9"
    undecided = claim_row({**ROW, "verdict": "undecided", "paper": "", "p_holm": 0.4})
    assert undecided["verdict"] == "undecided (p = 0.400; would have seen 1.2)" and undecided["paper"] == ""
    failed = claim_row({**ROW, "verdict": "not measured", "difference": "", "note": "no memory"})
    assert failed["verdict"] == "not measured: no memory"


@pytest.mark.parametrize("where", ["runs/studies", "studies"])
def test_studies_beside_the_run_are_shown_and_escaped(tmp_path, where):
    study = write_study(tmp_path / where / "rq1-digits")
    (tmp_path / where / "half").mkdir()
    found = found_studies(tmp_path / "runs" / "digits")
    assert found == [study]
    page = studies_html(found)
    assert "<i>it" not in page and "<b>student" not in page and "&lt;b&gt;student" in page
    assert "run beside this one" in page and "A &amp; B" in page and "2 seeds" in page and "2,500" in page


def test_without_any_those_that_come_with_nsfast_are_shown(tmp_path):
    assert found_studies(tmp_path / "runs" / "digits") == [] and studies_html([]) == ""
    page = studies_html(shipped_studies())
    assert "that come with nsfast" in page and "rq1" in page and "<img" not in page
