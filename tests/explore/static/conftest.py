"""Pseudo-labels whose class names are hostile, with everything that can be known of them."""

import numpy as np
import pytest

from nsfast.explore.core import Answers, PseudoLabels

CLASSES = ("<img src=x onerror=alert(1)>", "$x^2$ & $y$", "</script><b>'\"")


@pytest.fixture(scope="session")
def made():
    """Makes 120 labels with a truth and a round before; anything can be given otherwise."""

    def make(**other) -> PseudoLabels:
        random = np.random.default_rng(7)
        predicted = random.choice(3, 120, p=(0.5, 0.3, 0.2))
        confidence = np.round(1 - random.random(120) ** 2, 3)
        truth = np.where(random.random(120) < 0.7, predicted, random.integers(-1, 3, 120))
        before = np.where(random.random(120) < 0.6, predicted, random.integers(-1, 3, 120))
        pictures = random.integers(0, 256, (120, 8, 8, 1)).astype(np.uint8)
        known = {"truth": truth, "others": {"round 1": Answers(before)}, "round": 2, "pictures": pictures}
        known |= {"classes": CLASSES, "names": [f"<i>{number}</i>.png" for number in range(120)]}
        return PseudoLabels(predicted=predicted, confidence=confidence, **{**known, **other})

    return make
