"""A checkpoint from which a training continues to the bit, in the middle of an epoch too."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fastai.callback.tracker import SaveModelCallback
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nsfast.errors import NsfastError
from nsfast.training import Recipe
from nsfast.training.average import WeightAverage
from nsfast.training.checkpoint import Checkpoint
from nsfast.training.checkpoint_file import read_checkpoint
from nsfast.training.learner import PseudoLabeled, build_learner
from nsfast.training.train import train

RECIPE = Recipe(size=1, epochs=4, steps_per_epoch=3, batch=4, ratio=2, ema=0.6, randaugment_m=3)


def pseudo(tiny) -> PseudoLabeled:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([1, 1, 1], len(tiny.unlabeled)).astype(np.float32)
    return PseudoLabeled(tiny.unlabeled.pixels, probabilities, random.integers(1, 4, len(tiny.unlabeled)))


def learner(tiny, recipe=RECIPE):
    return build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny))


def state(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Killed(BaseException):
    """Stands for SIGKILL."""


def run(tiny, folder, recipe=RECIPE, **options):
    images = (tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny))
    return train(recipe, 3, *images, folder, {"a": 1}, **options)


def file_in(folder):
    """The checkpoint in a folder, without the one before it."""
    (path,) = [p for p in folder.glob("checkpoint-*.safetensors") if "previous" not in p.name]
    return path


def result(trained):
    return state(trained.model), state(trained.average), trained.history


def same(a, b) -> bool:
    return equal(a[0], b[0]) and equal(a[1], b[1]) and a[2] == b[2]


@pytest.fixture(scope="module")
def uninterrupted(tiny, tmp_path_factory):
    return result(run(tiny, tmp_path_factory.mktemp("whole")))


def kill_after_epoch(patch, epoch):
    save = Checkpoint._save

    def killing(self, *arguments, **named):
        save(self, *arguments, **named)
        if self.epoch + 1 == epoch:
            raise Killed

    patch.setattr(Checkpoint, "_save", killing)


def kill_at_step(patch, step):
    after_step, steps = WeightAverage.after_step, []

    def killing(self):
        after_step(self)
        steps.append(0)
        if len(steps) == step:
            raise Killed

    patch.setattr(WeightAverage, "after_step", killing)


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_a_training_killed_after_an_epoch_and_continued_is_the_uninterrupted_one(
    tiny, tmp_path, uninterrupted, epoch, capsys
):
    path = tmp_path
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_after_epoch(patch, epoch)
        run(tiny, path)
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        after_step = WeightAverage.after_step
        patch.setattr(WeightAverage, "after_step", lambda self: (steps.append(0), after_step(self))[1])
        assert same(result(run(tiny, path)), uninterrupted)
    assert len(steps) == 3 * (4 - epoch)


@pytest.mark.parametrize("minutes", [0, 10])
@pytest.mark.parametrize(
    "changes", [{}, {"accumulate": 2}, {"optimizer": "rmsprop", "schedule": "staircase"}]
)
def test_killed_several_times_in_the_middle_of_epochs_too(tiny, tmp_path, minutes, changes):
    """With a checkpoint at every step, and with those at the ends of epochs alone."""
    recipe = replace(RECIPE, **changes, crop="pad", flip=True, cutout=2)
    whole = result(run(tiny, tmp_path / "whole", recipe))
    done = []
    for step in (2, 5, 4):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            kill_at_step(patch, step)
            run(tiny, tmp_path / "killed", recipe, minutes=minutes)
        there = list((tmp_path / "killed").glob("checkpoint-*"))
        about, _ = read_checkpoint(file_in(tmp_path / "killed")) if there else ({}, None)
        done.append((about.get("epoch"), about.get("batches")))
    # a step is killed after it was taken and before it was saved
    assert done == ([(0, 1), (1, 2), (2, 2)] if minutes == 0 else [(None, None), (1, 0), (2, 0)])
    assert same(result(run(tiny, tmp_path / "killed", recipe, minutes=minutes)), whole)
    names = sorted(p.name for p in (tmp_path / "killed").iterdir())
    assert len(names) == 2 and names[0].endswith(".previous.safetensors")


def test_a_kill_in_the_middle_of_an_epoch_repeats_no_batch(tiny, tmp_path):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at_step(patch, 6)
        run(tiny, tmp_path, minutes=0)
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        after_step = WeightAverage.after_step
        patch.setattr(WeightAverage, "after_step", lambda self: (steps.append(0), after_step(self))[1])
        run(tiny, tmp_path, minutes=0)
    assert len(steps) == 12 - 5


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_that_workers_decode_continue_to_the_bit_in_the_middle_of_an_epoch(tmp_path, workers):
    """One uninterrupted training without workers is what every other one must be."""
    from nsfast.images.readers import READERS
    from nsfast.images.tiny import write_tiny

    images = READERS["imagenet"](**write_tiny("imagenet", tmp_path / "data"))
    recipe = Recipe(size=1, epochs=2, steps_per_epoch=3, batch=4, crop="inception", flip=True, resolution=24)
    arguments = (len(images.classes), images.statistics(), images.labeled, images.validation)
    whole = train(recipe, *arguments, folder=tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at_step(patch, 3)
        train(recipe, *arguments, folder=tmp_path / "killed", minutes=0, workers=workers)
    again = train(recipe, *arguments, folder=tmp_path / "killed", minutes=0, workers=workers)
    assert same(result(again), result(whole))


@pytest.mark.parametrize("forgotten", ["raw", "ema", "opt", "random", "losses", "fraction"])
def test_forgetting_any_part_of_the_state_would_show(tiny, tmp_path, uninterrupted, forgotten):
    """The negative control of the tests above: the comparison sees every part that is restored."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at_step(patch, 6)
        run(tiny, tmp_path, minutes=0)
    path = file_in(tmp_path)
    with safe_open(path, "pt") as file:
        about = file.metadata()
    tensors = load_file(path)
    if forgotten in ("fraction", "step"):
        written = json.loads(about["nsfast"])
        written[forgotten] *= 0.5
        about["nsfast"] = json.dumps(written)
    elif forgotten == "random":
        tensors["random.0.torch"] = torch.Generator().manual_seed(1).get_state()
    for name in [n for n in tensors if n.startswith(forgotten) and tensors[n].is_floating_point()]:
        tensors[name] = tensors[name] * 1.001
    save_file(tensors, path, about)
    assert not same(result(run(tiny, tmp_path, minutes=0)), uninterrupted)


