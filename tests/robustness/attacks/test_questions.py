"""Attacks as questions: the same answers as the plain functions give, asked once, in any number of threads."""

import copy
import gc
import sys
import types

import numpy as np
import pytest
import torch

from nsfast.errors import NsfastError
from nsfast.images import Split
from nsfast.robustness.answers import Answers, Version, ask
from nsfast.robustness.attacks import attack_questions, fgsm, questions
from nsfast.robustness.content import content_of


def same(one: Answers, other: Answers) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


@pytest.fixture
def part(digit_split):
    return digit_split.take(np.arange(60))


def counting(model):
    """Count the pictures that go through a network with gradients and without."""
    seen = {"forward": 0, "backward": 0}

    def count(_, pictures):
        seen["backward" if torch.is_grad_enabled() else "forward"] += len(pictures[0])

    model.register_forward_pre_hook(count)
    return seen


@pytest.mark.parametrize("norm, suffix", [("linf", ""), ("l2", "-l2")])
def test_fgsm_answers_are_those_of_its_pictures(reader, part, norm, suffix):
    asked = ask({"reader": reader}, attack_questions(part, (4, 40), ("fgsm",), norm=norm))
    assert list(asked) == [Version("attack", f"fgsm{suffix}", 4.0), Version("attack", f"fgsm{suffix}", 40.0)]
    images, labels = torch.from_numpy(part.pixels).permute(0, 3, 1, 2) / 255, torch.from_numpy(part.labels)
    for version, answers in asked.items():
        logits = reader(fgsm(reader, images, labels, version.level, norm=norm))
        expected = Answers.of(logits, part.labels)
        assert np.array_equal(answers["reader"].predicted, expected.predicted)
        assert np.allclose(answers["reader"].true, expected.true, atol=1e-6)


def test_no_picture_gets_righter_by_pgd_than_by_fgsm_or_than_it_was(reader, part):
    clean = Answers.of(reader(torch.from_numpy(part.pixels).permute(0, 3, 1, 2) / 255), part.labels).right
    asked = ask({"reader": reader}, attack_questions(part, (4, 16, 40), steps=2, batch=16))
    for epsilon in (4.0, 16.0, 40.0):
        right = {n: asked["attack", n, epsilon]["reader"].right for n in ("fgsm", "pgd", "random_sign")}
        assert not (right["pgd"] & ~(right["fgsm"] & clean)).any()
    assert right["pgd"].mean() < right["random_sign"].mean() - 0.3


def test_workers_and_other_models_change_no_bit(reader, other_reader, part):
    models = {"reader": reader, "other": other_reader, "third": copy.deepcopy(reader)}
    alone = ask({"reader": reader}, attack_questions(part, (2, 16), steps=2))
    for workers in (1, 3):
        asked = ask(models, attack_questions(part, (2, 16), steps=2), workers=workers)
        for version, answers in alone.items():
            assert same(answers["reader"], asked[version]["reader"])
            assert same(answers["reader"], asked[version]["third"])
            assert not same(answers["reader"], asked[version]["other"])


def test_the_batch_changes_no_answer(reader, part):
    few, many = (ask({"a": reader}, attack_questions(part, (16,), steps=3, batch=b)) for b in (7, 60))
    for version, answers in few.items():
        assert np.array_equal(answers["a"].predicted, many[version]["a"].predicted), version
        assert np.allclose(answers["a"].true, many[version]["a"].true, atol=1e-4)


def test_one_gradient_of_the_clean_pictures_serves_all(reader, part, monkeypatch):
    model = copy.deepcopy(reader)
    seen = counting(model)
    ask({"a": model}, attack_questions(part, (2, 4, 8), ("fgsm",)))
    assert seen == {"backward": 60, "forward": 180}
    seen |= {"backward": 0, "forward": 0}
    ask({"a": model}, attack_questions(part, (2, 4), ("fgsm", "pgd"), steps=5))
    assert seen == {"backward": 60 + 2 * 5 * 60, "forward": 2 * 60 + 2 * 2 * 60}
    monkeypatch.setattr(questions._FirstLooks, "LIMIT", 1000)  # too many to keep
    seen |= {"backward": 0, "forward": 0}
    ask({"a": model}, attack_questions(part, (2, 4, 8), ("fgsm",)))
    assert seen == {"backward": 180, "forward": 180}


def test_a_network_that_was_trained_on_is_looked_at_again_and_one_that_is_gone_forgotten(reader, part):
    model, asked = copy.deepcopy(reader), attack_questions(part, (16,), ("fgsm",))
    before = asked[0].logits(model, part.pixels)
    with torch.no_grad():
        model[0].weight.neg_()
    expected = attack_questions(part, (16,), ("fgsm",))[0].logits(model, part.pixels)
    assert torch.equal(asked[0].logits(model, part.pixels), expected) and not torch.equal(before, expected)
    kept = asked[0].logits.__closure__
    kept = next(cell.cell_contents for cell in kept if hasattr(cell.cell_contents, "kept")).kept
    assert len(kept) == 1
    del model
    gc.collect()
    assert len(kept) == 0


def test_the_key_names_everything_that_matters(part):
    def keys(split=part, epsilons=(4,), names=("random_sign", "fgsm", "pgd"), **settings):
        return [question.key for question in attack_questions(split, epsilons, names, **settings)]

    plain = keys()
    assert len(set(plain)) == 3 and keys() == plain and keys(batch=7) == plain
    for change in ({"epsilons": (5,)}, {"norm": "l2"}, {"split": part.take(np.arange(59))}):
        assert not set(keys(**change)) & set(plain)
    for change in ({"steps": 11}, {"restarts": 2}, {"step_size": 1}, {"random_start": False}):
        assert keys(**change)[:2] == plain[:2] and keys(**change)[2] != plain[2]
    assert [a == b for a, b in zip(keys(seed=1), plain, strict=True)] == [False, True, False]
    assert [a == b for a, b in zip(keys(loss="log_odds"), plain, strict=True)] == [True, False, False]


