"""bfloat16 as autocast: weights and logits stay float32, and the result is nearly that of float32."""

from dataclasses import replace

import pytest
import torch
from fastai.callback.core import Callback

from nsfast.models import build_model
from nsfast.training import Recipe
from nsfast.training.learner import PseudoLabeled, build_learner
from nsfast.training.train import train

RECIPE = Recipe(
    **dict(size=1, epochs=3, steps_per_epoch=4, batch=12, ema=0.6, learning_rate=1e-3),
    **dict(stochastic_depth=0, dropout=0, randaugment_n=0),
)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("architecture", ["small", "test_efficientnet", "test_vit"])
def test_logits_are_float32_and_near_and_the_layers_compute_in_bfloat16(architecture, training):
    torch.manual_seed(0)
    side = 160 if architecture == "test_vit" else 32
    model = build_model(architecture, 4, 3, 1, pixels=side).train(training)
    x, kinds = torch.rand(6, 3, side, side), set()
    # without a draw in the two passes
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    exact = model(x)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(lambda m, inputs, out: kinds.add(out.dtype))
    model.autocast = torch.bfloat16
    logits = model(x)
    assert kinds == {torch.bfloat16} and logits.dtype == torch.float32
    scale = exact.std()
    assert 0 < (logits - exact).abs().max() < 0.1 * scale
    logits.square().sum().backward()
    assert (
        {p.dtype for p in model.parameters()} == {p.grad.dtype for p in model.parameters()} == {torch.float32}
    )


class Kinds(Callback):
    """The kinds of numbers of logits, losses and gradients."""

    order = 90

    def __init__(self):
        super().__init__()
        self.seen = set()

    def after_pred(self):
        self.seen.add(("logits", self.pred.dtype))

    def after_loss(self):
        self.seen.add(("loss", self.loss.dtype))

    def before_step(self):
        self.seen |= {("gradient", p.grad.dtype) for p in self.model.parameters()}


def test_in_a_fit_of_joint_batches_with_noise_all_that_is_kept_is_float32(tiny):
    """Stochastic depth moves pictures between a bfloat16 branch and its shortcut."""
    import numpy as np

    recipe = replace(
        RECIPE, precision="bfloat16", batch=4, ratio=2, stochastic_depth=0.5, randaugment_n=2, dropout=0.5
    )
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], 60).astype(np.float32)
    pseudo = PseudoLabeled(tiny.unlabeled.pixels, probabilities, np.ones(60, np.int64))
    learn = build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo)
    kinds = Kinds()
    assert learn.model.autocast == torch.bfloat16 and learn.model.channels_last
    with learn.no_bar(), learn.no_logging():
        learn.fit(2, 1e-3, cbs=kinds)
    assert kinds.seen == {(name, torch.float32) for name in ("logits", "loss", "gradient")}
    assert {v.dtype for v in learn.model.state_dict().values()} == {torch.float32, torch.int64}
    for state in learn.opt.opt.state.values():
        assert {v.dtype for v in state.values() if torch.is_tensor(v) and v.is_floating_point()} == {
            torch.float32
        }


def test_a_training_is_nearly_that_of_float32_and_its_network_computes_in_float32(tiny, tmp_path):
    images = (3, tiny.statistics(), tiny.labeled, tiny.validation)
    exact = train(RECIPE, *images, folder=tmp_path / "a")
    recipe = replace(RECIPE, precision="bfloat16")
    fast = train(recipe, *images, folder=tmp_path / "b")
    for one, other in zip(exact.history, fast.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=0.02)
        assert one["train_loss"] != other["train_loss"]
    x = torch.from_numpy(tiny.validation.pixels).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        logits = [each.average(x) for each in (exact, fast)]
        assert (logits[0] - logits[1]).abs().max() < 0.1 * logits[0].std()
        # one that was just trained is measured like the same one from its finished checkpoint
        again = train(recipe, *images, folder=tmp_path / "b")
        for kind in ("model", "average"):
            ours, theirs = getattr(fast, kind), getattr(again, kind)
            assert ours.autocast is theirs.autocast is None
            assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_a_training_of_one_precision_goes_on_with_the_other(tiny, tmp_path, monkeypatch):
    from nsfast.training.checkpoint import Checkpoint

    images, save = (3, tiny.statistics(), tiny.labeled, tiny.validation), Checkpoint._save

    def killing(self, *arguments, **named):
        save(self, *arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "_save", killing)
    with pytest.raises(KeyboardInterrupt):
        train(RECIPE, *images, folder=tmp_path)
    monkeypatch.undo()
    trained = train(replace(RECIPE, precision="bfloat16"), *images, folder=tmp_path)
    assert (
        len(trained.history) == 3 and len(list(tmp_path.glob("checkpoint-*"))) == 2
    )  # it and the one before
