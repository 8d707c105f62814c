"""Kept distributions: what is lost of them in closed form, and that training on them is training on what they mean."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from fastai.torch_core import TensorBase

from nsfast.errors import NsfastError
from nsfast.images import Split
from nsfast.losses import training_targets
from nsfast.training import Recipe
from nsfast.training.learner import PseudoLabeled, build_learner
from nsfast.training.pictures import Dense, FilePictures, JointTargets, Pictures, TensorTopK
from nsfast.training.targets import Distributions, dense, no_distributions, usual_top

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


def kept(n: int, classes: int, top: int, seed=0, concentration=0.3) -> tuple[np.ndarray, Distributions]:
    """Distributions, and their likeliest classes in half precision."""
    whole = np.random.default_rng(seed).dirichlet(np.full(classes, concentration), n)
    order = np.argsort(-whole, axis=1)[:, :top]
    few = np.take_along_axis(whole, order, 1).astype(np.float16)
    return whole, Distributions(few, classes, order.astype(np.uint16))


def slow(few: Distributions) -> np.ndarray:
    """What is kept, and the rest in equal parts, none as large as the largest, number by number."""
    out = np.zeros((len(few), few.classes))
    for row in range(len(few)):
        named = few.top_classes[row].tolist()
        values = few.probabilities[row].astype(float).tolist()
        for i in range(few.classes):
            if i in named:
                out[row, i] = values[named.index(i)]
                continue
            rest = max(0.0, 1 - sum(values)) / (few.classes - len(named))
            out[row, i] = min(rest, max(values) * (1 - 2**-11))
    return out


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("classes", "top"), [(2, 1), (5, 4), (5, 5), (30, 7), (300, 10)])
def test_whole_distributions_are_those_of_a_slow_loop(classes, top, device):
    _, few = kept(40, classes, top)
    given = [torch.from_numpy(array.astype(kind)).to(device)
             for array, kind in ((few.top_classes, np.int64), (few.probabilities, np.float16))]  # fmt: skip
    found = dense(*given, classes)
    assert found.dtype == torch.float32 and found.device.type == device
    assert np.allclose(found.cpu(), slow(few), rtol=1e-5, atol=1e-7)
    sums = slow(few).sum(1, keepdims=True)
    compact = TensorTopK(torch.cat([each.float() for each in given], 1))
    made = Dense(classes)(compact)
    assert type(made) is TensorBase and made.device.type == device
    assert np.allclose(made.cpu(), slow(few) / sums, rtol=1e-5, atol=1e-7)
    assert np.allclose(few.dense(), slow(few) / sums, rtol=1e-5, atol=1e-7)


def test_what_is_left_is_spread_over_the_others_and_never_given_to_the_kept():
    """Total variation in closed form: what the others differ from their mean, less than all that they have."""
    whole, few = kept(200, 50, 5)
    rounded = Distributions(few.probabilities.astype(np.float32), 50, few.top_classes)
    found = dense(torch.from_numpy(few.top_classes.astype(np.int64)), torch.from_numpy(few.probabilities), 50)
    at_kept = np.take_along_axis(found.numpy(), few.top_classes.astype(np.int64), 1)
    assert np.array_equal(at_kept, rounded.probabilities)  # to the bit: not surer than the teacher
    order = np.argsort(-whole, axis=1)
    others = np.take_along_axis(whole, order[:, 5:], 1)
    closed_form = np.abs(others - others.mean(1, keepdims=True)).sum(1) / 2
    distance = np.abs(found.numpy() - whole).sum(1) / 2
    assert np.abs(distance - closed_form).max() < 2e-3  # of half precision
    renormalised = others.sum(1)  # what giving it to the kept would cost
    assert (closed_form <= renormalised + 1e-12).all() and closed_form.mean() < 0.8 * renormalised.mean()


@pytest.mark.parametrize(("classes", "top"), [(3, 2), (1000, 10), (1024, 10), (65536, 10)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_what_is_left_never_makes_another_class_the_likeliest(classes, top, smoothing):
    """Rounding the likeliest down leaves more for each of the others than it has itself: 1/3 is 0.33325 in float16."""
    first = (np.arange(top) + classes // 2) % classes
    few = Distributions(
        np.full((2, top), 1 / classes, np.float16),
        classes,
        np.stack([first, np.sort(first)]).astype(np.uint16),
    )
    expected = few.top_classes.min(1)
    assert (few.dense(hard=True).argmax(1) == expected).all() and (few.dense().argmax(1) == expected).all()
    kept = TensorTopK(torch.from_numpy(np.hstack([few.top_classes, few.probabilities.astype(np.float32)])))
    made = training_targets(Dense(classes)(kept), classes, targets="hard", label_smoothing=smoothing)
    assert (made.argmax(1).numpy() == expected).all()


@pytest.mark.parametrize("top", [0, 3])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_and_hardness_are_of_the_whole_distribution(top, temperature):
    whole, few = kept(30, 8, 3)
    given = few if top else Distributions(whole.astype(np.float16), 8)
    base = slow(few) if top else whole.astype(np.float16).astype(float)
    expected = base ** (1 / temperature)
    assert np.allclose(given.dense(temperature), expected / expected.sum(1, keepdims=True), atol=1e-6)
    assert np.array_equal(given.dense(temperature, hard=True), np.eye(8)[base.argmax(1)])
    with pytest.raises(NsfastError, match="temperature is 0; it must be above 0"):
        given.dense(0)


def test_arrays_that_do_not_fit_are_refused():
    half = np.zeros((3, 4), np.float16)
    for arguments, said in (
        ((half, 5), r"probabilities \(3, 4\) do not fit 5 classes"),
        ((half, 3, np.zeros((3, 4), np.uint16)), "do not fit 3 classes"),
        ((half, 9, np.zeros((3, 3), np.uint16)), r"of the classes in an array \(3, 3\) do not fit 9 classes"),
        ((half[0], 4), r"probabilities \(4,\) do not fit 4 classes"),
    ):
        with pytest.raises(NsfastError, match=said):
            Distributions(*arguments)


@pytest.mark.parametrize("top", [0, 1, 3, 8])
def test_a_batch_s_targets_are_labels_and_distributions_in_the_order_asked_for(top):
    whole, few = kept(9, 8, top or 8)
    given = few if top else Distributions(whole.astype(np.float16), 8)
    labels = np.random.default_rng(1).integers(0, 8, 7)
    targets = JointTargets(labels, given)
    expected = np.concatenate([np.eye(8, dtype=np.float32)[labels], given.dense()])
    rows = np.random.default_rng(2).permutation(np.tile(np.arange(16), 2))
    found = targets.index_select(0, torch.from_numpy(rows))
    assert found.dtype == torch.float32 and found.shape == (32, 2 * top if top else 8)
    found = Dense(8)(targets.kind(found))
    assert np.array_equal(found, expected[rows]) and targets.shape == (16, 8) and len(targets.empty()) == 0
    assert np.array_equal(Dense(8)(targets.kind(targets.index_select(0, torch.arange(7)))), np.eye(8)[labels])


class Files:
    """Pictures that count as files."""

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        return Files(self.array[rows]) if isinstance(rows, slice) else self.array[rows]

    def crops(self, rows, seed, flip=True):
        return self.array[rows]


RECIPE = Recipe(
    **dict(size=1, batch=4, ratio=2, steps_per_epoch=3, epochs=1), **dict(dropout=0.0, randaugment_n=1)
)


def trained(tiny, distributions, files: bool, workers: int, **changes) -> torch.Tensor:
    """Weights after three steps."""
    kind = Files if files else np.asarray

    def split(part):
        return Split(part.ids, kind(part.pixels), part.labels)

    pseudo = PseudoLabeled(kind(tiny.unlabeled.pixels), distributions, np.ones(60, np.int64))
    images = (3, tiny.statistics(), split(tiny.labeled), split(tiny.validation), pseudo)
    learn = build_learner(replace(RECIPE, **changes), *images, torch.device("cpu"), workers)
    learn.dls.train.rng.seed(5)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-2)
    learn.validate()
    return torch.cat(
        [p.detach().ravel() for p in learn.model.parameters()] + [torch.tensor(learn.recorder.values[-1])]
    )


@pytest.mark.parametrize(
    ("files", "workers", "changes"),
    [
        (False, 0, {}),
        (True, 0, {"targets": "hard"}),
        (True, 2, {"temperature": 2.0, "label_smoothing": 0.2, "loss_normalisation": "per_stream"}),
    ],
)
def test_training_on_what_is_kept_is_to_the_bit_training_on_what_it_means(tiny, files, workers, changes):
    _, few = kept(60, 3, 2, concentration=1.0)
    means = dense(torch.from_numpy(few.top_classes.astype(np.int64)), torch.from_numpy(few.probabilities), 3)
    one = trained(tiny, few, files, workers, **changes)
    assert torch.equal(one, trained(tiny, means.numpy(), files, workers, **changes))
    others = Distributions(few.probabilities[::-1], 3, few.top_classes[::-1])
    assert not torch.equal(one, trained(tiny, others, files, workers, **changes))


def test_of_a_thousand_classes_no_matrix_of_all_is_held():
    _, few = kept(300, 1000, 10)
    labels = np.arange(200) % 1000
    pixels = [np.zeros((n, 2, 2, 1), np.uint8) for n in (200, 300)]
    targets = JointTargets(labels, few)
    memory, files = Pictures(pixels, targets, 0), FilePictures(pixels, targets, 0)
    assert (
        memory.targets.nbytes == 500 * 10 * 2 * 4
        and few.probabilities.nbytes + few.top_classes.nbytes == 300 * 40
    )
    rows = np.array([4, 250, 499])
    for data in (memory, files):
        y = data.take(rows)[1]
        assert (
            type(y) is TensorTopK
            and y.nbytes == 3 * 80
            and data.c == 1000
            and type(data[250][1]) is TensorTopK
        )
        assert np.array_equal(Dense(1000)(y)[1:], few[rows[1:] - 200].dense())
    assert len(files.new_empty()) == len(memory.new_empty()) == 0
    # a teacher's targets too, which has labels alone
    alone = Pictures(pixels[:1], JointTargets(labels, no_distributions(1000)), 0)
    assert (
        alone.targets.nbytes == 200 * 80
        and (Dense(1000)(alone.take(np.arange(200))[1]).argmax(1) == torch.tensor(labels)).all()
    )


def test_up_to_a_hundred_classes_all_are_kept_and_above_ten():
    assert [usual_top(n) for n in (2, 100, 101, 1000, 65536)] == [0, 0, 10, 10, 10]
    assert no_distributions(100).probabilities.shape == (0, 100) and no_distributions(101).top == 10


@pytest.mark.parametrize("top", [0, 2])
def test_workers_are_sent_the_path_of_a_map_and_not_its_rows(tmp_path, top):
    whole, few = kept(5000, 12, 2)
    if top:
        rows = np.empty(5000, [("classes", "<u2", (2,)), ("probabilities", "<f2", (2,))])
        rows["classes"], rows["probabilities"] = few.top_classes, few.probabilities
    else:
        rows = whole.astype(np.float16)
    np.save(tmp_path / "labels.npy", rows)
    mapped = Distributions.mapped(tmp_path / "labels.npy", 12)
    pixels = [np.zeros((n, 1, 1, 1), np.uint8) for n in (3, 5000)]
    data = FilePictures(pixels, JointTargets(np.arange(3), mapped), 0)
    sent = pickle.dumps(data)
    assert len(sent) < 5000 + 2000  # the pictures', and next to nothing
    again, index = pickle.loads(sent), np.array([1, 5002, 77])
    assert torch.equal(again.take(index)[1], data.take(index)[1])
    assert isinstance(again.targets.distributions.probabilities, np.memmap)


@pytest.mark.parametrize("files", [False, True])
def test_fastai_shows_kept_distributions_by_the_likeliest_class(tiny, files):
    _, few = kept(60, 3, 2)
    targets, vocab = JointTargets(tiny.labeled.labels, few), tiny.classes
    kind = FilePictures if files else Pictures
    data = kind([tiny.labeled.pixels, tiny.unlabeled.pixels], targets, 0, vocab=vocab)
    groups = [np.arange(12), np.arange(12, 72)]
    from nsfast.training.batches import joint_loaders

    loader = joint_loaders(data, groups, data, 2, 4, 3, torch.device("cpu")).train
    assert [type(step).__name__ for step in loader.after_batch.fs] == ["Dense", "ToFloat"]
    _, y = batch = loader.one_batch()
    shown = loader.decode_batch(batch)
    expected = [f"{vocab[int(row.argmax())]} {float(row.max()):.2f}" for row in y]
    assert [str(title) for _, title in shown] == expected and y.shape == (6, 3)
    assert str(data.decode(data[12])[1]) == f"{vocab[few.top_classes[0, 0]]} {few.dense()[0].max():.2f}"


def test_an_array_of_probabilities_will_do_and_other_classes_are_refused(tiny):
    whole, few = kept(60, 4, 2)
    array = whole.astype(np.float32)
    pseudo = PseudoLabeled(tiny.unlabeled.pixels, array, np.ones(60, np.int64))
    assert pseudo.distributions.probabilities is array and pseudo.distributions.classes == 4
    for given in (array, few):
        wrong = PseudoLabeled(tiny.unlabeled.pixels, given, np.ones(60, np.int64))
        with pytest.raises(NsfastError, match="pseudo-labels over 4 classes; the pictures have 3"):
            build_learner(RECIPE, 3, tiny.statistics(), tiny.labeled, tiny.validation, wrong)
