"""The loss against a slow float64 reference, and that it sees the whole distribution."""

import math

import pytest
import torch
from torch.nn import functional as F

from nsfast.errors import NsfastError
from nsfast.losses import (
    NORMALISATIONS,
    TARGETS,
    SoftTargetCrossEntropy,
    soft_accuracy,
    soft_targets,
    training_targets,
)

LABELED, RATIO, CLASSES = 3, 4, 5


def slow(logits, target) -> list[float]:
    """-sum p log q of each picture, one number at a time, in float64."""
    out = []
    for row, aim in zip(logits.double().tolist(), target.double().tolist(), strict=True):
        most = max(row)
        total = math.log(sum(math.exp(v - most) for v in row)) + most
        out.append(-sum(p * (v - total) for p, v in zip(aim, row, strict=True)))
    return out


def mean(values) -> float:
    return sum(values) / len(values)


REFERENCE = {
    "concat": lambda each: mean(each),
    "per_stream": lambda each: mean(each[:LABELED]) + mean(each[LABELED:]),
    "official": lambda each: mean(each[:LABELED]) + RATIO * mean(each[LABELED:]),
}


def batch(seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    n = LABELED * (1 + RATIO)
    logits = torch.randn(n, CLASSES, generator=generator) * scale
    target = torch.rand(n, CLASSES, generator=generator)
    return logits, target / target.sum(1, keepdim=True)


@pytest.mark.parametrize("scale", [0.1, 3, 100])
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_every_normalisation_agrees_with_the_slow_reference(normalisation, scale):
    logits, target = batch(scale=scale)
    loss = SoftTargetCrossEntropy(normalisation, LABELED)(logits, target)
    assert loss.item() == pytest.approx(REFERENCE[normalisation](slow(logits, target)), rel=1e-5)


def test_official_is_the_concatenated_mean_times_one_plus_ratio():
    logits, target = batch()
    official, concat = (SoftTargetCrossEntropy(n, LABELED)(logits, target) for n in ("official", "concat"))
    assert official.item() == pytest.approx((1 + RATIO) * concat.item(), rel=1e-5)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_targets_with_one_argmax_but_another_vector_give_another_loss_and_gradient(normalisation):
    logits, _ = batch()
    results = []
    for rest in ([0.3, 0.1, 0, 0], [0.1, 0.3, 0, 0], [0, 0, 0.2, 0.2]):
        target = torch.tensor([[0.6, *rest]]).repeat(len(logits), 1)
        x = logits.clone().requires_grad_()
        loss = SoftTargetCrossEntropy(normalisation, LABELED)(x, target)
        loss.backward()
        results.append((loss.item(), x.grad))
    for i in range(3):
        assert abs(results[i][0] - results[i - 1][0]) > 1e-3
        assert not torch.allclose(results[i][1], results[i - 1][1], atol=1e-3)


def test_the_gradient_is_the_softmax_minus_the_whole_target():
    logits, target = batch()
    x = logits.clone().requires_grad_()
    SoftTargetCrossEntropy()(x, target).backward()
    assert torch.allclose(x.grad * len(x), F.softmax(logits, 1) - target, atol=1e-6)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_reduction_none_and_sum_give_each_picture_its_own_loss(normalisation):
    logits, target = batch()
    loss = SoftTargetCrossEntropy(normalisation, LABELED)
    loss.reduction = "none"
    with torch.no_grad():
        each = loss(logits, target)
    assert each.shape == (len(logits),) and each.tolist() == pytest.approx(slow(logits, target), rel=1e-5)
    loss.reduction = "sum"
    with torch.no_grad():
        total = loss(logits, target)
    assert total.item() == pytest.approx(sum(slow(logits, target)), rel=1e-5)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_in_training_the_unreduced_losses_average_to_the_normalised_one(normalisation):
    """MixUp asks for reduction "none" and takes the mean."""
    logits, target = batch()
    loss = SoftTargetCrossEntropy(normalisation, LABELED)
    whole = loss(logits, target).item()
    loss.reduction = "none"
    assert loss(logits, target).mean().item() == pytest.approx(whole, rel=1e-5)
    assert loss.each.tolist() == pytest.approx(slow(logits, target), rel=1e-5)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_class_indices_of_a_validation_batch_are_averaged_plainly(normalisation):
    logits, _ = batch()
    labels = torch.arange(len(logits)) % CLASSES
    expected = mean(slow(logits, F.one_hot(labels, CLASSES)))
    assert SoftTargetCrossEntropy(normalisation, LABELED)(logits, labels).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_a_distribution_costs_its_entropy_at_least():
    _, target = batch()
    entropy = mean([-sum(p * math.log(p) for p in row) for row in target.tolist()])
    assert SoftTargetCrossEntropy()(target.log(), target).item() == pytest.approx(entropy, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0, 0.1, 1])
