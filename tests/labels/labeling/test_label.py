"""Labeling is a plain forward pass of un-noised teachers, whatever the batches and shards."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nsfast.errors import NsfastError
from nsfast.files import read_json
from nsfast.images import Split
from nsfast.labels.labeling.unfinished import UnfinishedTable


@pytest.mark.parametrize(("batch", "shard"), [(7, 25), (60, 60), (1, 4), (64, 1000)])
def test_labels_are_bit_equal_to_a_plain_loop_in_eval_mode(labeling, teacher, tiny, tmp_path, batch, shard):
    pixels = tiny.unlabeled.pixels
    table = labeling.run(teacher, tiny, tmp_path, batch=batch, shard=shard)
    expected, found = labeling.plain_loop(teacher, pixels, batch, shard), labeling.stored(tmp_path)
    assert (found["probabilities"] == expected.astype(np.float16)).all()
    half = expected.astype(np.float16)
    assert (found["id"] == np.arange(60)).all() and (found["class"] == half.argmax(1)).all()
    assert (found["confidence"] == expected.max(1).astype(np.float16)).all()
    assert (table.names == tiny.unlabeled.ids).all() and table.origin == labeling.origin


def test_of_the_likeliest_classes_the_same_bits_are_kept(labeling, teacher, tiny, tmp_path):
    labeling.run(teacher, tiny, tmp_path, labeling.likeliest(2))
    expected, found = labeling.plain_loop(teacher, tiny.unlabeled.pixels), labeling.stored(tmp_path)
    order = np.argsort(-expected.astype(np.float16), axis=1, kind="stable")[:, :2]
    assert (found["top_classes"] == order).all() and (found["class"] == order[:, 0]).all()
    assert (found["top_probabilities"] == np.take_along_axis(expected, order, 1).astype(np.float16)).all()


def test_the_models_are_left_as_they_were_and_nothing_is_random(labeling, teacher, tiny, tmp_path):
    teacher.body.norm.eval()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    modes, state = [m.training for m in teacher.modules()], torch.random.get_rng_state()
    labeling.run(teacher, tiny, tmp_path / "a", flip=True)
    assert [m.training for m in teacher.modules()] == modes and True in modes and False in modes
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in teacher.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    labeling.run(teacher, tiny, tmp_path / "b", flip=True)
    assert labeling.files(tmp_path / "a") == labeling.files(tmp_path / "b")


def test_after_an_error_the_modes_are_put_back_and_no_claim_is_left(labeling, teacher, tmp_path):
    split = Split(np.array(["a", "b"]), np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(RuntimeError):
        labeling.run(teacher, split, tmp_path)
    assert teacher.training and not list(tmp_path.glob("*.claim"))


def test_labels_of_the_pictures_are_not_looked_at(labeling, teacher, tiny, tmp_path):
    labeling.run(teacher, tiny, tmp_path / "a")
    known = replace(tiny.unlabeled, labels=np.full(len(tiny.unlabeled), -5))
    labeling.run(teacher, known, tmp_path / "b")
    assert labeling.files(tmp_path / "a") == labeling.files(tmp_path / "b")


def test_a_picture_s_label_does_not_depend_on_its_place_or_its_batch(labeling, teacher, tiny, tmp_path):
    table = labeling.run(teacher, tiny, tmp_path / "a")
    order = np.random.default_rng(0).permutation(len(table))
    other = labeling.run(teacher, tiny.unlabeled.take(order), tmp_path / "b", batch=11, shard=13)
    assert (other.names == table.names[order]).all()
    dense = [found.vectors.dense() for found in (table, other)]
    assert np.allclose(dense[1], dense[0][order], atol=1e-3)


def test_no_more_than_two_shards_of_labels_are_held(labeling, teacher, tiny, tmp_path, monkeypatch):
    """While the writer is stuck with one shard the next is labeled, and no further one."""
    go_on, counting, write = threading.Event(), labeling.Counting(teacher), UnfinishedTable.write

    def stuck(table, number, *rest):
        assert go_on.wait(30)
        write(table, number, *rest)

    monkeypatch.setattr(UnfinishedTable, "write", stuck)
    thread = threading.Thread(
        target=labeling.run, args=(counting, tiny, tmp_path), kwargs={"batch": 5, "shard": 10}
    )
    thread.start()
    seen = -1
    while seen != counting.seen:
        seen = counting.seen
        threading.Event().wait(0.3)
    go_on.set()
    thread.join()
    assert seen == 20 and counting.seen == 60


def test_progress_counts_what_others_did_and_says_how_fast(
    labeling, teacher, tiny, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("NSFAST_PROGRESS", str(tmp_path / "progress.json"))
    with pytest.raises(KeyboardInterrupt):
        labeling.run(
            labeling.Counting(teacher, stop_at=38), tiny, tmp_path / "a", shard=10, rank=1, processes=2
        )
    assert [p.name for p in sorted((tmp_path / "a").glob("part-*.json"))] == [
        f"part-0000{n}.json" for n in (3, 4, 5)
    ]
    said = []
    monkeypatch.setattr(
        "nsfast.labels.labeling.label.Progress.update", lambda self, done: said.append((self.first, done))
    )
    labeling.run(teacher, tiny, tmp_path / "a", shard=10)
    assert said[0][0] == 30 and said[0][1] >= 37 and said[-1] == (30, 60)
    monkeypatch.undo()
    monkeypatch.setenv("NSFAST_PROGRESS", str(tmp_path / "progress.json"))
    capsys.readouterr()
    labeling.run(teacher, tiny, tmp_path / "b")
    state = read_json(tmp_path / "progress.json")
    assert (state["name"], state["done"], state["total"]) == ("picture", 60, 60)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("picture 60/60  ") and lines[-1].endswith("/s  0 s left") and len(lines) == 1


def test_what_a_writer_finds_wrong_stops_labeling_before_the_next_shard_is_through(
    labeling, teacher, tiny, tmp_path, monkeypatch
):
    failed = threading.Event()

    class Waiting(labeling.Counting):
        def forward(self, x):
            if self.seen >= 30:
                failed.wait(30)
                threading.Event().wait(0.01)
            return super().forward(x)

    def broken(*args):
        failed.set()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("nsfast.labels.labeling.unfinished.write_shard", broken)
    waiting = Waiting(teacher)
    with pytest.raises(OSError, match="Input/output error"):
        labeling.run(waiting, tiny, tmp_path, batch=1, shard=25)
    assert waiting.seen < 50 and not list(tmp_path.glob("*.claim"))


class Broken(nn.Module):
    """Says NaN of every picture."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(float("nan")))

    def forward(self, x):
        return self.weight * x[:, :1, 0, 0].expand(-1, 3)


