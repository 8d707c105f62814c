"""Flips and top-5 distances against loops written from the definitions, and sequences that are asked."""

import numpy as np
import pytest
import torch
from torch import nn

from nsfast.errors import NsfastError
from nsfast.robustness.flips import (
    ask_sequences,
    flip_counts,
    flip_probability,
    top_distances,
    top_of,
)
from nsfast.robustness.sequences import Sequences


def slow_pairs(frames, noise, step):
    """Which frame is compared with which, as the official loops go: offsets, then strides; noise keeps the first."""
    step = 1 if noise else step
    for offset in range(step):
        before = offset
        for after in range(offset + step, frames, step):
            yield before, after
            if not noise:
                before = after


def slow_distance(first, second, k):
    """The double sum of section 4.2 over ranks from 1; of equal logits the lower class is ahead."""
    classes = range(len(first))
    ranks = []
    for logits in (first, second):
        order = sorted(classes, key=lambda c: (-logits[c], c))
        ranks.append({c: place for place, c in enumerate(order, 1)})
    sigma = {ranks[0][c]: ranks[1][c] for c in classes}
    distance = 0
    for i in range(1, k + 1):
        low, high = min(i, sigma[i]), max(i, sigma[i])
        distance += sum(1 for j in range(low + 1, high + 1) if 1 <= j - 1 <= k)
    return distance


CASES = [
    (noise, step, classes, frames)
    for noise in (False, True)
    for step in (1, 2, 3)
    for classes, frames in ((2, 4), (3, 5), (10, 7), (25, 4))
]


@pytest.mark.parametrize("noise, step, classes, frames", CASES)
def test_flips_and_distances_are_those_of_the_loops(noise, step, classes, frames):
    generator = np.random.default_rng(classes + frames)
    # few values, so that many logits are equal
    logits = generator.integers(0, 6, (6, frames, classes)).astype(np.float32)
    predicted = logits.argmax(2)
    pairs = list(slow_pairs(frames, noise, step))
    flips = [sum(int(row[a] != row[b]) for a, b in pairs) for row in predicted]
    assert flip_counts(predicted, noise, step).tolist() == flips
    share = np.mean([count / len(pairs) for count in flips])
    assert flip_probability(predicted, noise, step) == pytest.approx(share, abs=1e-15)
    for k in {1, 2, min(5, classes), classes, None}:
        wanted = [
            sum(slow_distance(row[a], row[b], top_of(classes) if k is None else k) for a, b in pairs)
            for row in logits
        ]
        assert top_distances(logits, noise, k, step).tolist() == wanted


def test_noise_is_compared_with_the_first_frame_and_others_with_the_one_before():
    predicted = np.array([[1, 2, 2, 2], [1, 2, 1, 2]])
    assert flip_counts(predicted, noise=False).tolist() == [1, 3]
    assert flip_counts(predicted, noise=True).tolist() == [3, 2]
    assert flip_probability(predicted, noise=True) == pytest.approx(5 / 6)


def test_classes_of_the_top_five_that_fall_out_of_it_count_as_sixth():
    first = -np.arange(1000.0)
    behind = np.roll(first, 500)  # the five likeliest stand at places 501 to 505
    assert top_distances(np.stack([first, behind])[None], noise=False) == [5 + 4 + 3 + 2 + 1]
    assert top_distances(np.stack([first, first])[None], noise=False) == [0]


def test_of_few_classes_fewer_are_looked_at():
    assert [top_of(classes) for classes in (1, 2, 5, 6, 10, 14, 15, 1000)] == [1, 1, 1, 2, 3, 4, 5, 5]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: flip_counts(np.zeros((3, 1)), False), "two frames at least"),
        (lambda: flip_counts(np.zeros((3, 4)), False, 4), "step is 4; it must be between 1 and 3"),
        (lambda: top_distances(np.zeros((3, 4, 5)), False, 6), "k is 6; it must be between 1 and 5"),
    ],
)
def test_what_cannot_be_compared_is_said(call, message):
    with pytest.raises(NsfastError, match=message):
        call()


class Counting(nn.Module):
    """A linear network that counts the pictures it sees."""

    def __init__(self, seed):
        super().__init__()
        self.linear = nn.Linear(48, 12)
        with torch.no_grad():
            weights = np.random.default_rng(seed).normal(size=(12, 48))
            self.linear.weight.copy_(torch.from_numpy(weights))
        self.seen = 0

    def forward(self, x):
        self.seen += len(x)
        return self.linear(x.flatten(1))


PIXELS = np.random.default_rng(1).integers(0, 256, (9, 6, 4, 4, 3)).astype(np.uint8)
MARKS = {"a": "1", "b": "2"}


def asked_in(chunk=9, name="snow", noise=False, difficulty=1, key="key", set="perturbed"):
    def chunks():
        for start in range(0, len(PIXELS), chunk):
            part = PIXELS[start : start + chunk]
            yield np.array([f"picture-{i}" for i in range(start, start + len(part))]), part

    return Sequences(name, set, key, len(PIXELS), chunks, noise, difficulty)


@pytest.fixture
def models():
    return {"a": Counting(0), "b": Counting(1)}


def seen(models):
    found = [model.seen for model in models.values()]
    for model in models.values():
        model.seen = 0
    return found