def test_the_content_of_is_of_pixels_ids_and_labels(part):
    pixels, labels, ids = part.pixels.copy(), part.labels.copy(), part.ids.copy()
    plain = content_of(part)
    assert content_of(Split(ids, pixels, labels)) == plain
    pixels[3, 2, 1, 0] ^= 1
    labels[0] ^= 1
    ids[0] = "other"
    others = [Split(part.ids, pixels, part.labels), Split(part.ids, part.pixels, labels)]
    others += [Split(ids, part.pixels, part.labels), Split(part.ids, part.pixels)]
    assert len({plain, *map(content_of, others)}) == 5


def test_pictures_in_files_are_read_part_by_part(reader, part, tmp_path):
    from PIL import Image

    from nsfast.images.files import PictureFiles

    names = [f"{number}.png" for number in range(10)]
    for name, picture in zip(names, part.pixels, strict=False):
        Image.fromarray(picture[..., 0]).save(tmp_path / name)
    files = Split(part.ids[:10], PictureFiles(tmp_path, names, 8, channels=1), part.labels[:10])
    arrays = Split(part.ids[:10], files.pixels[:], part.labels[:10])
    for one, other in zip(
        *(attack_questions(s, (8,), steps=2, batch=4) for s in (files, arrays)), strict=True
    ):
        assert torch.equal(one.logits(reader, files.pixels), other.logits(reader, arrays.pixels))
        assert one.key != other.key  # a network sees files at its own resolution
    before = content_of(files)
    assert before == content_of(files)
    (tmp_path / "3.png").write_bytes((tmp_path / "4.png").read_bytes())
    assert before != content_of(files)


@pytest.mark.parametrize(
    "call, message",
    [
        ({"names": ("pdg",)}, "unknown attack 'pdg'; did you mean 'pgd'"),
        ({"epsilons": (0, 2)}, "epsilons are above 0"),
        ({"steps": 0}, "steps is 0"),
        ({"norm": "l1"}, "unknown norm"),
        ({"loss": "hinge"}, "unknown loss"),
        ({"restarts": 2, "random_start": False}, "set random_start=True"),
    ],
)
def test_says_what_is_wrong_before_anything_is_asked(part, call, message):
    with pytest.raises(NsfastError, match=message):
        attack_questions(**{"split": part, "epsilons": (2,)} | call)


def test_pictures_without_labels_cannot_be_attacked(part):
    with pytest.raises(NsfastError, match="have no labels"):
        attack_questions(Split(part.ids, part.pixels), (2,))


def test_a_missing_autoattack_is_told_with_the_line_that_installs_it(part, monkeypatch):
    monkeypatch.setattr("nsfast.robustness.attacks.autoattack.find_spec", lambda name: None)
    with pytest.raises(NsfastError, match=r"pip install 'nsfast\[autoattack\]'"):
        attack_questions(part, (2,), ("fgsm", "autoattack"))


def test_autoattack_is_called_with_what_it_expects_and_brought_back_into_the_ball(reader, part, monkeypatch):
    calls = {}

    class AutoAttack:
        def __init__(self, model, *, attacks, device, eps, norm, seed, version):
            calls.update(attacks=attacks, eps=eps, norm=norm, version=version, training=model.training)
            self.apgd_targeted, self.fab = types.SimpleNamespace(), types.SimpleNamespace()
            torch.manual_seed(seed)

        def run_standard_evaluation(self, images, labels, batch_size):
            calls.update(classes=self.fab.n_target_classes)
            return (images + 1.01 * calls["eps"]).clamp(0, 1), labels

    monkeypatch.setitem(sys.modules, "pyautoattack", types.SimpleNamespace(AutoAttack=AutoAttack))
    monkeypatch.setattr("nsfast.robustness.attacks.autoattack.find_spec", lambda name: True)
    from nsfast.robustness.attacks import auto_attack

    images, labels = torch.from_numpy(part.pixels).permute(0, 3, 1, 2) / 255, torch.from_numpy(part.labels)
    state = torch.get_rng_state()
    found = auto_attack(reader, images, labels, 8, attacks=["apgd-ce"])
    assert torch.equal(state, torch.get_rng_state())
    assert 0 < (found - images).max().item() <= 8 / 255
    expected = {"attacks": ["apgd-ce"], "norm": "Linf", "version": "custom", "training": False, "classes": 9}
    assert calls == {**expected, "eps": 8 / 255}
    auto_attack(reader, images, labels, 8, norm="l2")
    assert (calls["version"], calls["attacks"], calls["norm"]) == ("standard", None, "L2")
    with pytest.raises(NsfastError, match="unknown attack of AutoAttack 'apgd'"):
        auto_attack(reader, images, labels, 8, attacks=["apgd"])


def test_autoattack_is_at_least_as_strong_as_pgd(reader, part):
    pytest.importorskip("pyautoattack")
    from nsfast.robustness.attacks import auto_attack, pgd

    images, labels = (
        part[:16]
        for part in (torch.from_numpy(part.pixels).permute(0, 3, 1, 2) / 255, torch.from_numpy(part.labels))
    )
    found = auto_attack(reader, images, labels, 24, attacks=["apgd-ce"])
    assert (found - images).abs().max().item() <= 24 / 255
    right = [(reader(a).argmax(1) == labels).sum().item() for a in (found, pgd(reader, images, labels, 24))]
    assert right[0] <= right[1]
