"""Labeling is a plain forward pass of the un-noised teacher, and resumes by whole shards."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nsfast.errors import NsfastError
from nsfast.files import checksum
from nsfast.images import Split
from nsfast.labels import predict as module
from nsfast.labels.predict import label, predict, require_better_than_chance
from nsfast.labels.table import read_labels, shard_name
from nsfast.models import build_model

ABOUT = {"teacher": "abc", "round": 1}


@pytest.fixture
def teacher():
    """A network with all the noise a model can have, left in training mode, with unusual batch-norm statistics."""
    torch.manual_seed(0)
    model = build_model("small", 3, 1, 1, dropout=0.5, mean=[0.4], std=[0.2]).train()
    model(torch.rand(32, 1, 8, 8))
    return model


def run(teacher, tiny, folder, about=ABOUT, **options):
    return label(teacher, tiny.unlabeled, tiny.classes, folder, about, **{"batch": 7, "shard": 25, **options})


def plain_loop(teacher, pixels, batch=7, shard=25):
    """Probabilities as a loop of plain forward passes in eval mode gives them."""
    teacher.eval()
    out = []
    with torch.no_grad():
        for begin in range(0, len(pixels), shard):
            part = pixels[begin : begin + shard]
            for start in range(0, len(part), batch):
                x = torch.tensor(part[start : start + batch]).permute(0, 3, 1, 2).to(torch.float32) / 255
                out.append(torch.softmax(teacher(x), dim=1))
    teacher.train()
    return torch.cat(out).numpy()


def test_labels_are_bit_equal_to_a_plain_loop_in_eval_mode(teacher, tiny, tmp_path):
    table = run(teacher, tiny, tmp_path)
    assert (table.probabilities == plain_loop(teacher, tiny.unlabeled.pixels).astype(np.float16)).all()
    assert (table.ids == tiny.unlabeled.ids).all() and table.about == {"teacher": "abc", "round": "1"}
    assert [p.name for p in sorted(tmp_path.iterdir())] == [shard_name(n) for n in range(3)]


def test_predict_gives_the_logits_of_the_plain_loop(teacher, tiny):
    logits = predict(teacher, tiny.unlabeled.pixels, 7)
    assert logits.dtype == torch.float32
    loop = plain_loop(teacher, tiny.unlabeled.pixels, shard=10**6)
    assert (logits.softmax(1).numpy() == loop).all()


def test_the_model_is_left_as_it_was_frozen_parts_included(teacher, tiny):
    teacher.body.norm.eval()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    modes = [m.training for m in teacher.modules()]
    predict(teacher, tiny.unlabeled.pixels)
    assert [m.training for m in teacher.modules()] == modes and True in modes and False in modes
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in teacher.parameters())


def test_the_mode_is_put_back_after_an_error_too(teacher):
    with pytest.raises(RuntimeError):
        predict(teacher, np.zeros((2, 8, 8, 3), np.uint8))
    assert teacher.training


def test_there_is_no_randomness_in_labeling(teacher, tiny, tmp_path):
    state = torch.random.get_rng_state()
    one = run(teacher, tiny, tmp_path / "a")
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    assert (run(teacher, tiny, tmp_path / "b").probabilities == one.probabilities).all()
    for number in range(3):
        assert checksum(tmp_path / "a" / shard_name(number)) == checksum(tmp_path / "b" / shard_name(number))


def test_a_picture_s_label_does_not_depend_on_its_place_or_its_batch(teacher, tiny, tmp_path):
    table = run(teacher, tiny, tmp_path / "a")
    order = np.random.default_rng(0).permutation(len(table))
    split = Split(tiny.unlabeled.ids[order], tiny.unlabeled.pixels[order])
    other = label(teacher, split, tiny.classes, tmp_path / "b", ABOUT, batch=11, shard=13)
    assert (other.ids == table.ids[order]).all()
    assert np.allclose(other.probabilities.astype(float), table.probabilities[order].astype(float), atol=1e-3)


def test_labels_of_the_pictures_are_not_looked_at(teacher, tiny, tmp_path):
    known = replace(tiny.unlabeled, labels=np.full(len(tiny.unlabeled), -5))
    one = run(teacher, tiny, tmp_path / "a")
    two = label(teacher, known, tiny.classes, tmp_path / "b", ABOUT, 7, 25)
    assert (one.probabilities == two.probabilities).all()


class Counter:
    """Counts the pictures that the teacher is shown; breaks off in the given call."""

    def __init__(self, monkeypatch, break_at=None):
        self.pictures, self.calls, self.break_at, self.predict = 0, 0, break_at, module.predict
        monkeypatch.setattr(module, "predict", self)

    def __call__(self, model, pixels, *rest):
        self.calls += 1
        if self.calls == self.break_at:
            raise KeyboardInterrupt
        self.pictures += len(pixels)
        return self.predict(model, pixels, *rest)


def files(folder):
    return {p.name: (p.read_bytes(), os.stat(p).st_mtime_ns) for p in folder.iterdir()}


def test_finished_shards_of_the_same_teacher_are_kept_and_the_rest_is_labeled(teacher, tiny, tmp_path):
    whole = run(teacher, tiny, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Counter(patch, break_at=3)
        run(teacher, tiny, tmp_path / "a")
    before = files(tmp_path / "a")
    assert sorted(before) == [shard_name(0), shard_name(1)]
    with pytest.MonkeyPatch.context() as patch:
        counter = Counter(patch)
        table = run(teacher, tiny, tmp_path / "a")
        assert counter.pictures == 10
        run(teacher, tiny, tmp_path / "a")
        assert counter.pictures == 10
    assert (table.probabilities == whole.probabilities).all()
    after = files(tmp_path / "a")
    assert all(after[name] == before[name] for name in before)
    assert {n: c for n, (c, _) in after.items()} == {n: c for n, (c, _) in files(tmp_path / "whole").items()}


@pytest.mark.parametrize("change", ["teacher", "round", "classes", "pictures"])
def test_shards_of_another_teacher_round_or_other_pictures_are_labeled_anew(teacher, tiny, tmp_path, change):
    run(teacher, tiny, tmp_path)
    about, classes, split = ABOUT, tiny.classes, tiny.unlabeled
    if change == "classes":
        classes = ("x", "y", "z")
    elif change == "pictures":
        split = Split(np.char.add("other ", split.ids), split.pixels)
    else:
        about = {**ABOUT, change: "2"}
    with pytest.MonkeyPatch.context() as patch:
        counter = Counter(patch)
        table = label(teacher, split, classes, tmp_path, about, 7, 25)
    assert counter.pictures == 60 and table.classes == classes and (table.ids == split.ids).all()
    assert table.about == {name: str(value) for name, value in about.items()}


@pytest.mark.parametrize("shard", [10, 25, 30, 100])
def test_nothing_of_an_earlier_labeling_is_left_between_the_shards(teacher, tiny, tmp_path, shard):
    run(teacher, tiny, tmp_path, shard=6)
    (tmp_path / shard_name(0)).unlink()
    (tmp_path / shard_name(4)).unlink()
    table = run(teacher, tiny, tmp_path, shard=shard)
    assert (table.ids == tiny.unlabeled.ids).all()
    assert len(list(tmp_path.iterdir())) == -(-60 // shard)


def test_a_damaged_shard_stops_labeling_with_one_line_and_is_not_overwritten(teacher, tiny, tmp_path):
    run(teacher, tiny, tmp_path)
    path = tmp_path / shard_name(1)
    path.write_bytes(b"PAR1 damaged")
    with pytest.raises(NsfastError, match=f"{shard_name(1)} is damaged") as caught:
        run(teacher, tiny, tmp_path)
    assert "\n" not in str(caught.value) and path.read_bytes() == b"PAR1 damaged"
    path.unlink()
    assert len(run(teacher, tiny, tmp_path)) == len(read_labels(tmp_path)) == 60


class Knows(nn.Module):
    """Right about the first `right` of the pictures, whose class and number are their first two pixels."""

    def __init__(self, right):
        super().__init__()
        self.right, self.weight = right, nn.Parameter(torch.zeros(1))

    def forward(self, x):
        kind, number = (x[:, 0, 0, i].mul(255).round().long() for i in (0, 1))
        answer = torch.where(number < self.right, kind, (kind + 1) % 3)
        return torch.nn.functional.one_hot(answer, 3).float()


def validation(counts) -> Split:
    labels = np.repeat([0, 1, 2], counts)
    pixels = np.zeros((len(labels), 2, 2, 1), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 1, 0] = labels, np.arange(len(labels))
    return Split(np.array([str(i) for i in range(len(labels))]), pixels, labels)


def tail(right, n, chance) -> float:
    """P(X >= right) of a binomial, summed up term by term."""
    from math import comb

    return sum(comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in range(right, n + 1))


@pytest.mark.parametrize("counts", [(10, 10, 10), (20, 5, 5), (3, 2, 1), (60, 30, 10)])
def test_chance_is_the_share_of_the_largest_class_and_the_test_is_exact(counts):
    split, n, chance = validation(counts), sum(counts), max(counts) / sum(counts)
    for right in range(n + 1):
        if tail(right, n, chance) < 0.05:
            said = require_better_than_chance(Knows(right), split)
            assert f"right on {right} of {n}" in said and f"chance is {chance:.1%}" in said
        else:
            with pytest.raises(
                NsfastError, match=f"right on {right} of {n}.*no better than chance.*allow_chance"
            ):
                require_better_than_chance(Knows(right), split)
            assert require_better_than_chance(Knows(right), split, allow=True).startswith(
                "warning: the teacher"
            )


def test_a_teacher_that_always_says_the_largest_class_is_at_chance():
    class Constant(Knows):
        def forward(self, x):
            return torch.tensor([[1.0, 0, 0]]).expand(len(x), 3)

    with pytest.raises(NsfastError, match=r"no better than chance \(60.0%\)"):
        require_better_than_chance(Constant(0), validation((60, 30, 10)))


def test_a_validation_split_too_small_to_tell_warns_and_goes_on():
    split = validation([2, 2, 0])
    said = require_better_than_chance(Knows(4), split)
    assert said.startswith("warning") and "too few" in said


def test_a_compiled_teacher_is_compiled_once_and_says_the_same(teacher, tiny, monkeypatch):
    """The last batch is filled up, and the network has no graph break; what the compiler makes of it is torch's."""
    compiled = []

    def backend(graph, inputs):
        compiled.append([tuple(i.shape) for i in inputs if i.ndim == 4 and i.shape[0] == 7])
        return graph.forward

    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda m, **o: compile(m, backend=backend, fullgraph=True, **o))
    said = predict(teacher, tiny.unlabeled.pixels, 7, compile=True)  # 60 pictures: the last batch holds 4
    assert torch.equal(said, predict(teacher, tiny.unlabeled.pixels, 7)) and len(compiled) == 1


def test_pictures_kept_as_files_are_decoded_at_the_network_s_own_resolution(tmp_path):
    from nsfast.images.readers import READERS
    from nsfast.images.tiny import write_tiny

    images = READERS["imagenet"](**{**write_tiny("imagenet", tmp_path), "size": 32})
    model = build_model("small", 4, 3, 1).eval()
    model.pixels = 48
    fine = torch.from_numpy(images.test.pixels.at(48)[:]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        assert torch.allclose(predict(model, images.test.pixels), model(fine), atol=1e-5)
        coarse = torch.from_numpy(images.test.pixels[:]).permute(0, 3, 1, 2).float() / 255
        assert not torch.allclose(model(coarse), model(fine), atol=1e-3)
