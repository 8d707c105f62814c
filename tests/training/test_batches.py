"""Joint batches hold exactly what they should, epoch after epoch."""

from collections import Counter

import numpy as np
import pytest
import torch

from nsfast.training.batches import Pictures, ToFloat, joint_loaders

LABELED, PSEUDO = 10, 7
COPIES = np.array([1, 2, 3, 1, 5, 1, 2])


def dataset(split_idx=0) -> Pictures:
    """17 pictures whose pixels are their row; the first 10 are labeled."""
    pixels = np.arange(LABELED + PSEUDO, dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 4, 5, 3), np.uint8
    )
    return Pictures([pixels[:LABELED], pixels[LABELED:]], torch.arange(LABELED + PSEUDO), split_idx)


def loaders(labeled=3, pseudo=6, steps=5):
    groups = [np.arange(LABELED), np.repeat(np.arange(PSEUDO) + LABELED, COPIES)]
    return joint_loaders(dataset(), groups, dataset(1), labeled, pseudo, steps, torch.device("cpu"))


def rows(batch) -> list[int]:
    x, y = batch
    assert x.shape[1:] == (3, 4, 5) and x.dtype == torch.float32
    seen = (x[:, 0, 0, 0] * 255).round().long().tolist()
    assert seen == y.tolist() and (x == x[:, :1, :1, :1]).all()
    return seen


@pytest.mark.parametrize(("labeled", "ratio"), [(3, 2), (1, 14), (4, 1), (16, 3), (5, 0)])
def test_every_batch_has_its_labeled_pictures_first_and_ratio_times_as_many_others(labeled, ratio):
    loader = loaders(labeled, labeled * ratio, 4).train
    for _ in range(30):
        batches = [rows(b) for b in loader]
        assert len(batches) == len(loader) == 4
        for batch in batches:
            assert len(batch) == labeled * (1 + ratio)
            assert max(batch[:labeled]) < LABELED and all(row >= LABELED for row in batch[labeled:])


def test_over_a_wrap_every_picture_comes_as_often_as_it_has_copies():
    loader = loaders(
        labeled=2, pseudo=COPIES.sum(), steps=10
    ).train  # 2 labeled wraps, 10 pseudo-labeled ones
    for _ in range(5):
        counts = Counter(row for batch in loader for row in rows(batch))
        assert [counts[i] for i in range(LABELED)] == [2] * LABELED
        assert [counts[LABELED + i] for i in range(PSEUDO)] == (10 * COPIES).tolist()


def test_within_every_wrap_every_labeled_picture_comes_once():
    stream = [row for batch in loaders(labeled=5, pseudo=1, steps=8).train for row in rows(batch)[:5]]
    for start in range(0, 40, LABELED):
        assert sorted(stream[start : start + LABELED]) == list(range(LABELED))
    assert stream[:LABELED] != stream[LABELED : 2 * LABELED]


def test_epochs_that_end_within_a_wrap_favour_no_picture():
    loader, counts = loaders(labeled=3, pseudo=2, steps=2).train, Counter()
    for _ in range(1500):
        counts.update(row for batch in loader for row in rows(batch))
    share = np.array([counts[i] for i in range(LABELED + PSEUDO)])
    assert np.abs(share[:LABELED] / 9000 - 0.1).max() < 0.01
    assert np.abs(share[LABELED:] / 6000 - COPIES / COPIES.sum()).max() < 0.02


def test_the_order_is_new_in_every_epoch_and_the_generator_decides_it():
    import random

    loader = loaders().train
    first, second = ([rows(b) for b in loader] for _ in range(2))
    assert first != second
    epochs = []
    for _ in range(2):
        loader.rng = random.Random(3)
        epochs.append([rows(b) for b in loader])
    assert epochs[0] == epochs[1]


def test_without_a_number_of_steps_an_epoch_is_one_pass_over_the_labeled_pictures():
    assert len(loaders(labeled=5, steps=0).train) == 2 and len(loaders(labeled=64, steps=0).train) == 1


def test_unshuffled_it_is_the_plain_order_once_with_the_last_part_kept():
    for loader in (loaders().valid, loaders().train.new(shuffle=False, drop_last=False)):
        batches = [rows(b) for b in loader]
        assert sum(batches, []) == list(range(LABELED + PSEUDO)) and len(batches) == len(loader)


def test_new_keeps_the_composition():
    loader = loaders(labeled=2, pseudo=3, steps=7).train
    again = loader.new()
    assert (again.labeled, again.pseudo, again.steps, again.groups) == (2, 3, 7, loader.groups)
    batches = [rows(b) for b in again]
    assert len(batches) == 7 and all(max(b[:2]) < LABELED <= min(b[2:]) for b in batches)
    shuffled_again = loader.new(shuffle=False).new(shuffle=True)
    assert len(rows(next(iter(shuffled_again)))) == 5 and len(shuffled_again) == 7


def test_take_gathers_across_both_arrays_in_the_order_asked_for():
    data, index = dataset(), np.array([16, 0, 10, 9, 9])
    x, y = data.take(index)
    assert x[:, 0, 0, 0].tolist() == y.tolist() == index.tolist() and x.dtype == torch.uint8
    assert data[12][0][0, 0, 0] == data[12][1] == 12 and len(data) == 17


def test_pictures_become_floats_on_0_to_1_and_back():
    x, _ = dataset().take(np.arange(17))
    floats = ToFloat().encodes(x)
    assert torch.equal(floats, x.float() / 255) and torch.equal(ToFloat().decodes(floats), x)
