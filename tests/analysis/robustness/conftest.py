"""Answers whose mistakes are chosen."""

import numpy as np
import pytest

from nsfast.robustness.answers import Answers, Version

CLASSES = 10


def answers_of(wrong, labels=None, confidence=0.8):
    """Answers that are wrong where `wrong` says so; the rest of the probability is spread evenly."""
    wrong = np.asarray(wrong, bool)
    labels = np.arange(len(wrong)) % CLASSES if labels is None else labels
    confidence = np.broadcast_to(np.asarray(confidence, np.float64), wrong.shape)
    others = (1 - confidence) / (CLASSES - 1)
    return Answers(
        labels=labels.astype(np.int32),
        predicted=np.where(wrong, (labels + 1) % CLASSES, labels).astype(np.int32),
        confidence=confidence.astype(np.float32),
        true=np.where(wrong, others, confidence).astype(np.float32),
        squares=(confidence**2 + (CLASSES - 1) * others**2).astype(np.float32),
        rank=np.where(wrong, 2, 1).astype(np.int32),
    )


@pytest.fixture(scope="session")
def say():
    return answers_of


@pytest.fixture(scope="session")
def asked():
    """Three models on 120 pictures, clean and in three corruptions (one of them extra) of two severities.

    Whether a picture is hard is the same for all models and versions, as it is of real pictures.
    """
    generator = np.random.default_rng(11)
    hard = generator.random(120)
    found = {Version("clean", "corrupted"): {}}
    found |= {
        Version("corrupted", name, float(severity)): {}
        for name in ("gaussian_noise", "fog", "saturate")
        for severity in (2, 4)
    }
    for version, answers in found.items():
        for model, skill in (("control", 0.0), ("teacher", 0.05), ("student 1", 0.12)):
            level = 0.1 + 0.08 * version.level - skill * (version.level > 0)
            answers[model] = answers_of(hard + 0.1 * generator.normal(size=120) < level)
    return found
