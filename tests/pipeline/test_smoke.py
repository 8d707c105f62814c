"""A profile cut down for --smoke keeps its recipe and loses its size."""

import pytest

from nsfast.pipeline.profile import profile_names, resolve
from nsfast.pipeline.smoke import smoke_profile
from nsfast.training.released import recipe_parameters

SHAPE = {"architecture", "epochs", "steps_per_epoch", "batch", "ratio", "accumulate", "resolution", "start"}
SHAPE |= {"warmup_epochs", "finetune_epochs", "finetune_resolution", "finetune_frozen", "allow_smaller"}
HOW = {"workers", "num_processes", "engine", "precision"}


@pytest.mark.parametrize("name", ["digits", "folder", "cifar10", "svhn", "stl10", "imagenet", "imagenet-b0"])
def test_what_is_cut_is_size_alone(tmp_path, name):
    assert name in profile_names()
    settings = {"folder": ("data.path=somewhere",), "imagenet": ("data.unlabeled=somewhere",)}
    whole = resolve(name, settings.get(name, ()))
    small = smoke_profile(name, tmp_path / "data")
    for group in ("teacher", "student"):
        changed = {n for n, value in small.groups[group].items() if value != whole.groups[group][n]}
        assert changed <= SHAPE | HOW, changed - SHAPE - HOW
        assert small.groups[group]["batch"] == 4 and small.groups[group]["steps_per_epoch"] == 2
    assert small.rounds == 1 and small.name == name


def test_settings_win_over_what_is_cut(tmp_path):
    assert (
        smoke_profile("digits", tmp_path, ("student.steps_per_epoch=3",)).groups["student"]["steps_per_epoch"]
        == 3
    )


@pytest.mark.parametrize(
    ("name", "profile", "round"),
    [
        ("svhn", "svhn", 1),
        ("imagenet-l2-1", "imagenet", 1),
        ("imagenet-l2-2", "imagenet", 2),
        ("imagenet-l2-3", "imagenet", 3),
    ],
)
def test_the_profiles_of_the_paper_say_what_the_paper_and_its_code_say(name, profile, round):
    found = resolve(profile, ("data.unlabeled=somewhere",) if profile == "imagenet" else ())
    ours = {**found.student(round), **found.groups["balancing"]}
    published = recipe_parameters(name)
    if profile == "svhn":
        assert published.pop("resolution") == 32 and ours["resolution"] == 0  # the pictures' own
    assert len(published) > 20
    assert {n: ours[n] for n in published} == published
