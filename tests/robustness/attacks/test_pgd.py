"""PGD: closed forms of linear models, never weaker than FGSM, starts and batches that do not matter."""

import copy

import pytest
import torch
from torch import nn

from nsfast.errors import NsfastError
from nsfast.robustness.attacks import fgsm, pgd
from nsfast.robustness.attacks.gradient import Aim


def float_images(split):
    return torch.from_numpy(split.pixels).permute(0, 3, 1, 2) / 255, torch.from_numpy(split.labels)


def losses(model, images, aim):
    with torch.no_grad():
        logits = model(images)
    return aim.reached(logits), aim.losses(logits)


def linear(classes=2, inputs=16, seed=0):
    layer = nn.Linear(inputs, classes)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(classes, inputs, generator=torch.Generator().manual_seed(seed)))
    return nn.Sequential(nn.Flatten(), layer)


@pytest.fixture
def two_classes():
    """A linear model, pictures away from 0 and 1, labels, and the way from each to the other class."""
    model = linear()
    pixels = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    weight = model[1].weight.detach()
    towards = torch.where(labels[:, None] == 0, weight[1] - weight[0], weight[0] - weight[1])
    return model, pixels, labels, towards


@pytest.mark.parametrize("keep", ["worst", "last"])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("random_start", [False, True])
def test_of_a_linear_model_the_furthest_corner_is_found(two_classes, keep, targeted, random_start):
    model, pixels, labels, towards = two_classes
    found = pgd(
        *(model, pixels, labels, 8),
        **dict(keep=keep, random_start=random_start, targets=1 - labels if targeted else None),
    )
    assert torch.allclose(found, pixels + 8 / 255 * towards.sign().reshape(pixels.shape), atol=1e-6)


@pytest.mark.parametrize("keep", ["worst", "last"])
@pytest.mark.parametrize("targeted", [False, True])
def test_of_a_linear_model_the_furthest_point_of_the_sphere_is_found(two_classes, keep, targeted):
    model, pixels, labels, towards = two_classes
    targets = 1 - labels if targeted else None
    unit = (towards / towards.norm(dim=1, keepdim=True)).reshape(pixels.shape)
    found = pgd(model, pixels, labels, 60, norm="l2", keep=keep, targets=targets, random_start=False)
    assert torch.allclose(found, pixels + 60 / 255 * unit, atol=2e-6)
    generator, more = torch.Generator().manual_seed(0), {"steps": 20, "step_size": 60}
    found = pgd(model, pixels, labels, 60, norm="l2", keep=keep, targets=targets, generator=generator, **more)
    furthest = pixels + 60 / 255 * unit
    if keep == "last":
        assert torch.allclose(found, furthest, atol=2e-6)
    else:  # on the sphere the loss is flat at its end: several points on the way are the worst, to float32
        aim = Aim(labels if targets is None else targets, targets is not None)
        assert (losses(model, found, aim)[1] >= losses(model, furthest, aim)[1] - 1e-5).all()
        assert ((found - pixels).flatten(1).norm(dim=1) <= 60 / 255 + 1e-6).all()


@pytest.mark.parametrize("norm, epsilons", [("linf", (2, 16, 48)), ("l2", (64, 256))])
@pytest.mark.parametrize("steps", [1, 3])
def test_no_picture_is_attacked_worse_than_by_one_step_or_by_none(reader, digit_split, norm, epsilons, steps):
    images, labels = float_images(digit_split)
    aim = Aim(labels)
    for epsilon in epsilons:
        found = pgd(reader, images, labels, epsilon, steps, norm=norm)
        reached, loss = losses(reader, found, aim)
        for weaker in (images, fgsm(reader, images, labels, epsilon, norm=norm)):
            other_reached, other_loss = losses(reader, weaker, aim)
            assert (reached | ~other_reached).all()
            assert (loss[reached == other_reached] >= other_loss[reached == other_reached] - 1e-5).all()
        change = (found - images).flatten(1)
        size = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
        assert size.max().item() <= epsilon / 255


def test_more_restarts_find_no_less(reader, digit_split):
    images, labels = float_images(digit_split)
    aim, fooled = Aim(labels), []
    for restarts in (1, 4):
        # the first restart's stream is the same for any number of them
        found = pgd(reader, images[:100], labels[:100], 24, 3, restarts=restarts, step_size=16, keep="last")
        fooled.append(losses(reader, found, aim.take(slice(100))))
    (few, few_loss), (many, many_loss) = fooled
    assert (many | ~few).all() and (many_loss[many == few] >= few_loss[many == few] - 1e-5).all()
    assert (many_loss > few_loss + 1e-3).float().mean() > 0.5


