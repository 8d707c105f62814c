"""From a recipe to a learner: targets, optimizer, loss, schedule."""

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from torch import nn

from nsfast.errors import NsfastError
from nsfast.training import Recipe
from nsfast.training.learner import PseudoLabeled, build_learner
from nsfast.training.optimizer import weight_groups
from nsfast.training.show import noised_views, one_joint_batch
from nsfast.training.train import train

RECIPE = Recipe(size=1, epochs=3, steps_per_epoch=4, batch=4, ratio=2, weight_decay=0.03)


def pseudo(tiny, copies=1):
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([1, 1, 1], len(tiny.unlabeled)).astype(np.float32)
    return PseudoLabeled(tiny.unlabeled.pixels, probabilities, np.full(len(tiny.unlabeled), copies))


def test_the_learner_s_targets_are_labels_and_the_teacher_s_whole_distributions(tiny):
    given = pseudo(tiny)
    loader = build_learner(RECIPE, 3, tiny.statistics(), tiny.labeled, tiny.validation, given).dls.train
    values = loader.dataset.targets
    assert values.dtype == torch.float32 and torch.equal(values[:12], torch.eye(3)[tiny.labeled.labels])
    assert np.allclose(values[12:], given.distributions.probabilities, atol=1e-6)


class Seen(Callback):
    """Keeps the targets and losses of the training batches."""

    order = 80

    def __init__(self):
        super().__init__()
        self.targets, self.losses = [], []

    def after_loss(self):
        if self.training:
            self.targets.append(self.yb[0].clone())
            self.losses.append((self.loss_func.normalisation, self.loss_func.labeled))


@pytest.mark.parametrize("targets", ["soft", "hard"])
def test_a_training_sees_what_the_recipe_says_of_its_targets_and_loss(tiny, targets):
    given, changes = pseudo(tiny), {"targets": targets, "label_smoothing": 0.3, "temperature": 2.0}
    recipe = Recipe(**{**RECIPE.to_dict(), **changes, "loss_normalisation": "per_stream"})
    learn = build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, given)
    seen = Seen()
    with learn.no_bar(), learn.no_logging():
        learn.fit(2, 1e-3, cbs=seen)
    assert seen.losses == [("per_stream", 4)] * 8
    soft = given.distributions.probabilities**0.5
    hard = np.eye(3)[given.distributions.probabilities.argmax(1)] * 0.7 + 0.1
    aims = torch.from_numpy(soft / soft.sum(1, keepdims=True) if targets == "soft" else hard).float()
    for batch in seen.targets:
        assert torch.allclose(batch[:4].sort(1).values, torch.tensor([0.1, 0.1, 0.8]), atol=1e-6)
        distance = (batch[4:, None] - aims[None]).abs().amax(2).amin(1)
        assert distance.max() < 1e-5


def test_copies_decide_how_often_a_pseudo_label_enters(tiny):
    given = pseudo(tiny)
    copies = np.arange(len(tiny.unlabeled)) % 3 + 1
    given = PseudoLabeled(given.pixels, given.distributions, copies)
    loader = build_learner(RECIPE, 3, tiny.statistics(), tiny.labeled, tiny.validation, given).dls.train
    assert (np.bincount(loader.groups[1])[12:] == copies).all() and loader.groups[0].tolist() == list(
        range(12)
    )
    assert (loader.labeled, loader.pseudo, len(loader)) == (4, 8, 4)


class Rates(Callback):
    """Reads the optimizer's own groups at every step."""

    order = 90

    def __init__(self):
        super().__init__()
        self.rows = []

    def after_step(self):
        self.rows.append([(g["lr"], g["weight_decay"]) for g in self.opt.opt.param_groups])
        self.groups = [[id(p) for p in g["params"]] for g in self.opt.opt.param_groups]


@pytest.fixture
def rates(monkeypatch):
    from nsfast.training import learner as module

    seen = Rates()
    monkeypatch.setattr(module, "_callbacks", lambda recipe, model, labeled: [seen])
    return seen


def test_biases_and_normalisation_do_not_decay_and_everything_else_does(tiny, tmp_path, rates):
    trained = train(RECIPE, 3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny), tmp_path / "c")
    decays = {i: decay for group, (_, decay) in zip(rates.groups, rates.rows[0], strict=True) for i in group
              for decay in [decay]}  # fmt: skip
    seen = 0
    for module in trained.model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            plain = isinstance(module, nn.BatchNorm2d) or name == "bias"
            assert decays[id(parameter)] == (0.0 if plain else pytest.approx(0.03))
            seen += 1
    assert seen == len(decays)
    assert {tuple(decay for _, decay in row) for row in rates.rows} == {(0.03, 0.0)}


