"""nsfast models, recipe, plan, train and --until images: what they print, and one line for what is wrong."""

import json
import re

import pytest


def test_models_lists_the_paper_s_networks(tmp_path, command_here):
    said = command_here("models", cwd=tmp_path).stdout
    for words in ("efficientnet-b0  5.29 M", "efficientnet-l2  480.31 M", "88.4", "0.386 G"):
        assert words in said
    rows = json.loads(command_here("models", "--json", "efficientnet-b7", "resnet18", cwd=tmp_path).stdout)
    assert [row["name"] for row in rows] == ["efficientnet-b7", "resnet18"]
    assert rows[0]["paper_top1"] == 86.9 and rows[1]["paper_top1"] is None and rows[0]["test_pixels"] == 600


def test_recipe_prints_every_number_with_where_it_comes_from(tmp_path, command_here):
    said = command_here("recipe", "imagenet-b7", cwd=tmp_path).stdout
    lines = said.splitlines()
    assert lines[0].split() == ["number", "value", "arithmetic", "where", "from"]
    assert re.search(r"109474|109,474", said) and "released code" in said and "paper" in said
    assert all(re.search(r"released code|paper|derived", line) for line in lines[1:]), said
    assert "imagenet-l2-3" in command_here("recipe", cwd=tmp_path).stdout.split()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("recipe", "imagenet-b8"), "did you mean 'imagenet-b"),
        (("models", "efficientnet-b9"), "did you mean 'efficientnet-b"),
        (("plan", "digits", "--gpu", "H1000"), "H100"),
        (("run", "digits", "--set", "student.architecture=efficientnet-b9"), "did you mean 'efficientnet-b"),
        (
            ("run", "digits", "--set", "teacher.architecture=vit_tiny_patch16_224", "--set", "teacher.resolution=17"),
            "17",
        ),
        (("run", "digits", "--set", "student.accumulate=3"), "set batch to"),
        (("run", "digits", "--set", "student.num_processes=3"), "3 processes"),
        (("run", "digits", "--set", "teacher.start=teacher"), "only a student has one"),
        (("run", "digits", "--set", "teacher.start=gone.safetensors"), "gone.safetensors'; give a .safetensors file"),
        (("run", "digits", "--set", "student.crop=inception"), "crop 'inception' needs pictures kept as files"),
        (("run", "cifar10"), "download"),
        (("train", "nowhere", "teacher"), "no run in"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_before_anything_is_trained(tmp_path, command_here, arguments, words):
    done = command_here(*arguments, cwd=tmp_path, expect=2)
    said = done.stderr.splitlines()
    assert len(said) == 1 and said[0].startswith("nsfast: ") and words in said[0]
    assert "started" not in done.stdout and not list(tmp_path.rglob("*.safetensors"))


def test_a_stage_trained_beforehand_is_taken_up_by_the_run(tmp_path, command_here):
    quick = [
        part for setting in ("teacher.epochs=1", "teacher.steps_per_epoch=3") for part in ("--set", setting)
    ]
    command_here("run", "digits", *quick, "--until", "images", cwd=tmp_path)
    run = tmp_path / "runs/digits"
    assert not (run / "teacher").is_dir() and (run / "images/labeled.npy").is_file()
    assert (
        "nsfast run goes on from its checkpoint" in command_here("train", run, "teacher", cwd=tmp_path).stdout
    )
    (checkpoint,) = (run / "teacher").glob("checkpoint-*.safetensors")
    written = checkpoint.stat().st_mtime_ns
    done = command_here("run", "digits", *quick, "--until", "teacher", cwd=tmp_path)
    assert "teacher: finished" in done.stdout and (run / "teacher/model.json").is_file()
    from nsfast.files import read_csv

    assert len(read_csv(run / "teacher/history.csv")) == 1 and written


def test_studies_are_listed_with_the_rule_and_a_misspelt_one_is_said(tmp_path, command_here):
    said = command_here("study", "--list", cwd=tmp_path).stdout
    assert "rq1" in said and "findings" in said and "The rule, fixed before" in said
    wrong = command_here("study", "rq9", cwd=tmp_path, expect=2).stderr
    assert wrong.startswith("nsfast: unknown study 'rq9'") and "did you mean 'rq" in wrong
    assert "set" in command_here("study", "rq1", "--set", "digit", cwd=tmp_path, expect=2).stderr
    assert not list(tmp_path.iterdir())