@pytest.mark.parametrize("top", [0, 2])
def test_a_teacher_whose_probabilities_are_no_numbers_is_an_error(labeling, tiny, tmp_path, top):
    with pytest.raises(NsfastError, match="probabilities of picture 0 are not numbers"):
        labeling.run(Broken(), tiny, tmp_path, labeling.likeliest(top))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shard": 0}, "shard is 0"),
        ({"batch": -1}, "batch is -1"),
        ({"workers": 0}, "workers is 0"),
        ({"rank": 3, "processes": 3}, "rank is 3"),
        ({"rank": 1}, "give both"),
    ],
)
def test_wrong_numbers_are_named(labeling, teacher, tiny, tmp_path, options, said):
    with pytest.raises(NsfastError, match=said):
        labeling.run(teacher, tiny, tmp_path, **options)
    with pytest.raises(NsfastError, match="number of pictures is 0"):
        labeling.run(teacher, tiny.unlabeled.take(np.arange(0)), tmp_path)


def test_a_compiled_teacher_is_compiled_once_and_says_the_same(
    labeling, teacher, tiny, tmp_path, monkeypatch
):
    compiled = []

    def backend(graph, inputs):
        compiled.append([tuple(i.shape) for i in inputs if i.ndim == 4 and i.shape[0] == 7])
        return graph.forward

    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda m, **o: compile(m, backend=backend, fullgraph=True, **o))
    labeling.run(teacher, tiny, tmp_path / "a", compile=True)
    labeling.run(teacher, tiny, tmp_path / "b")
    assert labeling.files(tmp_path / "a") == labeling.files(tmp_path / "b") and len(compiled) == 1
