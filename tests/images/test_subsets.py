"""Who is labeled is drawn class by class, by the hash of the ids."""

import numpy as np
import pytest

from nsfast.images.problem import ImageProblem
from nsfast.images.subsets import class_counts, first_of_each, share_of_each, spread, without

LABELS = np.random.default_rng(0).integers(0, 5, 200)
ORDER = np.random.default_rng(1).permutation(200).astype(np.uint64)


@pytest.mark.parametrize("total, parts", [(0, 3), (7, 3), (40, 10), (5, 10)])
def test_a_total_is_spread_evenly(total, parts):
    shares = spread(total, parts)
    assert shares.sum() == total and len(shares) == parts and np.ptp(shares) <= 1


def test_the_first_of_each_class_are_those_a_loop_finds():
    counts = np.array([3, 0, 1, 200, 7])
    expected = []
    for label, count in enumerate(counts):
        members = [i for i in range(200) if LABELS[i] == label]
        expected += sorted(members, key=lambda i: ORDER[i])[:count]
    assert first_of_each(LABELS, ORDER, counts).tolist() == sorted(expected)


def test_a_share_is_rounded_and_never_nothing():
    sizes = np.bincount(LABELS)
    for share in (0.001, 0.1, 0.5, 1.0):
        found = np.bincount(LABELS[share_of_each(LABELS, ORDER, share, 5)], minlength=5)
        assert (np.abs(found - share * sizes) <= 0.5).all() or (found == 1).all()


def test_a_smaller_share_is_a_part_of_a_larger_one():
    assert set(share_of_each(LABELS, ORDER, 0.1, 5)) < set(share_of_each(LABELS, ORDER, 0.2, 5))


def test_the_rest_is_what_nobody_took():
    assert without(6, np.array([1, 4]), np.array([0])).tolist() == [2, 3, 5]


def test_a_class_with_too_few_pictures_is_named():
    few = np.array([0, 0, 0, 1])
    assert class_counts("labeled", 2, few, ("a", "b")).tolist() == [1, 1]
    with pytest.raises(ImageProblem, match="labeled=4 asks for 2 pictures of class 'b', which has 1 left"):
        class_counts("labeled", 4, few, ("a", "b"))
