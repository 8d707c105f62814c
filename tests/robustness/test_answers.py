"""Answers hold what every score needs, are asked once, and come back from their files as they were."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nsfast.analysis.metrics import brier_of_squares, likelihood_loss, reliability_table
from nsfast.errors import NsfastError
from nsfast.robustness import answers as module
from nsfast.robustness.answers import Answers, Question, Version, ask, read_answers


def same(one: Answers, other: Answers) -> bool:
    return all(
        np.array_equal(value, vars(other)[name]) and value.dtype == vars(other)[name].dtype
        for name, value in vars(one).items()
    )


@pytest.fixture(scope="module")
def said():
    """Logits of 400 pictures of 12 classes and labels that they get right in about half of them."""
    generator = np.random.default_rng(0)
    logits = torch.from_numpy(generator.normal(0, 2, (400, 12)).astype(np.float32))
    guess = logits.argmax(1).numpy()
    return logits, np.where(generator.random(400) < 0.5, guess, generator.integers(0, 12, 400))


def measures(found: Answers, bins=15):
    return (
        float(found.right.mean()),
        likelihood_loss(found.true).mean(),
        brier_of_squares(found.squares, found.true).mean(),
        reliability_table(found.confidence, found.right, bins).expected_calibration_error,
    )


def test_measures_of_answers_are_those_of_torchmetrics_on_the_logits(said):
    of = pytest.importorskip("torchmetrics").functional
    logits, labels = said
    labels_of = torch.from_numpy(labels)
    p = logits.double().softmax(1)
    wanted = (
        of.accuracy(logits, labels_of, "multiclass", num_classes=12, average="micro"),
        nn.functional.cross_entropy(logits.double(), labels_of),
        ((p - nn.functional.one_hot(labels_of, 12)) ** 2).sum(1).mean(),
        of.calibration_error(p, labels_of, "multiclass", n_bins=15, num_classes=12),
    )
    found = Answers.of(logits, labels)
    assert measures(found) == pytest.approx([float(one) for one in wanted], abs=1e-6)
    for k in (1, 3, 5, 12):
        top = of.accuracy(logits, labels_of, "multiclass", num_classes=12, average="micro", top_k=k)
        assert (found.rank <= k).mean() == pytest.approx(float(top), abs=1e-7)


def test_measures_are_exact_where_confidence_is_exactly_one():
    # certain and right, certain and wrong, and two that are undecided between two classes
    logits = torch.tensor([[900.0, 0, 0], [900, 0, 0], [0, 0, -900], [0, 0, -900]])
    found = Answers.of(logits, np.array([0, 1, 0, 1]))
    assert found.confidence.tolist() == [1, 1, 0.5, 0.5] and found.true.tolist() == [1, 0, 0.5, 0.5]
    assert found.squares.tolist() == [1, 1, 0.5, 0.5] and found.rank.tolist() == [1, 2, 1, 2]
    accuracy, nll, brier, ece = measures(found, bins=10)
    # a probability of 0 counts as 2**-24; ECE is the gap of the bin (.4, .5], 0, and of (.9, 1], one half
    assert accuracy == 0.5 and nll == pytest.approx((24 + 1 + 1) * np.log(2) / 4)
    assert (brier, ece) == (pytest.approx((0 + 2 + 0.5 + 0.5) / 4), pytest.approx(0.25))


def test_of_equal_logits_the_first_is_ahead():
    found = Answers.of(torch.tensor([[1.0, 3, 3, 3, 2]] * 5), np.arange(5))
    assert found.predicted.tolist() == [1] * 5 and found.rank.tolist() == [5, 1, 2, 3, 4]
    assert found.right.tolist() == [False, True, False, False, False]


def test_classes_that_do_not_count_are_left_out_before_the_softmax(said):
    logits, labels = said
    counting = np.array([9, 2, 4, 7])
    rows = np.flatnonzero(np.isin(labels, counting))
    found = Answers.of(logits[rows], labels[rows], classes=counting)
    few = logits[rows][:, counting].double()
    p, place = few.softmax(1).numpy(), np.array([list(counting).index(label) for label in labels[rows]])
    assert np.array_equal(found.labels, labels[rows])
    assert np.array_equal(found.predicted, counting[p.argmax(1)])
    assert np.allclose(found.confidence, p.max(1)) and np.allclose(found.squares, (p**2).sum(1))
    assert np.allclose(found.true, p[np.arange(len(rows)), place])
    assert np.array_equal(found.rank, 1 + (p > found.true[:, None] + 1e-7).sum(1))


def test_of_several_accepted_classes_the_label_is_the_one_the_model_likes_best():
    generator = np.random.default_rng(3)
    logits = generator.integers(0, 4, (200, 6)).astype(np.float32)  # many equal ones
    accepted = [generator.permutation(6)[: generator.integers(1, 7)].tolist() for _ in range(200)]
    found = Answers.of(torch.from_numpy(logits), np.zeros(200, int), accepted=accepted)
    best = [max(several, key=lambda c: (row[c], -c)) for row, several in zip(logits, accepted, strict=True)]
    assert found.labels.tolist() == best
    right = [row.argmax() in several for row, several in zip(logits, accepted, strict=True)]
    assert found.right.tolist() == right


def test_answers_in_parts_are_those_in_one_go(said, monkeypatch):
    logits, labels = said
    accepted = [[label, *range(label % 4)] for label in labels]
    whole = Answers.of(logits, labels), Answers.of(logits, labels, np.arange(12)[::-1], accepted)
    monkeypatch.setattr(module, "AT_ONCE", 7 * 12)
    assert same(Answers.of(logits, labels), whole[0])
    assert same(Answers.of(logits, labels, np.arange(12)[::-1], accepted), whole[1])


def test_answers_to_many_classes_take_little_memory(monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 2**16)
    logits = torch.zeros(4000, 1000)
    logits[:, 3] = 1
    tracemalloc.start()
    found = Answers.of(logits, np.full(4000, 3))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.right.all() and peak < 5 * 2**20  # all in float64 would be 32 MB a copy


def test_half_floats_and_no_pictures_are_answered():
    logits = torch.tensor([[1, 2, 0.5]], dtype=torch.bfloat16)
    assert same(Answers.of(logits, [1]), Answers.of(logits.float(), [1]))
    assert len(Answers.of(torch.zeros(0, 3), np.zeros(0, int))) == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"labels": [0]}, "labels of 1 pictures; give one for each of 2"),
        ({"labels": [[0], [1]]}, "one for each of 2"),
        ({"labels": [0, 3]}, "a label lies outside the 3 classes"),
        ({"labels": [0, -1]}, "a label lies outside the 3 classes"),
        ({"labels": [0, 1], "classes": [0, 2]}, "a label lies outside the 2 classes"),
        ({"labels": [0, 0], "classes": [0, 3]}, "different ones from 0 to 2"),
        ({"labels": [0, 0], "classes": [0, 0]}, "different ones from 0 to 2"),
        ({"labels": [0, 0], "accepted": [[1], []]}, "picture 1 has no accepted class"),
        ({"labels": [0, 0], "accepted": [[1], [0, 1]], "classes": [0, 2]}, "outside the 2 classes"),
        ({"labels": [0, 0], "accepted": [[1]]}, "labels of 1 pictures"),
    ],
)
def test_labels_that_do_not_fit_are_said(arguments, message):
    with pytest.raises(NsfastError, match=message):
        Answers.of(torch.zeros(2, 3), **arguments)


class Counting(nn.Module):
    """A linear network that counts how often it is shown pictures."""

    def __init__(self, seed):
        super().__init__()
        self.linear = nn.Linear(12, 5)
        with torch.no_grad():
            weights = np.random.default_rng(seed).normal(size=(5, 12))
            self.linear.weight.copy_(torch.from_numpy(weights))
        self.seen = 0

    def forward(self, x):
        self.seen += len(x)
        return self.linear(x.flatten(1))


PIXELS = np.random.default_rng(1).integers(0, 256, (20, 2, 2, 3)).astype(np.uint8)
MARKS = {"a": "1", "b": "2"}


def question(set="clean", name="", level=0, key="key", made=None, **how):
    def pictures():
        if made is not None:
            made.append((set, name, level))
        return PIXELS ^ np.uint8(level)

    ids = np.array([f"picture-{i}" for i in range(20)])
    return Question(Version(set, name, level), ids, np.arange(20) % 5, key, pictures, **how)


@pytest.fixture
def models():
    return {"a": Counting(0), "b": Counting(1)}


def seen(models):
    found = [model.seen for model in models.values()]
    for model in models.values():
        model.seen = 0
    return found


def test_every_model_answers_every_question(models):
    asked = ask(models, [question(), question("corrupted", "fog", 3)])
    assert list(asked) == [("clean", "", 0), ("corrupted", "fog", 3)]
    for version, answers in asked.items():
        for name, model in models.items():
            pixels = torch.from_numpy(PIXELS ^ np.uint8(version.level)).permute(0, 3, 1, 2)
            assert same(answers[name], Answers.of(model(pixels / 255), np.arange(20) % 5))


def test_workers_change_nothing(models):
    asked = [question(), question("corrupted", "fog", 3)]
    one, three = ask(models, asked), ask(models, asked, workers=3)
    assert all(same(one[v][m], three[v][m]) for v in one for m in models) and list(one) == list(three)


def test_classes_and_accepted_ones_reach_the_answers(models):
    accepted = [[1, 3]] * 20
    masked, several = (
        question("imagenet-a", classes=np.array([0, 1, 2, 3, 4])[::-1]),
        question("imagenet-real", accepted=accepted),
    )
    asked = ask(models, [masked, several])
    logits = models["a"](torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255)
    assert same(asked[several.version]["a"], Answers.of(logits, [0] * 20, accepted=accepted))
    assert same(asked[masked.version]["a"], Answers.of(logits, np.arange(20) % 5, masked.classes))


def test_only_what_is_missing_is_asked(models, tmp_path):
    made = []
    first = ask(models, [question(made=made)], tmp_path, MARKS)
    asked = [question(made=made), question("corrupted", "fog", 3, made=made)]
    again = ask(models, asked, tmp_path, MARKS)
    assert seen(models) == [40, 40] and made == [("clean", "", 0), ("corrupted", "fog", 3)]
    third = ask(models, asked, tmp_path, MARKS)
    assert seen(models) == [0, 0] and len(made) == 2
    for version in again:
        assert all(same(again[version][model], third[version][model]) for model in models)
    assert all(same(again[Version("clean")][model], first[Version("clean")][model]) for model in models)


def test_other_weights_and_other_pictures_are_asked_again(models, tmp_path):
    ask(models, [question()], tmp_path, MARKS)
    seen(models)
    models["b"] = Counting(2)
    marks = {**MARKS, "b": "3"}
    found = ask(models, [question()], tmp_path, marks)[Version("clean")]
    assert seen(models) == [0, 20]
    assert same(found["b"], ask({"b": models["b"]}, [question()])[Version("clean")]["b"])
    seen(models)
    ask(models, [question(key="other")], tmp_path, marks)
    assert seen(models) == [20, 20]
    ask(models, [question(key="other")], tmp_path, marks)
    assert seen(models) == [0, 0]


@pytest.mark.parametrize("damage", ["cut", "turned", "foreign", "empty"])
def test_a_damaged_file_is_asked_again(models, tmp_path, damage):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    whole = ask(models, [question()], tmp_path, MARKS)[Version("clean")]
    (path,) = tmp_path.rglob("*.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    if damage == "foreign":
        parquet.write_table(pa.table({"x": [1]}), path)
    else:
        path.write_bytes({"cut": content[:200], "turned": content, "empty": b""}[damage])
    with pytest.raises(NsfastError, match=f"{path.name} keeps no answers"):
        list(read_answers(tmp_path))
    seen(models)
    found = ask(models, [question()], tmp_path, MARKS)[Version("clean")]
    assert seen(models) == [20, 20] and all(same(found[model], whole[model]) for model in models)
    assert len(list(read_answers(tmp_path))) == 2


def test_what_is_kept_is_read_back(models, tmp_path):
    asked = ask(models, [question("attack", "pgd-l2", 0.5), question()], tmp_path, MARKS)
    read = list(read_answers(tmp_path))
    assert [(version, model) for version, model, _, _ in read] == [
        (version, model) for version in asked for model in models
    ]
    for version, model, ids, answers in read:
        assert ids.tolist() == question().ids.tolist() and same(answers, asked[version][model])


def test_versions_have_their_own_files_and_none_lies_outside_the_folder(models, tmp_path):
    folder = Path(tmp_path, "deep", "down", "answers")
    names = [
        "",
        "@all",
        "..",
        "../../x",
        "/etc/x",
        "a@3",
        "a",
        "a-3",
        "ä b",
        "a\\b",
        "a%2Fb",
        "a/b",
        ".hidden",
    ]
    versions = [(set, name, level) for set in ("clean", "..", "", "/") for name in names for level in (0, 3)]
    versions += [("attack", "pgd", level) for level in (0.1234567, 0.1234568, 1e-7)]
    questions = [question(*version) for version in versions]
    asked = ask({"a": models["a"]}, questions, folder, {"a": "1"})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == len(versions) and {path.parents[1] for path in files} == {folder}
    assert {version for version, *_ in read_answers(folder)} == set(asked)
    seen(models)
    ask({"a": models["a"]}, questions, folder, {"a": "1"})
    assert models["a"].seen == 0


def test_names_of_files_can_be_read(models, tmp_path):
    ask(
        models, [question(), question("corrupted", "fog", 3), question("attack", "pgd", 0.5)], tmp_path, MARKS
    )
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.parquet"))
    assert names == ["attack/pgd@0.5.parquet", "clean/@all.parquet", "corrupted/fog@3.parquet"]


def test_what_cannot_be_asked_is_said(models, tmp_path):
    broken = {"teacher": Counting(0)}
    with torch.no_grad():
        broken["teacher"].linear.bias[2] = np.inf
    nothing = Question(Version("hard"), np.array([], str), np.array([], int), "key", lambda: PIXELS[:0])
    for call, message in (
        (lambda: ask(models, [question(), question()]), r"\('clean', '', 0\) is asked twice"),
        (lambda: ask(models, [question()], tmp_path), "give one for each model"),
        (lambda: ask(models, [question()], tmp_path, {"a": "1"}), "give one for each model"),
        (lambda: ask(models, [nothing]), r"\('hard', '', 0\) has no pictures"),
        (lambda: ask(broken, [question()]), "teacher gives logits that are no finite numbers"),
    ):
        with pytest.raises(NsfastError, match=message):
            call()
    assert not list(tmp_path.rglob("*.parquet"))
