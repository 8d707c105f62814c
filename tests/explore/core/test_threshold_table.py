"""What the table says beside the counts: the least confident of the kept, where N is from, the labeled, an estimate."""

import numpy as np
import pytest

from nsfast.explore.core import PseudoLabels, ThresholdPreview
from nsfast.labels import Balancing
from nsfast.labels.histogram import CODES, codes_of
from nsfast.labels.quality.estimate import PrecisionFit

CLASSES = ("ant", "bee", "cat", "never")


def labels(n=600, seed=0):
    random = np.random.default_rng(seed)
    confidence = random.permutation(np.arange(n) / n).astype(np.float16)  # no two of a class are equal
    return PseudoLabels(CLASSES, random.choice(3, n, p=[0.6, 0.3, 0.1]), confidence)


def kept_of(known, how):
    """The confidences of what is kept of each class, the surest first, one class at a time."""
    for number in range(len(CLASSES)):
        mine = np.sort(known.confidence[known.predicted == number])[::-1]
        above = mine[mine >= np.float16(how.threshold)]
        yield above[: how.per_class] if how.method == "top" else above


@pytest.mark.parametrize(
    "how", [Balancing(0.3, 40), Balancing(0.8, 1000), Balancing(0.5, method="none"), Balancing(1.0)]
)
def test_the_lowest_is_the_confidence_of_the_last_that_is_kept(how):
    table = ThresholdPreview.of_labels(labels(), how).at(how.threshold)
    if how.threshold == 1:
        assert np.isnan(table.lowest).all()
        return
    for lowest, kept, count in zip(table.lowest, kept_of(labels(), how), table.kept, strict=True):
        assert count == len(kept)
        assert lowest == kept[-1] if len(kept) else np.isnan(lowest)


def test_it_says_how_many_of_each_class_and_why():
    preview = ThresholdPreview.of_labels(labels(), Balancing(0.5, "largest"))
    table = preview.at(0.5)
    assert table.per_class == table.kept.max() and "as many as the largest, 'ant', keeps" in table.why
    assert preview.asking(Balancing(0.5, 7)).at(0.5).per_class == 7
    assert preview.asking(Balancing(0.5, method="none")).at(0.5).per_class == 0


def test_the_labeled_are_compared_with_all_that_is_seen():
    preview = ThresholdPreview.of_labels(labels(), Balancing(0.3, 40))
    assert "labeled" not in preview.at(0.3).totals()
    totals = preview.knowing(np.array([10, 20, 30, 0])).at(0.3).totals()
    assert (totals["labeled"], totals["times_labeled"]) == (60, 120 / 60)


@pytest.mark.parametrize("how", [Balancing(0.3, 40), Balancing(0.8, 1000), Balancing(0.5, method="none")])
def test_the_estimate_is_of_the_kept_alone(how):
    random = np.random.default_rng(1)
    sure = random.random(200)
    fit = PrecisionFit((np.zeros(200, int), sure, (random.random(200) > sure).astype(int)))
    preview = ThresholdPreview.of_labels(labels(), how).knowing(fit=fit)
    pool = np.bincount(codes_of(np.concatenate(list(kept_of(labels(), how)))), minlength=CODES)
    assert preview.at(how.threshold).estimated == pytest.approx(fit.of(pool))
    assert preview.at(1.0).estimated is None


def test_where_lots_decide_the_estimate_takes_as_many_as_are_expected():
    """Five of eight equal ones are kept, and of the official method's bin only N."""
    known = PseudoLabels(("a",), np.zeros(10, int), np.repeat([0.9, 0.5], [2, 8]))
    sure = np.repeat([0.5, 0.9], 50)
    fit = PrecisionFit((np.zeros(100, int), sure, np.repeat([0, 1, 0], [20, 30, 50])))
    pool = np.zeros(CODES)
    pool[codes_of(np.array([0.9, 0.5]))] = 2, 5
    found = ThresholdPreview.of_labels(known, Balancing(0.3, 7)).knowing(fit=fit).at(0.3)
    assert found.estimated == pytest.approx(fit.of(pool))
    assert found.estimated["precision"] == pytest.approx((2 + 5 * 0.4) / 7, abs=0.02)


def test_asking_in_another_way_forgets_nothing_that_is_known():
    fit = PrecisionFit((np.zeros(4, int), np.linspace(0.2, 0.8, 4), np.array([1, 0, 0, 0])))
    preview = ThresholdPreview.of_labels(labels(), Balancing()).knowing(np.ones(4, int), fit)
    table = preview.asking(Balancing(0.3, 9)).at(0.3)
    assert table.labeled == 4 and table.estimated
    assert preview.how == Balancing()
