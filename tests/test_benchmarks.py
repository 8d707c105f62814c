"""The benchmarks' table and gates, and that the loop they compare with does the same work; no time is asserted."""

from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TEXT = """\
# Results

What was measured.

## First

kept  \t
### Ratios of the first
## Ratios of something else

| a |

## Last

no newline at the end"""


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """As when a script of the folder runs."""
    monkeypatch.syspath_prepend(BENCHMARKS)


def whole():
    """Import the folder's `__main__.py`, which `make bench` runs."""
    spec = spec_from_file_location("whole", BENCHMARKS / "__main__.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def result(*rounds, **gate):
    return import_module("timing").Result("a / b", rounds, **gate)


def test_a_new_section_comes_after_the_introduction_or_last_and_nothing_else_changes():
    replaced = import_module("table").replaced
    place = TEXT.index("## First")
    assert replaced(TEXT, "## Ratios", "new") == TEXT[:place] + "## Ratios\n\nnew\n\n" + TEXT[place:]
    assert replaced(TEXT, "## Ratios", "new", last=True) == TEXT + "\n\n## Ratios\n\nnew\n"
    assert replaced("# Results\n", "## Ratios", "new") == "# Results\n\n## Ratios\n\nnew\n"


@pytest.mark.parametrize("last", [False, True])
def test_a_section_is_replaced_where_it_stands_and_the_others_stay_byte_for_byte(last):
    replaced = import_module("table").replaced
    old = replaced(TEXT, "## Ratios", "old | with\n\n### a part\n\nof it", last)
    new = replaced(TEXT, "## Ratios", "new", last)
    assert replaced(old, "## Ratios", "new", last) == new == replaced(new, "## Ratios", "new", not last)
    middle = replaced(TEXT, "## First", "new")
    assert middle == TEXT[: TEXT.index("kept")] + "new\n\n" + TEXT[TEXT.index("## Ratios of something") :]


def test_the_median_of_the_rounds_is_what_is_held_against_the_gate():
    assert result(0.1, 0.96, 9.0, at_least=0.95).verdict == "ok"
    assert result(0.94, 0.1, 9.0, at_least=0.95).verdict == "short"
    assert result(1.5, 1.5, 9.0, at_most=1.5).verdict == "ok"
    assert result(0.0, 1.6, 1.7, at_most=1.5).verdict == "short"
    assert result(float("nan"), at_least=1).verdict == result(float("nan"), at_most=1).verdict == "short"
    assert result(0.0).verdict == ""


def test_sides_take_turns_and_the_warm_up_does_not_count():
    calls = []

    def side(name):
        return lambda: calls.append(name) or len(calls)

    found = import_module("timing").interleaved(side("a"), side("b"), rounds=3)
    assert "".join(calls) == "abbaabba" and found == [[4, 5, 8], [3, 6, 7]]
    assert import_module("timing").ratios([1, 6], [2, 3], factor=10) == [5, 20]


def test_all_scripts_are_run_and_one_that_is_short_makes_the_exit_code_1(monkeypatch, tmp_path, capsys):
    path, main = tmp_path / "RESULTS.md", whole()
    path.write_text(TEXT)
    lines = {"good": [result(1.0, at_least=0.5), result(3.0)], "bad": [result(2.0, at_most=1)]}
    monkeypatch.setattr(main, "import_module", lambda name: SimpleNamespace(results=lambda: lines[name]))
    assert main.main(["good"], path) == 0
    assert main.main(["bad", "good"], path) == 1
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == [
        "ok",
        "3.00",
        "short",
        "ok",
        "3.00",
    ]
    text = path.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| a / b")]
    assert [row.split(" | ")[3:] for row in rows] == [["<= 1", "short |"], [">= 0.5", "ok |"], ["", " |"]]
    assert text[: text.index("## Ratios\n")] + text[text.index("## First") :] == TEXT
    assert str(BENCHMARKS.parent) not in text


def test_a_line_has_median_unit_and_range():
    assert import_module("table").cells(result(4.0, 1.0, 2.0))[1:3] == ["2.00 x", "1.00 to 4.00"]
    assert import_module("table").cells(result(0.1234, unit="s"))[1:3] == ["0.123 s", "0.123 to 0.123"]


def test_every_script_that_make_bench_runs_is_there_and_the_seeds_and_the_gpu_are_not_among_them():
    scripts = set(whole().SCRIPTS)
    assert all((BENCHMARKS / f"{name}.py").is_file() for name in scripts)
    assert not scripts & {"digits_over_seeds", "gpu"}


def test_the_plain_loop_trains_to_the_same_weights_as_the_learner(monkeypatch):
    import torch

    students = import_module("student")
    learner = students.student(6, "small", pixels=8, channels=1, batch=16, classes=3)
    loop = import_module("bare").BareLoop(learner)
    start = [value.clone() for value in loop.model.state_dict().values()]
    loader, orders = learner.dls.train, []
    draw = loader.get_idxs
    monkeypatch.setattr(loader, "get_idxs", lambda: orders.append(draw()) or orders[-1])
    assert students.fit(learner) > 0
    loop.epoch(torch.from_numpy(orders[-1]).view(6, 16))
    ends = learner.model.state_dict().values(), loop.model.state_dict().values()
    for before, ours, bare in zip(start, *ends, strict=True):
        torch.testing.assert_close(ours, bare)
        assert before.numel() <= 1 or not torch.equal(before, bare)
    assert loop.draw().shape == (6, 16)