def test_smoothed_targets_are_the_closed_form_and_sum_to_one(smoothing):
    labels = torch.tensor([0, 2, 4, 2])
    expected = [
        [1 - smoothing + smoothing / CLASSES if c == k else smoothing / CLASSES for c in range(CLASSES)]
        for k in labels.tolist()
    ]
    target = soft_targets(labels, CLASSES, smoothing)
    assert target.dtype == torch.float32 and torch.allclose(
        target, torch.tensor(expected, dtype=torch.float32)
    )
    logits = batch()[0][:4]
    theirs = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    assert SoftTargetCrossEntropy()(logits, target).item() == pytest.approx(theirs.item(), rel=1e-5)


def test_it_speaks_the_language_of_a_fastai_loss():
    logits, _ = batch()
    loss = SoftTargetCrossEntropy()
    assert loss.y_int and loss.reduction == "mean"
    assert torch.equal(loss.decodes(logits), logits.argmax(1))
    assert torch.allclose(loss.activation(logits), F.softmax(logits, 1))


def test_an_unknown_normalisation_names_the_nearest():
    with pytest.raises(NsfastError, match=r"unknown loss normalisation 'ofical'; did you mean 'official'\?"):
        SoftTargetCrossEntropy("ofical")


def test_the_recipe_knows_the_same_names():
    from nsfast.noise.table import SCALES
    from nsfast.training import batches, recipe

    assert recipe.LOSS_NORMALISATIONS == NORMALISATIONS and recipe.TARGETS == TARGETS
    assert recipe.EPOCH_BY == batches.EPOCH_BY and recipe.SCALES == tuple(SCALES)


PROBABILITIES = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0, 1, 0], [0.5, 0.25, 0.25]])


def test_soft_pseudo_labels_stay_as_they_are_whatever_the_smoothing():
    assert torch.equal(training_targets(PROBABILITIES, 3, label_smoothing=0.3), PROBABILITIES)


@pytest.mark.parametrize("temperature", [0.25, 0.5, 2, 10])
def test_a_temperature_raises_to_its_inverse_and_normalises(temperature):
    target = training_targets(PROBABILITIES, 3, temperature=temperature).tolist()
    for row, given in zip(target, PROBABILITIES.tolist(), strict=True):
        raised = [p ** (1 / temperature) for p in given]
        assert row == pytest.approx([r / sum(raised) for r in raised], abs=1e-6)


def test_temperature_is_softmax_of_the_logits_over_it():
    logits = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    target = training_targets(logits.softmax(1), 5, temperature=3)
    assert torch.allclose(target, (logits / 3).softmax(1), atol=1e-6)


@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_hard_targets_are_the_smoothed_argmax(smoothing):
    target = training_targets(PROBABILITIES, 3, targets="hard", label_smoothing=smoothing, temperature=5)
    expected = torch.eye(3)[[0, 0, 1, 0]] * (1 - smoothing) + smoothing / 3
    assert torch.allclose(target, expected, atol=1e-6)


@pytest.mark.parametrize("targets", TARGETS)
def test_the_labeled_ones_come_first_and_are_smoothed(targets):
    labels = torch.eye(3)[[2, 0]]
    target = training_targets(torch.cat([labels, PROBABILITIES]), 3, 2, targets, 2.0, 0.3)
    assert torch.allclose(target[:2], labels * 0.7 + 0.1)
    assert torch.equal(target[2:], training_targets(PROBABILITIES, 3, 0, targets, 2.0, 0.3))


def test_class_indices_are_labels_throughout():
    labels = torch.tensor([2, 0])
    assert torch.equal(training_targets(labels, 3, 0, "hard", 2.0, 0.3), soft_targets(labels, 3, 0.3))


def test_accuracy_takes_indices_and_distributions():
    logits = torch.eye(3)[[0, 1, 2, 0]]
    assert soft_accuracy(logits, torch.tensor([0, 1, 0, 0])) == 0.75
    assert soft_accuracy(logits, torch.eye(3)[[0, 1, 0, 0]] * 0.4 + 0.2) == 0.75
