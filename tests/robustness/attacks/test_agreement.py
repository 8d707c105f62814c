"""Other libraries' FGSM and PGD on the same network, at equal settings: accuracies within a point."""

import copy

import pytest
import torch

from nsfast.robustness.attacks import fgsm, pgd

POINT = 0.01 + 1e-9


def accuracy(model, images, labels):
    with torch.no_grad():
        return (model(images).argmax(1) == labels).double().mean().item()


@pytest.fixture(scope="module")
def pictures(digit_split):
    return torch.from_numpy(digit_split.pixels).permute(0, 3, 1, 2) / 255, torch.from_numpy(
        digit_split.labels
    )


@pytest.fixture(scope="module")
def network(reader):
    """A copy, as foolbox leaves gradients behind."""
    return copy.deepcopy(reader)


def ours(model, images, labels, epsilon, norm, seed=None):
    """As the others do it: the last picture counts; without a seed from the image itself."""
    generator = torch.Generator().manual_seed(seed or 0)
    started = {"random_start": seed is not None, "generator": generator}
    return pgd(model, images, labels, epsilon, norm=norm, keep="last", **started)


def mean_accuracy(model, labels, attack):
    """Over six random starts, as one alone is worth about a point."""
    torch.manual_seed(0)
    return sum(accuracy(model, attack(seed), labels) for seed in range(6)) / 6


SETTINGS = [("linf", 4), ("linf", 16), ("linf", 32), ("l2", 64), ("l2", 160)]


@pytest.mark.parametrize("norm, epsilon", SETTINGS)
def test_foolbox_agrees(network, pictures, norm, epsilon):
    foolbox = pytest.importorskip("foolbox")
    images, labels = pictures
    wrapped, radius = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu"), epsilon / 255

    def theirs(attack):
        return attack(wrapped, images, labels, epsilons=radius)[1]

    attacks = foolbox.attacks
    one_step, descent = {
        "linf": (attacks.FGSM, attacks.LinfProjectedGradientDescentAttack),
        "l2": (attacks.FGM, attacks.L2ProjectedGradientDescentAttack),
    }[norm]
    assert torch.allclose(fgsm(network, images, labels, epsilon, norm=norm), theirs(one_step()), atol=2e-6)
    settings = {"abs_stepsize": radius / 4, "steps": 10}
    attacked = theirs(descent(**settings, random_start=False))
    found = ours(network, images, labels, epsilon, norm)
    assert abs(accuracy(network, found, labels) - accuracy(network, attacked, labels)) <= POINT
    if norm == "linf":  # its random points of the L2 ball lie near the sphere, ours at any distance
        found = mean_accuracy(
            network, labels, lambda seed: ours(network, images, labels, epsilon, norm, seed)
        )
        attacked = mean_accuracy(network, labels, lambda _: theirs(descent(**settings, random_start=True)))
        assert abs(found - attacked) <= POINT


@pytest.mark.parametrize("norm, epsilon", SETTINGS)
def test_torchattacks_agrees(network, pictures, norm, epsilon):
    torchattacks = pytest.importorskip("torchattacks")
    images, labels = pictures
    radius = epsilon / 255
    if norm == "linf":
        one_step = torchattacks.FGSM(network, radius)(images, labels)
        assert torch.allclose(fgsm(network, images, labels, epsilon), one_step, atol=1e-6)
    attack = {"linf": torchattacks.PGD, "l2": torchattacks.PGDL2}[norm]
    fixed, random = (attack(network, radius, radius / 4, 10, start) for start in (False, True))
    found = ours(network, images, labels, epsilon, norm)
    assert abs(accuracy(network, found, labels) - accuracy(network, fixed(images, labels), labels)) <= POINT
    found = mean_accuracy(network, labels, lambda seed: ours(network, images, labels, epsilon, norm, seed))
    attacked = mean_accuracy(network, labels, lambda _: random(images, labels))
    assert abs(found - attacked) <= POINT
    # targeted, towards the class after the true one
    targets = (labels + 1) % 10
    fixed.set_mode_targeted_by_label(quiet=True)
    found = pgd(
        *(network, images, labels, epsilon),
        **dict(norm=norm, keep="last", random_start=False, targets=targets),
    )
    assert (
        abs(accuracy(network, found, targets) - accuracy(network, fixed(images, targets), targets)) <= POINT
    )
