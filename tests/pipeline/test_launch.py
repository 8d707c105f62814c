"""The launcher: several processes train a stage to its finished checkpoint, and end however it ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from copy import deepcopy
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch

from nsfast.errors import NsfastError
from nsfast.files import write_json
from nsfast.images import save_images
from nsfast.labels.balancing.balance import Balancing, balance
from nsfast.labels.storage import write_targets
from nsfast.models import build_model
from nsfast.pipeline import begin
from nsfast.pipeline.labeling import LabelingJob
from nsfast.pipeline.launch import _what_stopped_it, check_processes, launch
from nsfast.pipeline.profile import resolve
from nsfast.pipeline.run_folder import write_profile
from nsfast.pipeline.runner import run_profile
from nsfast.pipeline.stages import stages_of
from nsfast.pipeline.train_process import stage_to_train, train_from_run
from nsfast.pipeline.training_stage import TrainingStage
from nsfast.training import Recipe
from nsfast.training.average import WeightAverage
from nsfast.training.model_file import save_model
from nsfast.training.train import Trained

QUICK = {"size": 1, "epochs": 15, "steps_per_epoch": 6, "batch": 4, "ratio": 2, "num_processes": 2}


def stage_of(tiny, run, kind="student", **changes) -> TrainingStage:
    """A stage of a run folder, with labels and selection for a student."""
    save_images(tiny, run / "images")
    stage = next(s for s in stages_of(resolve("digits")) if s.kind == kind)
    known = {k: v for k, v in (QUICK | changes).items() if k in stage.parameters}
    if kind == "student":
        torch.manual_seed(0)
        teacher, folder = build_model("small", 3, 1, 1).eval(), run / stage.folder
        save_model(
            run / "teacher", Trained(teacher, deepcopy(teacher), []), Recipe(size=1), tiny.classes, tiny.size
        )
        labels = LabelingJob((str(run / "teacher"),), str(folder / "labels"), run=str(run), shard=32).label()
        balance(labels, Balancing(threshold=0.0, per_class=10), folder)
        write_targets(labels, folder / "selection.parquet", folder / "selection.labels.npy")
    return TrainingStage(run, replace(stage, parameters={**stage.parameters, **known}), tiny)


def workers() -> dict[int, psutil.Process]:
    """The training processes below this one, by rank."""
    found = {}
    for child in psutil.Process().children(recursive=True):
        try:
            if "nsfast.pipeline.train_process" in child.cmdline() and "RANK" in (where := child.environ()):
                found[int(where["RANK"])] = child
        except (psutil.Error, OSError):
            pass
    return found


def when(condition, act, seconds=120) -> threading.Thread:
    """Do something in a thread once a condition holds."""

    def watch():
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.slow
def test_when_one_process_is_killed_it_says_so_and_the_next_launch_goes_on_to_the_end(
    tiny, tmp_path, capsys, monkeypatch
):
    training, progress = stage_of(tiny, tmp_path), tmp_path / "progress.json"
    monkeypatch.setenv("NSFAST_PROGRESS", str(progress))

    def written():
        return len(list(training.folder.glob("checkpoint-*.safetensors"))) > 1 and 1 in workers()

    thread = when(written, lambda: workers()[1].kill())
    with pytest.raises(NsfastError, match="one of the 2 processes was killed by signal 9") as caught:
        launch(training)
    thread.join()
    assert "run again to go on from the last checkpoint" in str(caught.value) and not workers()
    done = json.loads(progress.read_text())["done"]
    assert 0 < done < 15
    assert "an epoch is 6 batches of 4 labeled + 8 pseudo-labeled pictures" in capsys.readouterr().out

    launch(training, training.recipe())
    said = capsys.readouterr().out
    assert said.count("epoch 15/15") == 1  # the first process alone speaks
    assert json.loads(progress.read_text())["done"] == 15 and not workers()

    monkeypatch.setattr(WeightAverage, "after_step", lambda self: pytest.fail("it is trained already"))
    trained = training.train(training.recipe(), training.pseudo_labeled())
    assert [row["epoch"] for row in trained.history] == list(range(1, 16))


@pytest.mark.slow
def test_what_stops_a_process_is_the_launcher_s_error(tiny, tmp_path):
    training = stage_of(tiny, tmp_path, "teacher", learning_rate=1e30)
    with pytest.raises(NsfastError) as caught:
        launch(training)
    assert str(caught.value).startswith("the loss is nan at batch")
    assert "Lower learning_rate" in str(caught.value) and "\n" not in str(caught.value)
    assert not workers()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_the_processes_end_with_the_one_that_launched_them(tiny, tmp_path, how):
    training = stage_of(tiny, tmp_path, "teacher", epochs=5000)
    found = {}

    def training_now():
        found.update(workers())
        return len(found) == 2 and list(training.folder.glob("checkpoint-*.safetensors"))

    if how == "interrupted":
        main = threading.main_thread().ident
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest-xdist ignores it
        thread = when(training_now, lambda: signal.pthread_kill(main, signal.SIGINT))
        try:
            with pytest.raises(KeyboardInterrupt):
                launch(training)
        finally:
            thread.join()
            signal.signal(signal.SIGINT, before)
    else:
        (tmp_path / "stage.json").write_text(training.to_json())
        code = (
            "import sys; from pathlib import Path\nfrom nsfast.pipeline.launch import launch\n"
            "from nsfast.pipeline.training_stage import TrainingStage\n"
            "launch(TrainingStage.from_json(Path(sys.argv[1]).read_text()))"
        )
        kernel = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "stage.json")])
        when(training_now, kernel.kill).join()
        kernel.wait()
    assert len(found) == 2
    _, alive = psutil.wait_procs(found.values(), 15)
    assert not alive


def test_what_cannot_be_trained_by_so_many_is_refused_before_anything_starts(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("something was started"))
    for changes, said in (
        ({"batch": 6, "num_processes": 4}, "batch=6 does not divide into accumulate=1 x 4 processes"),
        ({"sync_batchnorm": True}, "sync_batchnorm needs GPUs, and this machine has none; set it to False"),
        ({"num_processes": 0}, "num_processes is 0; it must be at least 1"),
        ({"engine": "rey"}, "unknown engine 'rey'; did you mean 'ray'"),
    ):
        with pytest.raises(NsfastError, match=said):
            launch(stage_of(tiny, tmp_path, "teacher", **changes))
    training = stage_of(tiny, tmp_path, "teacher")
    with pytest.raises(NsfastError, match="the recipe was changed in the notebook"):
        launch(training, replace(training.recipe(), epochs=3))
    launch(stage_of(tiny, tmp_path, "teacher", num_processes=1))


def test_every_process_needs_a_gpu_where_there_are_some(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    check_processes(Recipe(batch=16, sync_batchnorm=True), 4)
    check_processes(Recipe(batch=16), 8, "ray")
    with pytest.raises(NsfastError, match="num_processes is 8, but this machine has 4 GPU"):
        check_processes(Recipe(batch=16), 8)


def test_of_several_failures_the_one_that_a_user_can_put_right_is_told(tmp_path, capsys):
    def report(rank, when, name, message, known):
        about = {"when": when, "name": name, "message": message, "known": known, "traceback": f"trace {rank}"}
        write_json(tmp_path / f"error-{rank}.json", about)

    (tmp_path / "stderr").write_text("torch says\n  the last line\n")
    assert (
        _what_stopped_it(tmp_path, 2, 1) == "training with 2 processes could not be started (the last line)"
    )
    report(0, 2.0, "RuntimeError", "Connection closed by peer", False)
    report(1, 1.0, "KeyError", "'x'", False)
    assert _what_stopped_it(tmp_path, 2, 1) == "training with 2 processes failed: KeyError: 'x'"
    assert capsys.readouterr().err == "trace 1\n"
    (tmp_path / "stderr").write_text("  rank      : 1\n  exitcode  : -9 (pid: 7)\n")
    assert "was killed by signal 9, which is what Linux does when memory" in _what_stopped_it(tmp_path, 2, 1)
    report(1, 3.0, "NsfastError", "threshold is 2; it must be below 1", True)
    assert _what_stopped_it(tmp_path, 2, 1) == "threshold is 2; it must be below 1"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A run whose pictures are prepared, and nothing else."""
    run = tmp_path_factory.mktemp("run") / "digits"
    settings = ("teacher.epochs=2", "teacher.steps_per_epoch=4", "data.test=60", "data.validation=60")
    profile = resolve("digits", settings)
    assert run_profile(run, profile, until="images") == []
    assert sorted(path.name for path in run.iterdir() if path.name[0] != ".") == ["images", "profile.yaml"]
    return run


