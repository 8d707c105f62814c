"""A band of confidence: labels from `below` on are left out, in balancing and in the explorer's preview."""

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.explore.core.labels import PseudoLabels
from nsfast.explore.core.preview import ThresholdPreview
from nsfast.labels.balancing.balance import Balancing, balance

CLASSES = ("a", "b", "c")


@pytest.fixture
def labels(tmp_path, table_of):
    random = np.random.default_rng(3)
    classes = random.integers(0, 3, 400)
    confidence = random.uniform(0.34, 1, 400).astype(np.float16)
    return table_of(tmp_path / "labels", classes, confidence, names=CLASSES), classes, confidence


@pytest.mark.parametrize("per_class, method", [("largest", "top"), (20, "top"), ("largest", "none")])
def test_only_the_band_is_selected(labels, tmp_path, per_class, method):
    table, classes, confidence = labels
    how = Balancing(threshold=0.4, below=0.7, per_class=per_class, method=method)
    selected = balance(table, how, tmp_path / "out").selection
    inside = (confidence >= np.float16(0.4)) & (confidence < np.float16(0.7))
    assert set(selected.ids) <= set(np.flatnonzero(inside))
    if per_class == "largest":
        assert set(selected.ids) == set(np.flatnonzero(inside))
    else:
        for number in range(3):
            rows = np.flatnonzero(inside & (classes == number))
            best = np.sort(confidence[rows])[::-1][:20]
            mine = selected.ids[selected.classes == number]
            assert np.array_equal(np.sort(confidence[mine])[::-1], best)


def test_the_preview_says_what_balancing_does(labels, tmp_path):
    table, classes, confidence = labels
    how = Balancing(threshold=0.4, below=0.7, per_class="largest")
    rows = balance(table, how, tmp_path / "out").rows
    preview = ThresholdPreview.of_labels(PseudoLabels(CLASSES, classes, confidence), how)
    found = preview.at(0.4)
    assert found.kept.tolist() == [row["kept"] for row in rows]
    assert preview.at(0.75).kept.sum() == 0  # nothing is left above the band


def test_a_band_without_width_is_refused():
    with pytest.raises(NsfastError, match="below is 0.5, which no confidence from the threshold 0.5 on is"):
        Balancing(threshold=0.5, below=0.5)
    with pytest.raises(NsfastError, match="below is 2"):
        Balancing(below=2)
