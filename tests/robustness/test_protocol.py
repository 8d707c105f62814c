"""What is measured, from the parameters of the analysis."""

import pytest

from nsfast.errors import NsfastError
from nsfast.pipeline.notebooks import declared_parameters
from nsfast.robustness.names import ATTACKS, CORRUPTIONS, EXTRA_CORRUPTIONS, FAMILIES, PERTURBATIONS
from nsfast.robustness.protocol import RobustnessProtocol

DEFAULTS = {name: parameter.default for name, parameter in declared_parameters("analysis").items()}


def of(**changes):
    return RobustnessProtocol.of(DEFAULTS | changes)


def test_all_stands_for_the_published_fifteen_and_ten():
    protocol = of()
    assert protocol.corruptions == CORRUPTIONS and len(CORRUPTIONS) == 15
    assert protocol.perturbations == PERTURBATIONS and len(PERTURBATIONS) == 10
    assert sum(len(names) for names in FAMILIES.values()) == 19


def test_names_come_once_and_in_the_published_order():
    protocol = of(corruptions=["contrast", "extra", "gaussian_noise", "contrast"])
    assert protocol.corruptions == ("gaussian_noise", "contrast", *EXTRA_CORRUPTIONS)
    assert of(corruptions=["extra", "all"]).corruptions == (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
    assert of(severities=[5, 1, 5]).severities == (1, 5)


def test_clean_pictures_are_no_attack():
    assert of(epsilons=[4, 0.0, 2.0]).epsilons == (2.0, 4.0)


@pytest.mark.parametrize(
    ("epsilons", "chosen"), [([2.0, 8.0, 16.0], 8.0), ([1.0, 2.0, 3.0], 2.0), ([], None)]
)
def test_the_headline_stands_at_eight_or_in_the_middle(epsilons, chosen):
    assert of(epsilons=epsilons).headline_epsilon == chosen


def test_full_measures_everything():
    full = of(full=True, corruptions=[], severities=[1], attacks=[], restarts=2, sets=["imagenet-a=a"])
    assert full.corruptions == (*CORRUPTIONS, *EXTRA_CORRUPTIONS) and full.severities == (1, 2, 3, 4, 5)
    assert len(full.perturbations) == 14 and full.attacks == ATTACKS and full.restarts == 5
    assert min(full.pictures, full.sequences, full.attacked) > 10**8 and full.sets == (("imagenet-a", "a"),)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"corruptions": ["contrst"]}, ["contrst", "did you mean 'contrast'"]),
        ({"perturbations": ["rotat"]}, ["rotat", "did you mean 'rotate'"]),
        ({"severities": [6]}, ["severity", "6", "between 1 and 5"]),
        ({"severities": []}, ["number of severities"]),
        ({"epsilons": [-1.0]}, ["epsilon", "-1", "between 0 and 128"]),
        ({"attacks": ["cw"]}, ["attack", "cw", "fgsm, pgd"]),
        ({"steps": 0}, ["steps", "at least 1"]),
        ({"pictures": 0}, ["pictures", "at least 1"]),
        ({"sets": ["imagenet-a"]}, ["imagenet-a", "name=folder"]),
        ({"sets": ["imagenet-b=x"]}, ["imagenet-b", "did you mean"]),
        ({"sets": ["imagenet-a=x", "imagenet-a=y"]}, ["imagenet-a", "twice"]),
    ],
)
def test_what_cannot_be_measured_is_said(changes, words):
    with pytest.raises(NsfastError) as error:
        of(**changes)
    assert all(word in str(error.value) for word in words), error.value