def same(first, second):
    return first.keys() == second.keys() and all(
        np.array_equal(value, vars(second[name][model])[column])
        and getattr(value, "dtype", None) == getattr(vars(second[name][model])[column], "dtype", None)
        for name, answers in first.items()
        for model, one in answers.items()
        for column, value in vars(one).items()
    )


@pytest.mark.parametrize("noise, difficulty", [(False, 1), (False, 3), (True, 2)])
def test_asking_gives_the_flips_of_the_logits(models, noise, difficulty):
    (found,) = ask_sequences(models, [asked_in(noise=noise, difficulty=difficulty)]).values()
    for name, model in models.items():
        logits = model(torch.from_numpy(PIXELS.reshape(54, 4, 4, 3)).permute(0, 3, 1, 2) / 255)
        logits = logits.detach().numpy().reshape(9, 6, 12)
        pairs = list(slow_pairs(6, noise, difficulty))
        assert found[name].flips.tolist() == [
            sum(row[a].argmax() != row[b].argmax() for a, b in pairs) for row in logits
        ]
        wanted = [sum(slow_distance(row[a], row[b], 4) for a, b in pairs) for row in logits]
        assert found[name].distance.tolist() == wanted
        assert (found[name].comparisons == len(pairs)).all() and len(found[name].comparisons) == 9
        assert (found[name].noise, found[name].k) == (noise, 4)


def test_chunks_and_workers_change_nothing(models):
    asked = [asked_in(), asked_in(name="tilt", difficulty=2)]
    whole = ask_sequences(models, asked)
    assert list(whole) == ["snow", "tilt"] and list(whole["snow"]) == ["a", "b"]
    in_parts = [asked_in(2), asked_in(4, name="tilt", difficulty=2)]
    assert same(ask_sequences(models, in_parts, workers=3), whole)


def test_what_is_kept_is_not_asked_again(models, tmp_path):
    asked = [asked_in(2), asked_in(name="shot_noise", noise=True, difficulty=2)]
    first = ask_sequences(models, asked[:1], tmp_path, MARKS)
    assert seen(models) == [54, 54]
    again = ask_sequences(models, asked, tmp_path, MARKS)
    assert seen(models) == [54, 54]  # the second one alone
    assert same({"snow": again["snow"]}, first)
    assert same(ask_sequences(models, asked, tmp_path, MARKS), again) and seen(models) == [0, 0]
    assert again["shot_noise"]["a"].noise is True


def test_other_weights_and_other_frames_are_asked_again(models, tmp_path):
    ask_sequences(models, [asked_in()], tmp_path, MARKS)
    seen(models)
    models["b"] = Counting(2)
    found = ask_sequences(models, [asked_in()], tmp_path, {**MARKS, "b": "3"})
    assert seen(models) == [0, 54] and same(found, ask_sequences(models, [asked_in()]))
    seen(models)
    ask_sequences(models, [asked_in(key="other")], tmp_path, {**MARKS, "b": "3"})
    assert seen(models) == [54, 54]


def test_difficulties_and_sets_are_kept_side_by_side(models, tmp_path):
    variants = [{}, {"difficulty": 2}, {"set": "imagenet-p"}, {"set": "../.."}, {"name": "../../snow"}]
    folder = tmp_path / "deep" / "down" / "answers"
    for variant in variants:
        ask_sequences(models, [asked_in(**variant)], folder, MARKS)
    seen(models)
    for variant in variants:
        ask_sequences(models, [asked_in(**variant)], folder, MARKS)
    assert seen(models) == [0, 0]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 5 and {path.parents[1] for path in files} == {folder / "sequences"}


@pytest.mark.parametrize("damage", ["cut", "turned", "foreign", "empty"])
def test_a_damaged_file_is_asked_again(models, tmp_path, damage):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    whole = ask_sequences(models, [asked_in()], tmp_path, MARKS)
    (path,) = tmp_path.rglob("*.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    if damage == "foreign":
        parquet.write_table(pa.table({"x": [1]}), path)
    else:
        path.write_bytes({"cut": content[:200], "turned": content, "empty": b""}[damage])
    seen(models)
    assert same(ask_sequences(models, [asked_in()], tmp_path, MARKS), whole)
    assert seen(models) == [54, 54]
    ask_sequences(models, [asked_in()], tmp_path, MARKS)
    assert seen(models) == [0, 0]


def test_what_cannot_be_asked_is_said(models, tmp_path):
    nothing = Sequences("snow", "imagenet-p", "key", 0, lambda: iter(()), False)
    broken = {"teacher": Counting(0)}
    with torch.no_grad():
        broken["teacher"].linear.bias.fill_(np.nan)
    for call, message in (
        (lambda: ask_sequences(models, [asked_in(), asked_in()]), "'snow' is asked twice"),
        (lambda: ask_sequences(models, [asked_in()], tmp_path), "give one for each model"),
        (lambda: ask_sequences(models, [asked_in()], tmp_path, {"a": "1"}), "give one for each model"),
        (lambda: ask_sequences(models, [nothing]), "imagenet-p has no sequence of snow"),
        (lambda: ask_sequences(models, [asked_in(difficulty=6)]), "step is 6"),
        (lambda: ask_sequences(broken, [asked_in()]), "teacher gives logits that are no finite numbers"),
    ):
        with pytest.raises(NsfastError, match=message):
            call()
    assert not list(tmp_path.rglob("*.parquet"))