def test_weight_groups_hold_every_parameter_once(tiny):
    from nsfast.models import build_model

    model = build_model("test_efficientnet", 3, 1)
    groups = weight_groups(model)
    together = [id(p) for group in groups for p in group]
    assert sorted(together) == sorted(id(p) for p in model.parameters()) and all(groups)


def test_the_rate_rises_over_the_warm_up_and_falls_as_a_cosine(tiny, tmp_path, rates):
    recipe = Recipe(**{**RECIPE.to_dict(), "epochs": 5, "warmup": 0.2, "learning_rate": 1e-2})
    train(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny), tmp_path / "c")
    lrs = [row[0][0] for row in rates.rows]
    assert len(lrs) == 20

    def cosine(start, end, part):
        return start + (1 - np.cos(np.pi * part)) * (end - start) / 2

    expected = [cosine(4e-4, 1e-2, k / 4) if k <= 4 else cosine(1e-2, 1e-5, (k - 4) / 16) for k in range(20)]
    assert lrs == pytest.approx(expected, rel=1e-6)


def test_a_ratio_without_pseudo_labels_and_wrong_classes_are_refused(tiny):
    images = (3, tiny.statistics(), tiny.labeled, tiny.validation)
    empty = PseudoLabeled(tiny.unlabeled.pixels[:0], np.zeros((0, 3), np.float32), np.zeros(0, np.int64))
    for none in (None, empty):
        with pytest.raises(NsfastError, match="ratio is 2 but no pseudo-label is selected"):
            build_learner(RECIPE, *images, none)
    four = PseudoLabeled(tiny.unlabeled.pixels, np.full((60, 4), 0.25, np.float32), np.ones(60, np.int64))
    with pytest.raises(NsfastError, match="pseudo-labels over 4 classes; the pictures have 3"):
        build_learner(RECIPE, *images, four)


def test_the_same_recipe_trains_the_same_network_and_another_seed_another(tiny, tmp_path):
    def weights(name, **changes):
        recipe = Recipe(**{**RECIPE.to_dict(), **changes})
        images = (tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny))
        trained = train(recipe, 3, *images, tmp_path / name)
        assert not trained.model.training and not trained.average.training
        return torch.cat([p.ravel() for p in trained.model.parameters()])

    torch.manual_seed(1)
    one = weights("a")
    torch.manual_seed(2)
    assert torch.equal(one, weights("b")) and not torch.equal(one, weights("c", seed=1))


def test_training_learns_what_is_easily_learned(tiny, tmp_path):
    recipe = Recipe(size=1, epochs=6, steps_per_epoch=10, batch=12, randaugment_m=1, ema=0.8, dropout=0.0)
    trained = train(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, folder=tmp_path)
    assert trained.history[-1]["validation_accuracy"] > 0.8


def test_noised_views_stand_in_order_are_seeded_and_differ(tiny):
    views = noised_views(tiny.labeled.pixels[:3], Recipe(), views=8)
    assert views.shape == (24, 8, 8, 1) and views.dtype == np.uint8
    assert (views == noised_views(tiny.labeled.pixels[:3], Recipe(), views=8)).all()
    assert len(np.unique(views[:8].reshape(8, -1), axis=0)) > 4
    plain = noised_views(tiny.labeled.pixels[:3], Recipe(randaugment_n=0), views=2)
    assert (plain == np.repeat(tiny.labeled.pixels[:3], 2, axis=0)).all()


def test_the_joint_batch_that_is_shown_is_one_of_the_training(tiny):
    x, y = one_joint_batch(RECIPE, tiny.labeled, tiny.validation, pseudo(tiny), 3)
    assert x.shape == (12, 8, 8, 1) and x.dtype == np.uint8 and y.shape == (12, 3)
    assert np.allclose(y.sum(1), 1, atol=1e-5)
    assert np.allclose(np.sort(y[:4], 1), [0, 0, 1], atol=1e-6)  # labeled ones first


def test_stochastic_depth_on_a_network_without_residual_blocks_is_refused_before_training(tiny):
    recipe = Recipe(**{**RECIPE.to_dict(), "architecture": "vgg11"})
    with pytest.raises(NsfastError, match="no residual block that stochastic depth knows; set the rate to 0"):
        build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny))


def test_the_log_says_what_an_epoch_is(tiny, tmp_path, capsys):
    images = (3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny, copies=2))
    recipe = Recipe(**{**RECIPE.to_dict(), "epochs": 1, "steps_per_epoch": 0, "epoch_by": "pseudo"})
    trained = train(recipe, *images, tmp_path / "c")
    said = capsys.readouterr().out
    assert (
        "an epoch is 15 batches of 4 labeled + 8 pseudo-labeled pictures (one pass over the pseudo pictures)"
        in said
    )
    assert "5 x 12 labeled, 1 x 120 pseudo-labeled" in said and len(trained.history) == 1
