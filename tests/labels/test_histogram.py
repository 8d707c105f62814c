"""The histogram of confidences against plain counting, in its small and in its wide form."""

import tracemalloc

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.labels import histogram as module
from nsfast.labels.histogram import CODES, Histogram, above, codes_of, confidence_of

FORMS = pytest.mark.parametrize("wide", [False, True])


@pytest.fixture
def form(monkeypatch):
    """Choose whether cells are bytes, a few at a time."""

    def choose(wide: bool) -> None:
        if wide:
            monkeypatch.setattr(module, "WIDE", 0)
            monkeypatch.setattr(module, "BLOCK", 2 * CODES)

    return choose


def labels(n=5000, classes=7, seed=0):
    random = np.random.default_rng(seed)
    confidence = random.beta(2, 1, n).astype(np.float16)
    confidence[: n // 2] = 0.9  # cells with many labels
    return random.integers(0, classes - 1, n).astype(np.uint16), confidence  # the last class is empty


def test_codes_are_in_the_order_of_confidences_and_count_every_float16_from_0_to_1():
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    valid = np.unique(every[(every >= 0) & (every <= 1)])
    assert len(valid) == CODES and codes_of(valid).tolist() == list(range(CODES))
    assert (confidence_of(codes_of(valid)) == valid).all()
    assert codes_of(np.float16([-0.0, 0.5])).tolist() == [0, 0x3800]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.25, 1.001, -np.inf])
def test_what_is_no_confidence_is_refused_with_its_value(wrong):
    with pytest.raises(NsfastError, match=f"a confidence is {np.float16(wrong)}; every one must be"):
        codes_of(np.float16([0.5, wrong, 0.7]))


def test_a_threshold_is_compared_in_float16_after_rounding_both():
    assert above(np.float32([0.3, 0.29999, 0.2998, 0.3001]), 0.3).tolist() == [True, True, False, True]
    assert above(np.float16([0.1]), 0.1).tolist() == [True]


@FORMS
@pytest.mark.parametrize("batch", [1000, 5000])
def test_counts_are_those_of_plain_counting_whatever_the_batches(form, wide, batch):
    form(wide)
    predicted, confidence = labels()
    found = Histogram(7)
    for start in range(0, len(predicted), batch):
        found.add(predicted[start : start + batch], confidence[start : start + batch])
    expected = np.zeros((7, CODES), int)
    for number, code in zip(predicted.tolist(), confidence.view(np.uint16).tolist(), strict=True):
        expected[number, code] += 1
    assert expected.max() > 255 and (found.counts == expected).all()
    assert (found.predicted == expected.sum(1)).all()
    found.add(predicted[:1], confidence[:1])  # what was summed up before has to be summed up again
    expected[predicted[0], confidence[:1].view(np.uint16)[0]] += 1
    assert found.highest == confidence.view(np.uint16).max() and (found.predicted == expected.sum(1)).all()
    for threshold in (0, 0.31, 0.5, 1):
        code = codes_of(np.array([threshold]))[0]
        assert (found.at_least(np.full(7, code)) == expected[:, code:].sum(1)).all()
    several = np.random.default_rng(1).integers(0, CODES + 1, (3, 7))
    slow = [[expected[k, code:].sum() for k, code in enumerate(row)] for row in several.tolist()]
    assert found.at_least(several).tolist() == slow


@FORMS
@pytest.mark.parametrize("lowest", [0, 0x34CD])
def test_the_surest_of_a_class_end_where_sorting_says(form, wide, lowest):
    form(wide)
    predicted, confidence = labels()
    found, random = Histogram(7, lowest), np.random.default_rng(2)
    found.add(predicted, confidence)
    codes = confidence.view(np.uint16)
    members = [np.sort(codes[(predicted == k) & (codes >= lowest)])[::-1] for k in range(7)]
    for share in (0, 0.01, 0.5, 1, *random.random(20)):
        wanted = np.array([round(share * len(m)) for m in members])
        for k, (code, over, at) in enumerate(zip(*found.surest(wanted), strict=True)):
            if not wanted[k]:
                assert (code, over, at) == (CODES, 0, 0)
                continue
            assert code == members[k][wanted[k] - 1]
            assert over == (members[k] > code).sum() and at == (members[k] == code).sum()


@FORMS
def test_labels_below_the_lowest_code_are_counted_by_class_only(form, wide):
    form(wide)
    predicted, confidence = labels()
    found, lowest = Histogram(7, 0x3800), np.float16(0.5)
    found.add(predicted, confidence)
    assert found.counts.shape == (7, CODES - 0x3800)
    assert (found.below == np.bincount(predicted[confidence < lowest], minlength=7)).all()
    assert (found.predicted == np.bincount(predicted, minlength=7)).all()


@FORMS
@pytest.mark.parametrize("lowest", [0, 0x3800])
def test_it_comes_back_from_its_file_whole_or_from_a_code_up(form, wide, lowest, tmp_path):
    form(wide)
    whole, part = Histogram(7), Histogram(7, lowest)
    for each in (whole, part):
        each.add(*labels())
    whole.save(tmp_path / "a.parquet")
    found = Histogram.load(tmp_path / "a.parquet", 7, lowest)
    assert (found.counts == part.counts).all() and (found.below == part.below).all()
    assert found.highest == part.highest
    found.add(*labels(seed=1))
    part.add(*labels(seed=1))
    assert (found.counts == part.counts).all() and (found.predicted == part.predicted).all()


def test_both_forms_write_the_same_bytes(form, tmp_path):
    for name, wide in (("a", False), ("b", True)):
        form(wide)
        found = Histogram(7)
        found.add(*labels())
        found.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_empty_one_comes_back_empty(tmp_path):
    Histogram(3).save(tmp_path / "a.parquet")
    found = Histogram.load(tmp_path / "a.parquet", 3)
    assert not found.counts.any() and found.highest == -1


def test_22000_classes_stay_below_half_a_gigabyte():
    tracemalloc.start()
    try:
        found, random = Histogram(22_000), np.random.default_rng(0)
        predicted = (np.arange(200_000) % 22_000).astype(np.uint16)
        found.add(predicted, random.random(200_000).astype(np.float16))
        code, over, at = found.surest(np.ones(22_000, int))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.5e9 and (at > 0).all() and not over.any()
