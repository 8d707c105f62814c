"""Ten decisions of a person, from the explorer to the selection and the report."""

import pytest

from nsfast.images import load_images
from nsfast.labels import read_labels, read_selection
from nsfast.pipeline.exploring import explore_run


def pairs(run) -> set[tuple[int, int]]:
    found = read_selection(run / "round-1/selection.parquet")
    return {*zip(found.ids.tolist(), found.classes.tolist(), strict=True)}


@pytest.mark.slow
def test_five_rejected_and_five_relabeled_are_all_that_differs_and_the_report_names_them(
    copy_of_finished, command_here, quick
):
    run = copy_of_finished / "runs/digits"
    settings = (*quick, "--set", "balancing.method=none")
    command_here("run", "digits", *settings, "--until", "balancing", cwd=copy_of_finished)
    before = pairs(run)
    explorer = explore_run(run, 1, who="ann <a>")
    labels, truth = read_labels(run / "round-1/labels"), load_images(run / "images").truth
    wrong = explorer.select(wrong=True, confidence=(0.3, 1.0), descending=True)
    rejected, relabeled = wrong.names[:5], wrong.names[5:10]
    explorer.reject(rejected, why="wrong")
    expected = {}
    for name, row in zip(relabeled, wrong.rows[5:10], strict=True):
        right = max(int(truth[labels.ids[row]]), 0)
        right = right if right != labels.predicted[row] else right + 1  # of no class: any other one
        explorer.relabel(name, labels.classes[right])
        expected[int(labels.ids[row])] = right
    command_here("run", "digits", *settings, cwd=copy_of_finished)
    after, gone = pairs(run), {*labels.ids[wrong.rows[:5]].tolist()}
    assert {i for i, _ in before - after} == gone | {*expected}
    assert after - before == {*expected.items()}
    report = (run / "analysis/report.html").read_text()
    assert all(name in report for name in (*rejected, *relabeled))
    assert "ann &lt;a&gt;" in report and "ann <a>" not in report