def test_more_steps_find_more(reader, digit_split):
    images, labels = float_images(digit_split)
    right = [
        1 - losses(reader, pgd(reader, images, labels, 24, s), Aim(labels))[0].float().mean() for s in (1, 10)
    ]
    assert right[1] < right[0] - 0.02


def test_every_picture_of_a_targeted_attack_is_worst_towards_its_target(reader, digit_split):
    images, labels = float_images(digit_split)
    targets = (labels + 1) % 10
    aim = Aim(targets, targeted=True)
    reached, loss = losses(reader, pgd(reader, images, labels, 64, targets=targets), aim)
    step_reached, step_loss = losses(reader, fgsm(reader, images, labels, 64, targets=targets), aim)
    assert reached.float().mean() > 0.8 > step_reached.float().mean()
    assert (loss >= step_loss - 1e-5)[reached == step_reached].all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("keep", ["worst", "last"])
def test_the_batch_does_not_matter(reader, digit_split, norm, keep):
    images, labels = (part[:20] for part in float_images(digit_split))
    whole, parts = (
        pgd(reader, images, labels, 8, 2, norm=norm, keep=keep, restarts=2, batch=batch) for batch in (20, 7)
    )
    assert torch.allclose(whole, parts, atol=1e-5)


def test_the_generator_decides_the_starts_and_nothing_else_is_random(reader, digit_split):
    images, labels = (part[:20] for part in float_images(digit_split))
    state = torch.get_rng_state()
    one, same, other = (
        pgd(reader, images, labels, 8, 1, keep="last", generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_overconfident_network_is_robust_to_cross_entropy_but_not_to_log_odds(reader, digit_split):
    class Certain(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = reader

        def forward(self, pixels):
            return self.network(pixels) * 1000

    images, labels = float_images(digit_split)
    aim = Aim(labels)
    right = {
        loss: 1 - losses(reader, pgd(Certain(), images, labels, 64, loss=loss), aim)[0].float().mean()
        for loss in ("cross_entropy", "log_odds")
    }
    plain = 1 - losses(reader, pgd(reader, images, labels, 64), aim)[0].float().mean()
    assert right["cross_entropy"] > 0.8 and right["log_odds"] <= plain + 0.02


def test_what_was_held_still_is_put_back(reader, digit_split):
    images, labels = (part[:10] for part in float_images(digit_split))
    network = copy.deepcopy(reader).train()
    network.zero_grad()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    found = pgd(network, images, labels, 8, 2)
    assert all(module.training for module in network.modules())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert torch.equal(found, pgd(reader, images, labels, 8, 2))


def test_no_picture_is_an_answer_too(reader):
    images, labels = torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.long)
    assert pgd(reader, images, labels, 8).shape == images.shape == fgsm(reader, images, labels, 8).shape


@pytest.mark.parametrize(
    "change, message",
    [
        ({"steps": 0}, "steps is 0"),
        ({"restarts": 0}, "restarts is 0"),
        ({"restarts": 2, "random_start": False}, "set random_start=True or restarts=1"),
        ({"step_size": -1}, "step_size .* is -1"),
        ({"epsilon": -1}, "epsilon .* is -1"),
        ({"norm": "l1"}, "unknown norm 'l1'"),
        ({"keep": "first"}, "unknown keep 'first'"),
        ({"loss": "hinge"}, "unknown loss 'hinge'"),
        ({"targets": torch.zeros(4, dtype=torch.long)}, "target of picture 0 is its true class 0"),
        ({"targets": torch.zeros(3, dtype=torch.long)}, r"targets have shape \(3,\)"),
        ({"labels": torch.full((4,), 10)}, "model has 10 classes"),
        ({"images": torch.ones(4, 1, 8, 8) * 255}, "wrap the model in PixelModel"),
    ],
)
def test_says_what_is_wrong(reader, change, message):
    labels = torch.zeros(4, dtype=torch.long)
    with pytest.raises(NsfastError, match=message):
        pgd(**dict(model=reader, images=torch.zeros(4, 1, 8, 8), labels=labels, epsilon=8) | change)
