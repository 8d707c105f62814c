"""Several processes train what one would: the same batches, the same loss curve, and to the bit after a break."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nsfast.errors import NsfastError
from nsfast.images import ImageSet, Split, save_images
from nsfast.training import Recipe
from nsfast.training.batches import JointDL
from nsfast.training.learner import build_learner
from nsfast.training.pictures import Pictures
from nsfast.training.processes import Processes, join_processes

SCRIPT = Path(__file__).with_name("train_together.py")
_spec = importlib.util.spec_from_file_location("train_together", SCRIPT)
train_together = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(train_together)

# a network without batch normalisation, and no noise: then the number of processes is no part of what is computed
QUIET = dict(architecture="test_vit", resolution=32, epochs=2, steps_per_epoch=4, batch=4, ratio=2, ema=0.9)
QUIET |= dict(dropout=0.0, stochastic_depth=0.0, randaugment_n=0)
NOISY = dict(architecture="small", size=1, epochs=2, steps_per_epoch=14, batch=4, ratio=2, ema=0.9)
SAME = {
    "adamw": QUIET,
    "adamw in two parts": {**QUIET, "accumulate": 2, "loss_normalisation": "official"},
    "rmsprop": {**QUIET, "optimizer": "rmsprop", "loss_normalisation": "per_stream"},
    "rmsprop in two parts": {**QUIET, "optimizer": "rmsprop", "accumulate": 2},
    "three phases": {**QUIET, "order": "pretrain", "finetune_epochs": 0.7, "finetune_frozen": 1},
}
TOGETHER = [
    *({"name": name, "recipe": recipe} for name, recipe in SAME.items()),
    {"name": "broken off", "recipe": QUIET, "kill_at": 5},
    {"name": "whole", "recipe": NOISY},
    {
        "name": "continued",
        "recipe": NOISY,
        "kill_at": 12,
    },  # checkpoints within an epoch begin at its 10th step
    {"name": "continued", "recipe": NOISY, "kill_at": 3 + 13},
    {"name": "continued", "recipe": NOISY},
    {"name": "in parts", "recipe": {**NOISY, "accumulate": 2}},
    {"name": "in parts, continued", "recipe": {**NOISY, "accumulate": 2}, "kill_at": 13},
    {"name": "in parts, continued", "recipe": {**NOISY, "accumulate": 2}},
]


@pytest.fixture(scope="module")
def images(tiny) -> ImageSet:
    """More validation pictures than one batch, and an odd number: the processes have not as many batches."""
    rows = np.arange(513) % len(tiny.validation)
    ids = np.array([f"validation-{i}" for i in range(513)])
    validation = Split(ids, tiny.validation.pixels[rows], tiny.validation.labels[rows])
    return replace(tiny, validation=validation)


@pytest.fixture(scope="module")
def together(images, tmp_path_factory) -> Path:
    """What two processes made of all the trainings."""
    folder = tmp_path_factory.mktemp("together")
    save_images(images, folder / "images")
    (folder / "trainings.json").write_text(json.dumps(TOGETHER))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = []
    for rank in range(2):
        where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
        environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", **{k: str(v) for k, v in where.items()}}
        environment["CUDA_VISIBLE_DEVICES"] = ""
        output = open(folder / f"output-{rank}", "w")
        running.append(
            subprocess.Popen(
                [sys.executable, str(SCRIPT), str(folder)], env=environment, stdout=output, stderr=output
            )
        )
        output.close()
    try:
        codes = [process.wait(200) for process in running]
    finally:
        for process in running:
            process.kill()
    assert codes == [0, 0], (folder / "output-0").read_text() + (folder / "output-1").read_text()
    return folder


def left(folder: Path, name: str, rank: int = 0):
    history = json.loads((folder / name / f"history-{rank}.json").read_text())
    return load_file(folder / name / f"weights-{rank}.st"), history


def alone(images, recipe: dict, folder: Path):
    trained, _ = train_together.one_training(images, {"recipe": recipe}, folder)
    return result(trained)


def result(trained):
    weights = {f"raw.{k}": v for k, v in trained.model.state_dict().items()}
    return weights | {f"ema.{k}": v for k, v in trained.average.state_dict().items()}, trained.history


def assert_close(ours, theirs):
    (weights, history), (other_weights, other_history) = ours, theirs
    assert len(history) == len(other_history) and weights.keys() == other_weights.keys()
    for row, other in zip(history, other_history, strict=True):
        assert row == pytest.approx(other, rel=1e-4, abs=1e-5)
    for name, value in weights.items():
        other = other_weights[name]
        if name.endswith(
            "qkv.bias"
        ):  # the keys' bias changes nothing, so AdamW moves it by rounding errors alone
            value, other = (bias.view(3, -1)[[0, 2]] for bias in (value, other))
        assert torch.allclose(value, other, rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("name", SAME)
def test_two_processes_have_the_loss_curve_and_the_weights_of_one(images, together, tmp_path, name):
    recipe = {**SAME[name], "accumulate": 1}  # the parts of a step change nothing either
    one = alone(images, recipe, tmp_path)
    assert_close(left(together, name), one)
    losses = [row["train_loss"] for row in one[1]]
    assert len(losses) == (5 if name == "three phases" else 2) and len(set(losses)) == len(losses)


def test_the_comparison_would_see_another_batch(images, together, tmp_path):
    """The negative control of the test above."""
    with pytest.raises(AssertionError):
        assert_close(left(together, "adamw"), alone(images, {**QUIET, "seed": 1}, tmp_path))


@pytest.mark.parametrize("name", [*SAME, "whole", "continued"])
def test_all_processes_end_with_the_same_network_and_history(together, name):
    (weights, history), (others, other_history) = (left(together, name, rank) for rank in range(2))
    assert history == other_history and all(torch.equal(weights[k], others[k]) for k in weights)


@pytest.mark.parametrize(("name", "whole"), [("continued", "whole"), ("in parts, continued", "in parts")])
def test_killed_within_an_epoch_and_continued_is_never_killed_to_the_bit(together, name, whole):
    (weights, history), (others, other_history) = left(together, name), left(together, whole)
    assert history == other_history and weights.keys() == others.keys()
    assert all(torch.equal(weights[k], others[k]) for k in weights)
    steps = [json.loads((together / name / f"steps-{rank}.json").read_text()) for rank in range(2)]
    assert steps == [2, 2] if name == "continued" else steps == [16, 16]


def test_one_process_goes_on_from_what_two_have_left(images, together, tmp_path):
    shutil.copytree(together / "broken off", tmp_path / "broken off")
    trained, steps = train_together.one_training(images, {"recipe": QUIET}, tmp_path / "broken off")
    assert steps == 4  # the second epoch alone
    assert_close(result(trained), left(together, "adamw"))


def batches(count: int, labeled: int, pseudo: int, accumulate: int = 1) -> list[list[np.ndarray]]:
    """The rows of every batch of two epochs in each of `count` processes."""
    data = Pictures([np.zeros((40, 4, 4, 1), np.uint8)], torch.arange(40), 0)
    groups, out = [np.arange(12), np.arange(12, 40).repeat(2)], []
    for rank in range(count):
        options = dict(
            steps=6, shuffle=True, num_workers=0, accumulate=accumulate, rank=rank, processes=count
        )
        loader = JointDL(data, groups, labeled, pseudo, **options)
        loader.rng.seed(5)
        out.append([y.numpy() for _ in range(2) for _, y in loader])
    return out


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize(("labeled", "pseudo"), [(12, 36), (12, 0), (0, 24)])
def test_every_process_has_its_share_of_every_batch_with_the_same_ratio(count, labeled, pseudo):
    (whole,), shares = batches(1, labeled, pseudo), batches(count, labeled, pseudo)
    assert len(whole) == 12 and all(len(share) == 12 for share in shares)
    for number, batch in enumerate(whole):
        parts = [share[number] for share in shares]
        for part in parts:
            assert (part < 12).sum() == labeled // count and (part >= 12).sum() == pseudo // count
            assert (part[: labeled // count] < 12).all()  # the labeled ones first
        assert sorted(np.concatenate(parts)) == sorted(batch)


def test_every_validation_picture_is_seen_by_one_process():
    data = Pictures([np.zeros((11, 4, 4, 1), np.uint8)], torch.arange(11), 1)
    seen = []
    for rank in range(3):
        loader = JointDL(data, shuffle=False, bs=2, rank=rank, processes=3, num_workers=0)
        rows = [y.tolist() for _, y in loader]
        assert len(rows) == len(loader)
        seen += sum(rows, [])
    assert sorted(seen) == list(range(11))


def test_what_processes_cannot_share_is_refused_before_anything_is_trained(tiny):
    arguments = (3, tiny.statistics(), tiny.labeled, tiny.validation)
    with pytest.raises(
        NsfastError, match="batch=4 does not divide into accumulate=1 x 3 processes"
    ) as caught:
        build_learner(Recipe(batch=4), *arguments, processes=Processes(0, 3))
    assert "set batch to 6" in str(caught.value)
    with pytest.raises(NsfastError, match="sync_batchnorm needs GPUs; set it to False"):
        recipe = Recipe(batch=4, size=1, sync_batchnorm=True)
        build_learner(recipe, *arguments, device=torch.device("cpu"), processes=Processes(0, 2))
    with pytest.raises(NsfastError, match="does not divide over 3 processes; make it a multiple of 3"):
        batches(3, 4, 12)


def test_without_a_launcher_a_process_is_alone_and_nothing_is_exchanged(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    processes = join_processes()
    assert processes == Processes(0, 1) and not torch.distributed.is_initialized()
    assert processes.first(7) == 7 and processes.gather(7) == [7] and processes.mean(7.0) == 7.0
    assert processes.first_read(lambda: None) is None and processes.first_read(lambda: ({}, {})) == ({}, {})
