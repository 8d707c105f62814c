"""Joint batches hold exactly what they should, epoch after epoch."""

from collections import Counter

import numpy as np
import pytest
import torch

from nsfast.errors import NsfastError
from nsfast.training.batches import JointDL, joint_loaders
from nsfast.training.pictures import Pictures, ToFloat

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


@pytest.mark.parametrize(("epoch_by", "batches"), [("labeled", 10 // 2), ("pseudo", 15 // 3)])
def test_an_epoch_is_one_pass_over_the_kind_that_defines_it(epoch_by, batches):
    groups = [np.arange(LABELED), np.repeat(np.arange(PSEUDO) + LABELED, COPIES)]
    loader = joint_loaders(dataset(), groups, dataset(1), 2, 3, 0, torch.device("cpu"), epoch_by).train
    counts = Counter(row for batch in loader for row in rows(batch))
    assert len(loader) == batches and loader.new().epoch_by == epoch_by
    if epoch_by == "labeled":
        assert [counts[i] for i in range(LABELED)] == [1] * LABELED
    else:
        assert [counts[LABELED + i] for i in range(PSEUDO)] == COPIES.tolist()
    assert f"an epoch is {batches} batches of 2 labeled + 3 pseudo-labeled pictures" in loader.describe()


def test_an_epoch_that_cannot_be_is_refused_when_the_loader_is_made():
    groups, cpu = [np.arange(LABELED), np.empty(0, np.int64)], torch.device("cpu")
    with pytest.raises(NsfastError, match="a batch is to have 4 pseudo pictures, but there are none"):
        joint_loaders(dataset(), groups, dataset(1), 2, 4, 5, cpu)
    with pytest.raises(
        NsfastError, match="epoch_by is 'pseudo', but a batch has no such pictures; give steps"
    ):
        joint_loaders(dataset(), groups, dataset(1), 2, 0, 0, cpu, "pseudo")
    with pytest.raises(NsfastError, match="unknown epoch_by 'label'; did you mean 'labeled'"):
        joint_loaders(dataset(), groups, dataset(1), 2, 0, 0, cpu, "label")


class Rows:
    """A plain dataset, an item at a time."""

    def __len__(self):
        return LABELED + PSEUDO

    def __getitem__(self, i):
        return torch.tensor([float(i)]), i


@pytest.mark.parametrize("workers", [0, 2])
def test_any_dataset_of_fastai_will_do_with_and_without_workers(workers):
    groups = [np.arange(LABELED), np.repeat(np.arange(PSEUDO) + LABELED, COPIES)]
    loader = JointDL(
        Rows(), groups=groups, labeled=2, pseudo=5, steps=6, shuffle=True, num_workers=workers, device="cpu"
    )
    batches = [y.tolist() for _, y in loader]
    assert len(batches) == 6
    assert all(max(batch[:2]) < LABELED <= min(batch[2:]) and len(batch) == 7 for batch in batches)
    counts = Counter(sum(batches, []))
    assert [counts[LABELED + i] for i in range(PSEUDO)] == (2 * COPIES).tolist()


@pytest.mark.parametrize(("steps", "processes"), [(7, 2), (9, 4), (1, 2), (8, 2)])
def test_every_process_gets_whole_batches_of_one_order(monkeypatch, steps, processes):
    """Two processes' loaders in one, with the broadcast of the first one's order."""
    import random

    from fastai.distributed import DistributedDL

    monkeypatch.setenv("WORLD_SIZE", str(processes))
    loader, seen, orders = loaders(labeled=3, pseudo=6, steps=steps).train, [], []
    monkeypatch.setattr(
        DistributedDL, "_broadcast", lambda self, order, rank: orders.append(order) or list(order)
    )
    for rank in range(processes):
        loader.rng = random.Random(5)  # what the broadcast does
        part = [rows(batch) for batch in DistributedDL(loader, rank, processes)]
        assert len(part) == max(1, steps // processes)
        assert all(len(b) == 9 and max(b[:3]) < LABELED <= min(b[3:]) for b in part)
        seen += part
    assert sum(seen, []) == list(map(int, orders[0]))


def test_a_memory_map_is_read_into_one_tensor(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 4, 5, 3), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    data = Pictures([mapped[:4], mapped[4:]], torch.arange(9), 0)
    assert data.pixels.dtype == torch.uint8 and (data.pixels.permute(0, 2, 3, 1).numpy() == pixels).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_pictures_and_targets_stay_there():
    data = Pictures([np.zeros((5, 4, 4, 3), np.uint8)], torch.arange(5), 0, "cuda")
    x, y = data.take(np.array([3, 1]))
    assert x.is_cuda and y.is_cuda and y.tolist() == [3, 1]


def test_fastai_can_show_one_picture_many_times():
    loader = loaders().train
    picture, *_ = loader.show_batch(unique=True, max_n=3, show=False)
    assert len(picture) == 9 and (picture == picture[:1]).all()


def test_as_many_targets_as_pictures_are_needed():
    with pytest.raises(NsfastError, match="3 targets for 2 pictures; give one each"):
        Pictures([np.zeros((2, 4, 4, 1), np.uint8)], torch.arange(3), 0)