@pytest.mark.slow
def test_torchrun_trains_a_stage_of_a_run_and_its_notebook_goes_on_from_there(prepared, monkeypatch):
    code = (
        "import sys; from nsfast.pipeline.train_process import train_from_run; train_from_run(*sys.argv[1:])"
    )
    script = prepared.parent / "train.py"
    script.write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run([*command, script, prepared, "teacher"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("teacher with 2 process(es)") == 1 and "nsfast run goes on from" in done.stdout
    monkeypatch.setattr(WeightAverage, "after_step", lambda self: pytest.fail("it is trained already"))
    stage = begin("teacher", {**defaults("teacher"), "run": str(prepared)})
    trained = stage.train(stage.recipe())
    stage.finish()
    assert [row["epoch"] for row in trained.history] == [1, 2]
    assert stage_to_train(prepared, "teacher") is None  # it stands


def defaults(kind: str) -> dict:
    from nsfast.pipeline.notebooks import declared_parameters

    return {name: parameter.default for name, parameter in declared_parameters(kind).items()}


def test_a_stage_that_cannot_be_trained_yet_says_what_is_missing(prepared, tmp_path):
    for name, said in (
        ("labeling", "labeling is no stage that is trained; those are teacher, control, round-1/student"),
        ("techer", "unknown stage 'techer'; did you mean 'teacher'"),
        ("student", "round-1/student needs round-1/labeling, which has not run .*--until round-1/labeling"),
    ):
        with pytest.raises(NsfastError, match=said):
            train_from_run(prepared, name)
    with pytest.raises(NsfastError, match="no run in"):
        train_from_run(tmp_path, "teacher")
    bare = tmp_path / "bare"
    write_profile(bare, resolve("digits"))
    with pytest.raises(NsfastError, match="the pictures of .*bare are not prepared.*--until images"):
        train_from_run(bare, "teacher")


def test_ray_that_is_not_installed_is_named_with_the_way_to_install_it(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NsfastError, match=r"Ray is not installed .*; pip install 'nsfast\[ray\]'"):
        launch(stage_of(tiny, tmp_path, "teacher", engine="ray"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_trains_a_stage_to_its_finished_checkpoint(tiny, tmp_path, monkeypatch):
    pytest.importorskip("ray.train.torch")
    training = stage_of(tiny, tmp_path, epochs=2, engine="ray")
    launch(training)
    assert not (training.folder / ".ray").exists()
    monkeypatch.setattr(WeightAverage, "after_step", lambda self: pytest.fail("it is trained already"))
    trained = training.train(training.recipe(), training.pseudo_labeled())
    assert [row["epoch"] for row in trained.history] == [1, 2]
    failing = stage_of(tiny, tmp_path, "teacher", engine="ray", learning_rate=1e30)
    with pytest.raises(NsfastError, match="^the loss is nan at batch"):
        launch(failing)


def test_what_a_stage_is_made_of_survives_the_way_to_another_process(tiny, tmp_path):
    training = stage_of(tiny, tmp_path)
    again = TrainingStage.from_json(training.to_json())
    assert again.stage == training.stage and again.run == training.run and again.recipe() == training.recipe()
    assert np.array_equal(again.pseudo_labeled().pixels, training.pseudo_labeled().pixels)
    assert os.path.samefile(again.folder, training.folder)
