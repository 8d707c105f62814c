"""Epochs, parts of a step, and the shares of processes and workers: always the same pictures of the same step."""

import random

import numpy as np
import pytest
import torch

from nsfast.errors import NsfastError
from nsfast.training.batches import JointDL, joint_loaders
from nsfast.training.pictures import Pictures

LABELED, PSEUDO = 10, 7
COPIES = np.array([1, 2, 3, 1, 5, 1, 2])


def dataset(split_idx=0) -> Pictures:
    """17 pictures whose pixels are their row; the first 10 are labeled."""
    pixels = np.arange(LABELED + PSEUDO, dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 2, 2, 1), np.uint8
    )
    return Pictures([pixels[:LABELED], pixels[LABELED:]], torch.arange(LABELED + PSEUDO), split_idx)


def rows(batch) -> list[int]:
    x, y = batch
    assert (x[:, 0, 0, 0] * 255).round().long().tolist() == y.tolist()
    return y.tolist()


def seeded(seed=0, epoch=0, skip=0, **options):
    """A training loader over the 10 labeled and 7 pseudo-labeled pictures, at the beginning of an epoch."""
    options = {"labeled": 4, "pseudo": 8, "steps": 0, **options}
    groups = [np.arange(LABELED), np.repeat(np.arange(PSEUDO) + LABELED, COPIES)]
    loader = joint_loaders(dataset(), groups, dataset(1), device=torch.device("cpu"), **options).train
    loader.rng, loader.epoch, loader.skip = random.Random(seed), epoch, skip
    return loader


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("steps", [0, 3])
def test_accumulated_parts_hold_the_step_s_pictures_each_with_the_same_ratio(parts, steps):
    whole = [rows(batch) for batch in seeded(steps=steps)]
    loader = seeded(labeled=4 // parts, pseudo=8 // parts, accumulate=parts, steps=steps)
    split = [rows(batch) for batch in loader]
    assert len(split) == len(loader) == parts * len(whole) and loader.steps_in(3) == seeded(
        steps=steps
    ).steps_in(3)
    for number, step in enumerate(whole):
        mine = split[number * parts : (number + 1) * parts]
        assert sum((part[: 4 // parts] for part in mine), []) == step[:4]
        assert sum((part[4 // parts :] for part in mine), []) == step[4:]


def lengths(epochs, labeled, count, **options):
    loader = JointDL(
        range(count),
        groups=[np.arange(count), np.arange(0)],
        labeled=labeled,
        shuffle=True,
        device="cpu",
        **options,
    )
    found = []
    for loader.epoch in range(epochs):
        found.append(len(loader))
    return found, loader.steps_in(epochs)


def test_the_paper_s_350_epochs_are_109474_steps():
    """Of 1,281,167 pictures, floor(350 N / B) as the released main.py counts; two counts known from arithmetic."""
    found, steps = lengths(350, 4096, 1_281_167)
    assert sum(found) == steps == 109_474 == 350 * 1_281_167 // 4096 and set(found) == {312, 313}
    found, steps = lengths(350, 2048, 1_281_167)
    assert sum(found) == steps == 218_949


@pytest.mark.parametrize(("labeled", "count"), [(3, 10), (10, 10), (4, 13), (7, 100), (1, 3)])
@pytest.mark.parametrize("parts", [1, 2])
def test_epochs_differ_by_one_step_at_most_and_sum_to_whole_passes(labeled, count, parts):
    count *= parts
    found, steps = lengths(9, labeled, count, accumulate=parts)
    found = [batches // parts for batches in found]
    assert max(found) - min(found) <= 1
    for epochs in range(1, 10):
        assert sum(found[:epochs]) == epochs * count // (labeled * parts)
    assert steps == sum(found)


def test_an_epoch_has_a_step_at_least():
    assert lengths(4, 64, 10) == ([1, 1, 1, 1], 4) and lengths(4, 64, 40) == ([1, 1, 1, 1], 4)


def test_fractional_epochs_go_by_the_pseudo_labels_when_those_define_them():
    loader = seeded(labeled=1, pseudo=4, epoch_by="pseudo")
    found = []
    for loader.epoch in range(4):
        found.append(len(loader))
        assert len(list(loader)) == found[-1]
    assert COPIES.sum() == 15 and found == [3, 4, 4, 4] and loader.steps_in(4) == 15


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("epoch", [0, 2])
def test_what_is_skipped_is_left_out_and_the_rest_of_the_epoch_is_the_same(parts, epoch):
    options = dict(labeled=4 // parts, pseudo=8 // parts, accumulate=parts, steps=5, epoch=epoch)
    whole = [rows(batch) for batch in seeded(**options)]
    for skip in (parts, 3 * parts, 5 * parts):
        assert [rows(batch) for batch in seeded(**options, skip=skip)] == whole[skip:]


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("parts", [1, 2])
def test_the_processes_batches_are_the_whole_batch_with_the_same_ratio(processes, parts):
    options = dict(labeled=8 // parts, pseudo=16 // parts, accumulate=parts, steps=3)
    whole = [rows(batch) for batch in seeded(**options)]
    shares = [[rows(b) for b in seeded(**options, rank=r, processes=processes)] for r in range(processes)]
    labeled = 8 // parts // processes
    for number, batch in enumerate(whole):
        mine = [share[number] for share in shares]
        assert all(len(part) == 3 * labeled for part in mine)
        assert sum((part[:labeled] for part in mine), []) == batch[: 8 // parts]
        assert sum((part[labeled:] for part in mine), []) == batch[8 // parts :]
        assert all(max(part[:labeled]) < LABELED <= min(part[labeled:]) for part in mine)


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_every_validation_picture_is_seen_by_one_process(processes):
    groups = [np.arange(LABELED), np.empty(0, np.int64)]
    seen, cpu = [], torch.device("cpu")
    for rank in range(processes):
        options = dict(rank=rank, processes=processes)
        train = joint_loaders(dataset(), groups, dataset(1), processes, 0, 1, cpu, **options)
        valid = train.valid.new(bs=2)
        batches = [rows(batch) for batch in valid]
        assert len(batches) == len(valid)
        seen += sum(batches, [])
    assert sorted(seen) == list(range(LABELED + PSEUDO))


@pytest.mark.parametrize(("labeled", "pseudo"), [(3, 4), (4, 3)])
def test_a_batch_that_does_not_divide_over_the_processes_is_refused(labeled, pseudo):
    with pytest.raises(NsfastError, match="does not divide over 2 processes; make it a multiple of 2"):
        seeded(labeled=labeled, pseudo=pseudo, processes=2)


class Draws:
    """A dataset that answers with the draw that a batch was asked for."""

    def __len__(self):
        return LABELED + PSEUDO

    def __getitem__(self, row):
        return row

    def take(self, index, draw=None):
        return torch.from_numpy(index), torch.tensor([-1 if draw is None else draw])


def drawn(epochs=2, **options):
    groups = [np.arange(LABELED), np.arange(PSEUDO) + LABELED]
    options = {"skip": 0, "rank": 0, "processes": 1, "workers": 0, **options}
    loader = JointDL(
        *(Draws(), groups),
        **dict(labeled=2, pseudo=4, steps=5, shuffle=True, num_workers=options["workers"], device="cpu"),
        **dict(rank=options["rank"], processes=options["processes"]),
    )
    loader.rng, loader.skip = random.Random(3), options["skip"]
    return [[(index.tolist(), draw.item()) for index, draw in loader] for _ in range(epochs)]


def test_a_batch_s_draw_is_its_own_and_the_same_in_any_worker_and_after_a_break():
    whole = drawn()
    draws = [draw for epoch in whole for _, draw in epoch]
    assert len(set(draws)) == 10 and min(draws) >= 0
    assert drawn(workers=2) == whole
    assert drawn(1, skip=2) == drawn(1, skip=2, workers=2) == [whole[0][2:]]


def test_processes_draw_differently_from_each_other():
    ours, theirs = (drawn(rank=rank, processes=2) for rank in range(2))
    assert not {draw for epoch in ours for _, draw in epoch} & {draw for epoch in theirs for _, draw in epoch}


def test_unshuffled_batches_have_no_draw():
    loader = JointDL(Draws(), shuffle=False, bs=5, device="cpu")
    assert [draw.item() for _, draw in loader] == [-1] * 4
