"""A checkpoint from which a training continues to the bit."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nsfast.errors import NsfastError
from nsfast.training import Recipe, checkpoint
from nsfast.training.average import WeightAverage
from nsfast.training.checkpoint import Checkpoint
from nsfast.training.train import PseudoLabeled, build_learner, train

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


def run(tiny, path, recipe=RECIPE):
    return train(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny), path, {"a": 1})


def result(trained):
    return state(trained.model), state(trained.average), trained.history


def same(a, b) -> bool:
    return equal(a[0], b[0]) and equal(a[1], b[1]) and a[2] == b[2]


@pytest.fixture(scope="module")
def uninterrupted(tiny, tmp_path_factory):
    return result(run(tiny, tmp_path_factory.mktemp("whole") / "checkpoint.safetensors"))


def kill_after_epoch(patch, epoch):
    save = Checkpoint._save

    def killing(self):
        save(self)
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
    path = tmp_path / "checkpoint.safetensors"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_after_epoch(patch, epoch)
        run(tiny, path)
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        after_step = WeightAverage.after_step
        patch.setattr(WeightAverage, "after_step", lambda self: (steps.append(0), after_step(self))[1])
        assert same(result(run(tiny, path)), uninterrupted)
    assert len(steps) == 3 * (4 - epoch)


def test_killed_several_times_in_the_middle_of_epochs_too(tiny, tmp_path, uninterrupted):
    path = tmp_path / "checkpoint.safetensors"
    for step in (2, 5, 4):  # in epochs 1, 2 and 3
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            kill_at_step(patch, step)
            run(tiny, path)
    assert same(result(run(tiny, path)), uninterrupted)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"]


@pytest.mark.parametrize("forgotten", ["raw", "ema", "opt", "random"])
def test_forgetting_any_part_of_the_state_would_show(tiny, tmp_path, uninterrupted, forgotten):
    """The negative control of the tests above: the comparison sees every part that is restored."""
    path = tmp_path / "checkpoint.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        if forgotten == "random":
            patch.setattr(checkpoint, "seed_everything", lambda *names: torch.manual_seed(0))
        with pytest.MonkeyPatch.context() as inner, pytest.raises(Killed):
            kill_after_epoch(inner, 2)
            run(tiny, path)
        if forgotten != "random":
            from safetensors import safe_open

            with safe_open(path, "pt") as file:
                about = file.metadata()
            tensors = load_file(path)
            for name in [n for n in tensors if n.startswith(forgotten) and tensors[n].is_floating_point()]:
                tensors[name] = tensors[name] * 1.001
            save_file(tensors, path, about)
        assert not same(result(run(tiny, path)), uninterrupted)


def test_the_history_is_what_the_averaged_weights_score(tiny, uninterrupted, tmp_path):
    _, _, history = uninterrupted
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    trained = run(tiny, tmp_path / "c.safetensors")
    x = torch.from_numpy(tiny.validation.pixels).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(tiny.validation.labels)
    with torch.no_grad():
        logits = trained.average(x)
    assert history[-1]["validation_accuracy"] == pytest.approx(
        (logits.argmax(1) == labels).float().mean().item()
    )
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert history[-1]["validation_loss"] == pytest.approx(loss, rel=1e-5)


def test_a_checkpoint_of_another_recipe_or_other_inputs_is_not_continued(tiny, tmp_path, uninterrupted):
    path = tmp_path / "checkpoint.safetensors"
    other = Recipe(**{**RECIPE.to_dict(), "label_smoothing": 0.2})
    run(tiny, path, other)
    assert same(result(run(tiny, path)), uninterrupted)
    images = (tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny))
    train(RECIPE, 3, *images, path, {"a": 2})
    assert same(result(run(tiny, path)), uninterrupted)


@pytest.mark.parametrize("damage", [b"", b"garbage", "cut", "other"])
def test_a_damaged_checkpoint_is_one_line_that_names_it(tiny, tmp_path, damage):
    path = tmp_path / "checkpoint.safetensors"
    one = Recipe(**{**RECIPE.to_dict(), "epochs": 1})
    run(tiny, path, one)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "other":
        save_file({"x": torch.zeros(1)}, path)
    else:
        path.write_bytes(damage)
    with pytest.raises(NsfastError) as caught:
        run(tiny, path, one)
    said = str(caught.value)
    assert (
        said.startswith(f"checkpoint {path} is damaged")
        and "delete it to train anew" in said
        and "\n" not in said
    )
