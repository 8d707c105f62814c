"""Predicting is a plain forward pass of the un-noised teacher; a teacher must be better than chance."""

import numpy as np
import pytest
import torch
from torch import nn

from nsfast.errors import NsfastError
from nsfast.images import Split
from nsfast.labels.predict import predict, require_better_than_chance
from nsfast.models import build_model


def test_predict_gives_the_logits_of_a_plain_loop(labeling, teacher, tiny):
    pixels = tiny.unlabeled.pixels
    logits = predict(teacher, pixels, 7)
    assert logits.dtype == torch.float32
    assert (logits.softmax(1).numpy() == labeling.plain_loop(teacher, pixels, shard=10**6)).all()


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