def test_the_history_is_what_the_averaged_weights_score(tiny, uninterrupted, tmp_path):
    _, _, history = uninterrupted
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    trained = run(tiny, tmp_path)
    x = torch.from_numpy(tiny.validation.pixels).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(tiny.validation.labels)
    with torch.no_grad():
        logits = trained.average(x)
    assert history[-1]["validation_accuracy"] == pytest.approx(
        (logits.argmax(1) == labels).float().mean().item()
    )
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert history[-1]["validation_loss"] == pytest.approx(loss, rel=1e-5)


def test_a_checkpoint_of_another_recipe_is_kept_and_continued_once_that_is_back(tiny, tmp_path, capsys):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at_step(patch, 4)
        run(tiny, tmp_path)
    first = file_in(tmp_path)
    before = first.read_bytes()
    run(tiny, tmp_path, replace(RECIPE, label_smoothing=0.2))
    assert first.read_bytes() == before
    assert f"kept, and continued once their recipe is back: {first.name}" in capsys.readouterr().out


@pytest.mark.parametrize("changes", [{"accumulate": 2}, {"precision": "bfloat16"}])
def test_parts_and_precision_may_change_on_the_way(tiny, tmp_path, changes):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at_step(patch, 5)
        run(tiny, tmp_path, minutes=0)
    path = file_in(tmp_path)
    assert len(run(tiny, tmp_path, replace(RECIPE, **changes)).history) == 4
    assert file_in(tmp_path) == path


