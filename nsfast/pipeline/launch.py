"""Training with several processes: starts them, and waits until they have left a finished checkpoint."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nsfast.errors import NsfastError, choice, within
from nsfast.files import read_json, write_json
from nsfast.pipeline.profile import ENGINES
from nsfast.pipeline.training_stage import TrainingStage

if TYPE_CHECKING:
    from nsfast.training import Recipe


def launch(training: TrainingStage, recipe: Recipe | None = None) -> None:
    """Train a stage with as many processes as its parameters say; nothing is started for one on this machine.

    Afterwards `training.train` finds the finished checkpoint. When this process is interrupted or killed, so are they.

    Args:
        training: the stage, with `num_processes` and `engine` ("local": torchrun on this machine; "ray": Ray Train).
        recipe: what the caller is about to train; it must be what the stage's parameters say.

    Raises:
        NsfastError: as `check_processes`, before anything is started; or what stopped one of the processes.
    """
    count, engine = training.stage.parameters["num_processes"], training.stage.parameters["engine"]
    known = training.recipe()
    check_processes(known, count, engine)
    if engine == "local" and count == 1:
        return
    if recipe is not None and recipe != known:
        raise NsfastError(
            f"num_processes is {count}, so other processes train what the parameters say, but the recipe was changed "
            "in the notebook; change the parameters instead, or set num_processes to 1"
        )
    if engine == "ray":
        from nsfast.pipeline.ray_engine import train_with_ray

        train_with_ray(training, count)
    else:
        train_with_torchrun(training, count)


def check_processes(recipe: Recipe, count: int, engine: str = "local") -> None:
    """Raise `NsfastError` when a recipe cannot be trained with that many processes of that engine."""
    choice("engine", engine, ENGINES)
    within("num_processes", count, 1)
    if count == 1:
        return
    recipe.per_part(count)
    if engine != "local":
        return
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if recipe.sync_batchnorm and not gpus:
        raise NsfastError("sync_batchnorm needs GPUs, and this machine has none; set it to False")
    if gpus and count > gpus:
        raise NsfastError(
            f"num_processes is {count}, but this machine has {gpus} GPU(s), and each process needs one; set it to "
            f"{gpus}, or train on several machines (docs/scaling.md)"
        )


def train_with_torchrun(training: TrainingStage, count: int) -> None:
    """Train with `count` processes on this machine, and print what the first one says."""
    with tempfile.TemporaryDirectory() as name:
        job, stderr = Path(name) / "job.json", Path(name) / "stderr"
        write_json(job, {"training": training.to_json(), "reports": name})
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            str(count),
        ]
        command += ["-m", "nsfast.pipeline.train_process", str(job)]
        pipes = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "encoding": "utf-8",
            "errors": "replace",
        }
        # the processes end when their standard input does, which is when this one ends, however that happens
        with open(stderr, "wb") as file, subprocess.Popen(command, stderr=file, **pipes) as launcher:
            try:
                for line in launcher.stdout:
                    print(line, end="", flush=True)
                code = launcher.wait()
            except BaseException:
                _stop(launcher)
                raise
        if code:
            raise NsfastError(_what_stopped_it(Path(name), count, code))


def _stop(launcher: subprocess.Popen) -> None:
    launcher.stdin.close()
    launcher.terminate()  # torchrun then ends the processes, and itself
    try:
        launcher.wait(10)
    except subprocess.TimeoutExpired:
        launcher.kill()


def _what_stopped_it(folder: Path, count: int, code: int) -> str:
    """Say in a line why the processes ended; one that failed drags the others along, which then report that."""
    reports = [read_json(path) for path in sorted(folder.glob("error-*.json"))]
    if known := [report["message"] for report in reports if report["known"]]:
        return known[0]
    said = (folder / "stderr").read_text(encoding="utf-8", errors="replace").strip()
    if signals := re.findall(r"exitcode\s*:\s*-(\d+)", said):
        why = ", which is what Linux does when memory runs out" if signals[0] == "9" else ""
        return (
            f"one of the {count} processes was killed by signal {signals[0]}{why}; run again to go on from the last "
            "checkpoint"
        )
    if reports:
        first = min(reports, key=lambda report: report["when"])
        print(first["traceback"], file=sys.stderr)
        return f"training with {count} processes failed: {first['name']}: {first['message']}"
    last = said.splitlines()[-1].strip() if said else f"exit code {code}"
    return f"training with {count} processes could not be started ({last})"
