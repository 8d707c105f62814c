"""A sorted list of labels answers what a histogram of them answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsfast.labels import Balancing, what_if
from nsfast.labels.histogram import CODES, Histogram, codes_of
from nsfast.labels.sorted_histogram import SortedHistogram


def both(seed, n, classes, decimals=2):
    """Random labels with many ties; some classes have none."""
    random = np.random.default_rng(seed)
    predicted = random.integers(0, max(classes - 1, 1), n) * random.integers(0, 2, n)
    codes = codes_of(random.beta(1, 1, n).round(decimals))
    below = random.integers(0, 5, classes)
    dense = Histogram(classes)
    dense.add_codes(predicted, codes)
    dense.below += below
    return dense, SortedHistogram(classes, predicted, codes, below)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 300), st.integers(1, 6), st.integers(1, 4))
def test_every_answer_is_the_histograms(seed, n, classes, decimals):
    dense, listed = both(seed, n, classes, decimals)
    random = np.random.default_rng(seed)
    assert (listed.predicted == dense.predicted).all() and (listed.below == dense.below).all()
    codes = random.integers(0, CODES + 2, (7, classes))
    codes[0], codes[1] = 0, CODES
    for asked in (codes, codes[3]):
        assert (listed.at_least(asked) == dense.at_least(asked)).all()
    wanted = random.integers(0, dense.predicted - dense.below + 1)
    for most in (wanted, dense.predicted - dense.below, np.zeros(classes, int)):
        for mine, theirs in zip(listed.surest(most), dense.surest(most), strict=True):
            assert mine.dtype == theirs.dtype == np.int64 and (mine == theirs).all()
    share, above = (
        random.random(classes) * random.integers(0, 2, classes),
        random.integers(-1, CODES + 1, classes),
    )
    counts = dense.counts.astype(float)
    above[: classes // 2 + 1] = counts.argmax(1)[: classes // 2 + 1]  # one that labels have
    for found in (listed, dense):
        assert (found.by_code() == counts.sum(0)).all()
        np.testing.assert_allclose(found.by_code(share), share @ counts, atol=1e-9)
        kept = np.where(np.arange(CODES) > above[:, None], counts, 0)
        np.testing.assert_allclose(found.by_code(share, above), share @ kept, atol=1e-9)
        assert (found.by_code(above=above) == kept.sum(0)).all()


def test_what_a_histogram_counts_from_a_confidence_on_has_nothing_below():
    dense = Histogram(2, lowest=100)
    dense.add_codes(np.array([0, 0, 1, 1]), np.array([50, 100, 200, 15360]))
    expected = np.zeros(CODES)
    expected[[100, 200, 15360]] = 1
    assert (dense.by_code() == expected).all()
    expected[100], expected[200], expected[15360] = 1, 0, 2
    assert (dense.by_code(np.array([1, 2]), np.array([20, 200])) == expected).all()


@pytest.mark.parametrize("method", ["top", "official", "none"])
@pytest.mark.parametrize("threshold", [0, 0.3, 0.95, 1])
def test_balancing_comes_to_the_same(method, threshold):
    dense, listed = both(1, 3000, 12)
    names = tuple(map(str, range(12)))
    how = Balancing(threshold, per_class="paper" if method == "none" else 40, method=method, floor=3)
    assert what_if(listed, names, how).rows() == what_if(dense, names, how).rows()


def test_the_last_of_many_classes_has_its_own_place():
    listed = SortedHistogram(65536, np.array([65535, 65535, 0]), np.array([15360, 7, 15360], np.uint16))
    assert listed.predicted[[0, 65534, 65535]].tolist() == [1, 0, 2]
    assert listed.at_least(np.full(65536, 8))[[0, 65535]].tolist() == [1, 1]
    assert listed.surest(listed.predicted)[0][[0, 65535]].tolist() == [15360, 7]