def test_the_callback_refuses_a_checkpoint_of_another_training_and_says_what_differs(tiny, tmp_path):
    path, average = tmp_path / "c.safetensors", WeightAverage(0.5)
    learn = learner(tiny)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, cbs=[average, Checkpoint(path, {"recipe": {"epochs": 1, "batch": 4}}, 0, average)])
    with pytest.raises(NsfastError, match=r"is of another training \(epochs is 1 there and 2 here.*delete"):
        Checkpoint(path, {"recipe": {"epochs": 2, "batch": 4}}, 0, average)


def test_trackers_of_fastai_go_on_where_they_were(tiny, tmp_path):
    """fastai's own `start_epoch` fails here with an IndexError, and saves the model anew for every skipped epoch."""

    def fit(folder, kill=None):
        average, learn = WeightAverage(0.5), learner(tiny)
        learn.path = folder
        keeper = SaveModelCallback(monitor="soft_accuracy")
        saver = Checkpoint(folder / "c.safetensors", {}, 0, average)
        with learn.no_bar(), learn.no_logging(), pytest.MonkeyPatch.context() as patch:
            if kill:
                kill_after_epoch(patch, kill)
            learn.fit(4, cbs=[average, saver, keeper])
        return keeper.best, [list(row) for row in learn.recorder.values]

    whole = fit(tmp_path / "whole")
    with pytest.raises(Killed):
        fit(tmp_path / "killed", 2)
    best = (tmp_path / "killed/models/model.pth").stat().st_mtime_ns
    again = fit(tmp_path / "killed")
    assert again[0] == pytest.approx(whole[0]) and np.allclose(
        np.array(again[1], float), np.array(whole[1], float)
    )
    if whole[1].index(max(whole[1], key=lambda row: row[2])) < 2:
        assert (tmp_path / "killed/models/model.pth").stat().st_mtime_ns == best


def damage(path, how):
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    elif how == "other":
        save_file({"x": torch.zeros(1)}, path)
    else:
        path.write_bytes(how)


@pytest.mark.parametrize("how", [b"", b"garbage", "cut", "other"])
def test_of_a_damaged_checkpoint_the_one_before_is_taken(tiny, tmp_path, uninterrupted, how, capsys):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_after_epoch(patch, 3)
        run(tiny, tmp_path)
    damage(file_in(tmp_path), how)
    assert same(result(run(tiny, tmp_path)), uninterrupted)
    assert "is damaged" in (said := capsys.readouterr().out) and "going on from the one before it" in said


@pytest.mark.parametrize("how", [b"", b"garbage", "cut", "other"])
def test_damaged_checkpoints_are_one_line_that_names_it(tiny, tmp_path, how):
    run(tiny, tmp_path, one := replace(RECIPE, epochs=1))
    damage(path := file_in(tmp_path), how)
    with pytest.raises(NsfastError) as caught:
        run(tiny, tmp_path, one)
    said = str(caught.value)
    assert said.startswith(f"checkpoint {path} is damaged") and "delete it to train anew" in said
    assert "\n" not in said


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_weights_that_lie_channels_last_continue_to_the_bit(tiny, tmp_path, optimizer):
    """A fused step walks through the memory of weight and state side by side."""
    recipe = replace(RECIPE, precision="bfloat16", optimizer=optimizer)
    whole = result(run(tiny, tmp_path / "whole", recipe))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at_step(patch, 5)
        run(tiny, tmp_path / "killed", recipe, minutes=0)
    assert same(result(run(tiny, tmp_path / "killed", recipe, minutes=0)), whole)


@pytest.mark.parametrize("lacking", ["a torch optimizer", "a metric"])
def test_a_learner_that_cannot_be_saved_is_refused_before_it_trains(tiny, tmp_path, lacking):
    from fastai.optimizer import Adam

    learn, average = learner(tiny), WeightAverage(0.5)
    if lacking == "a metric":
        learn.metrics = []
        learn.cbs.filter(lambda callback: type(callback).__name__ == "SoftTargets")[0].labeled = 0
    else:
        learn.opt_func = Adam
    with (
        learn.no_bar(),
        learn.no_logging(),
        pytest.raises(NsfastError, match="needs a torch optimizer and a metric"),
    ):
        learn.fit(1, cbs=[average, Checkpoint(tmp_path / "c.safetensors", {}, 0, average)])
    assert not list(tmp_path.iterdir())
