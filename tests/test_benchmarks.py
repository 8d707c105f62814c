"""The benchmarks' table and gates, and that the loops they compare with do the same work; no time is asserted."""

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


def test_every_script_that_make_bench_runs_is_there_and_that_of_the_gpu_is_not_among_them():
    scripts = set(whole().SCRIPTS)
    assert all((BENCHMARKS / f"{name}.py").is_file() for name in scripts)
    assert "gpu" not in scripts


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


def levels_in_double_precision(module, inputs):
    """Normalised pictures anew from their grey levels: either side has rounded them in another order."""
    levels = ((inputs[0].double() * 0.25 + 0.5) * 255).round()
    return ((levels / 255 - 0.5) / 0.25,)


@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop"])
def test_timms_loop_trains_to_the_same_weights_as_the_learner(monkeypatch, tmp_path, optimizer):
    import torch
    from fastai.learner import AvgSmoothLoss

    from nsfast.training import Recipe
    from nsfast.training.average import WeightAverage
    from nsfast.training.checkpoint import Checkpoint

    against, steps, batch, apart = import_module("timm_loop"), 3, 16, []
    double = torch.zeros((), dtype=torch.float64)  # fastai's mean of the loss would be in single precision
    monkeypatch.setattr(AvgSmoothLoss, "reset", lambda self: vars(self).update(count=0, val=double))
    for seed in range(3):
        sizes = dict(size=1, steps_per_epoch=steps, batch=batch, optimizer=optimizer, learning_rate=1e-3)
        # two steps of warm-up, then a stair lower every other step
        schedule = dict(schedule="staircase", warmup_epochs=0.7, decay_epochs=0.7)
        recipe = Recipe(**against.NO_NOISE, **schedule, **sizes, seed=seed)
        learner = against.labeled_learner(recipe, pixels=8, classes=3)
        learner.model.double().body.register_forward_pre_hook(levels_in_double_precision)
        loop, clocked = against.TimmLoop(learner, recipe), against.Clocked(recipe, learner)
        start = torch.nn.utils.parameters_to_vector(loop.model.parameters())
        average, orders = WeightAverage(recipe.ema), []
        saver = Checkpoint(tmp_path / f"{seed}.safetensors", {}, recipe.seed, average)
        loader, draw = learner.dls.train, learner.dls.train.get_idxs
        monkeypatch.setattr(
            loader, "get_idxs", lambda orders=orders, draw=draw: orders.append(draw()) or orders[-1]
        )
        monkeypatch.setattr(
            *(loop.loader.loader, "draw"),
            lambda orders=orders: torch.from_numpy(orders[-1]).view(steps, batch),
        )
        for _ in range(2):
            assert against.fit_labeled(learner, recipe, clocked, average, saver) > 0
            loop.epoch()
        assert loop.updates == clocked.step == average.updates == 2 * steps
        ours, theirs = (
            torch.nn.utils.parameters_to_vector(model.parameters()) for model in (learner.model, loop.model)
        )
        apart.append(((ours - theirs).norm() / (ours - start).norm()).item())
    # in single precision, on some processors, the order of a sum carries a ReLU over zero, and AdamW goes another way
    assert max(apart) < 1e-6


def test_the_pictures_to_decode_have_their_size_and_both_sides_crop_each_of_them_once(monkeypatch, tmp_path):
    from PIL import Image

    decode = import_module("decode")
    names = decode.write_photographs(tmp_path, 3, decode.LARGE)
    opened, real = [], Image.open
    monkeypatch.setattr(
        Image, "open", lambda *args, **options: opened.append(args[0]) or real(*args, **options)
    )
    for name in names:
        with Image.open(tmp_path / name) as image:
            assert image.size == decode.LARGE and image.format == "JPEG"
    for side in (decode.ours, decode.theirs):
        opened.clear()
        side(tmp_path, names, 8)()
        files = [Path(getattr(source, "name", source)).name for source in opened]
        assert sorted(files) == sorted(names)


def test_a_benchmark_of_the_gpu_takes_parts_and_says_so_where_there_is_none(monkeypatch, capsys):
    import torch

    gpu = import_module("gpu")
    assert gpu.parts([]) == list(gpu.PARTS) and gpu.parts(["step", "training"]) == ["step", "training"]
    with pytest.raises(SystemExit):
        gpu.parts(["trainin"])
    assert "no part 'trainin'; there are training, labeling" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch finds none"):
        gpu.main(["training"])


def test_training_on_a_gpu_is_counted_in_pictures_of_both_sides(monkeypatch):
    import time

    gpu, timing = import_module("gpu"), import_module("timing")
    monkeypatch.setattr(gpu, "interleaved", lambda *sides: timing.interleaved(*sides, rounds=1))
    small = dict(
        DEVICE="cpu", PIXELS=32, BATCH=4, CLASSES=3, STEPS=2, NETWORK="resnet10t", clock=time.perf_counter
    )
    for name, value in small.items():
        monkeypatch.setattr(gpu, name, value)
    ratio, ours, bare = gpu.training()
    assert ratio.rounds == pytest.approx([a / b for a, b in zip(ours.rounds, bare.rounds, strict=True)])
    assert ratio.at_least == 0.95 and ours.at_least is None


def test_both_sides_of_balancing_select_as_many_of_each_class_in_processes_of_their_own(monkeypatch, capfd):
    balance, timing = import_module("balance"), import_module("timing")
    monkeypatch.setattr(balance, "SHARD", 15_000)
    monkeypatch.setattr(timing, "interleaved", lambda *sides, rounds: [[side()] for side in sides])
    found = balance.results((40_000,))  # and stops where they differ
    assert [line.unit for line in found] == ["x", "GB", "GB", "s"]
    assert found[0].at_most == 1.2 and found[1].at_most == 0.5 and found[1].value < 0.5
    assert not capfd.readouterr().err
