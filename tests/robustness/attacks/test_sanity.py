"""Sanity checks: an ordinary network passes, each kind of masked gradients is caught."""

import numpy as np
import pytest
import torch
from torch import nn

from nsfast.errors import NsfastError
from nsfast.images import Split
from nsfast.robustness.answers import Answers, Version, ask
from nsfast.robustness.attacks import attack_questions, order_checks, sanity

CHEAP = {"sweep": (1, 5), "steps": 5, "pictures": 60, "epsilon": 24}
NAMES = {
    "random signs",
    "one step",
    "direction",
    "more steps",
    "converged",
    "large epsilon",
    "zero gradients",
}


class Masked(nn.Module):
    """A network behind something that hides its gradients."""

    def __init__(self, network, before=nn.Identity(), after=nn.Identity()):  # noqa: B008
        super().__init__()
        self.network, self.before, self.after = network, before, after

    def forward(self, pixels):
        return self.after(self.network(self.before(pixels)))


class Do(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.forward = change


class Turned(torch.autograd.Function):
    """The identity, whose gradient points the other way."""

    @staticmethod
    def forward(ctx, pixels):
        return pixels.view_as(pixels)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


MASKS = {
    "certain": {"after": Do(lambda logits: logits * 1000)},
    "stepwise": {"before": Do(lambda pixels: (pixels * 16).round() / 16)},
    "rough": {"before": Do(lambda pixels: pixels + 0.02 * (2000 * pixels).sin())},
    "turned": {"before": Do(Turned.apply)},
}
CAUGHT_BY = {
    "certain": {"zero gradients", "large epsilon", "direction"},
    "stepwise": {"zero gradients", "large epsilon", "direction"},
    "rough": {"direction"},
    "turned": {"direction", "random signs", "transfer"},
}


def failed(checks, model):
    return {check.name for check in checks if check.model == model and not check.passed}


@pytest.fixture(scope="module")
def checks(reader, other_reader, digit_split):
    masked = {name: Masked(reader, **mask) for name, mask in MASKS.items()}
    return sanity({"teacher": other_reader, "student": reader, **masked}, digit_split, **CHEAP)


def test_ordinary_networks_pass(checks):
    assert not failed(checks, "teacher") - {"converged"} and not failed(checks, "student") - {"converged"}
    assert {check.name for check in checks if check.model == "teacher"} == NAMES
    assert {check.name for check in checks if check.model == "student"} == NAMES | {"transfer"}


@pytest.mark.parametrize("mask", MASKS)
def test_masked_gradients_are_caught(checks, mask):
    assert failed(checks, mask) >= CAUGHT_BY[mask]


def test_a_masked_network_would_look_robust(reader, digit_split):
    # that is why there are checks
    models = {"plain": reader, "masked": Masked(reader, **MASKS["certain"])}
    asked = ask(models, attack_questions(digit_split, (32,), ("pgd",)))[Version("attack", "pgd", 32.0)]
    assert asked["masked"].right.mean() > asked["plain"].right.mean() + 0.3


def test_log_odds_see_through_a_network_that_is_only_certain(reader, digit_split):
    masked = {"certain": Masked(reader, **MASKS["certain"])}
    assert not failed(sanity(masked, digit_split, loss="log_odds", **CHEAP), "certain") - {"converged"}


def test_what_it_says_has_the_numbers_and_the_consequence(checks):
    by_name = {check.name: check for check in checks if check.model == "certain"}
    zero, large = by_name["zero gradients"], by_name["large epsilon"]
    assert zero.says.startswith(f"{zero.value:.1%} of the pictures") and "log_odds" in zero.says
    assert large.says.startswith(f"accuracy {large.value:.1%}") and "do not believe" in large.says
    by_name = {check.name: check for check in checks if check.model == "student"}
    assert "for teacher" in by_name["transfer"].says and "1 " in by_name["more steps"].says


def test_threads_change_nothing(reader, other_reader, digit_split):
    models = {"one": reader, "two": other_reader, "three": Masked(reader, **MASKS["rough"])}
    small = CHEAP | {"pictures": 20, "source": "two"}
    assert sanity(models, digit_split, **small, workers=3) == sanity(models, digit_split, **small)


def test_neither_the_order_of_the_pictures_nor_the_other_models_choose_them(reader, digit_split):
    small = CHEAP | {"pictures": 30, "steps": 1, "sweep": ()}
    turned = digit_split.take(np.arange(300)[::-1])
    share = [
        next(
            check.value
            for check in sanity({"a": Masked(reader, **MASKS["certain"])}, split, **small)
            if check.name == "zero gradients"
        )
        for split in (digit_split, turned)
    ]
    assert share[0] == share[1]


def test_l2_passes_too(reader, digit_split):
    checks = sanity({"a": reader}, digit_split, **CHEAP | {"epsilon": 120}, norm="l2")
    assert not failed(checks, "a") - {"converged"}


def answers(right, n=100):
    labels = np.zeros(n, np.int64)
    logits = np.where(np.arange(n)[:, None] < right, [[1.0, 0.0]], [[0.0, 1.0]])
    return Answers.of(torch.from_numpy(logits), labels)


def test_answers_out_of_order_are_caught():
    def asked(**right):
        return {
            Version("attack", name.split("_at_")[0], float(name.split("_at_")[1])): {"a": answers(n)}
            for name, n in right.items()
        }

    def check(**right):
        (found,) = order_checks(asked(**right), ["a"])
        return found.passed, round(found.value, 6)

    assert check(pgd_at_2=60, fgsm_at_2=70) == (True, -0.1)
    assert check(pgd_at_2=60, fgsm_at_2=57) == (False, 0.03)
    assert check(pgd_at_2=60, random_sign_at_2=50, fgsm_at_2=60) == (False, 0.1)
    assert check(pgd_at_2=60, pgd_at_8=70, pgd_at_4=50) == (False, 0.2)
    assert check(pgd_at_2=60, pgd_at_8=61, fgsm_at_8=90) == (True, 0.01)
    assert order_checks(asked(fgsm_at_2=60), ["a"]) == []
    assert order_checks({Version("clean"): {"a": answers(3)}}, ["a"]) == []
    mixed = {
        Version("attack", "pgd-l2", 2.0): {"a": answers(60)},
        Version("attack", "fgsm", 2.0): {"a": answers(50)},
    }
    assert order_checks(mixed, ["a"]) == []


def test_the_order_joins_the_checks_of_its_model(reader, digit_split):
    asked = ask({"a": reader}, attack_questions(digit_split, (8, 32), steps=2))
    checks = sanity({"a": reader}, digit_split, asked=asked, **CHEAP | {"pictures": 20})
    assert [check.name for check in checks][-1] == "order" and checks[-1].passed


@pytest.mark.parametrize(
    "change, message",
    [
        ({"models": {}}, "no model to check"),
        ({"source": "teachr"}, "unknown model 'teachr'; did you mean 'teacher'"),
        ({"epsilon": 0}, "epsilon .* is 0"),
        ({"pictures": 0}, "pictures is 0"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_says_what_is_wrong(reader, digit_split, change, message):
    with pytest.raises(NsfastError, match=message):
        sanity(**{"models": {"teacher": reader}, "split": digit_split} | change)


def test_pictures_without_labels_cannot_be_checked(reader, digit_split):
    with pytest.raises(NsfastError, match="pictures with labels"):
        sanity({"a": reader}, Split(digit_split.ids, digit_split.pixels))
