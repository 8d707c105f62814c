"""One of the processes that train a stage together: python -m nsfast.pipeline.train_process JOB.json."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from nsfast.errors import NsfastError
from nsfast.files import read_json, write_json
from nsfast.pipeline.execute import follow_parent

if TYPE_CHECKING:
    from nsfast.pipeline.stages import Stage
    from nsfast.pipeline.training_stage import TrainingStage
    from nsfast.training.processes import Processes


def train_stage(training: TrainingStage, processes: Processes) -> None:
    """Train a stage up to its finished checkpoint, together with the other processes; the first writes and speaks."""
    if processes.rank:
        speak_no_more()
    recipe = training.recipe()
    training.train(recipe, training.pseudo_labeled() if recipe.ratio else None, processes)


def train_from_run(run: str | Path, stage_name: str) -> None:
    """Train a stage of a run up to its finished checkpoint, from which `nsfast run` then goes on.

    Every process that torchrun, accelerate launch or srun started (as RANK, WORLD_SIZE and LOCAL_RANK say) calls this;
    a single one will do, too.

    Args:
        run: the run folder, on a drive that all machines share; what the stage is made from must be there.
        stage_name: see `stage_to_train`.

    Raises:
        NsfastError: as `stage_to_train`, another process works on the stage, or whatever stops the training. What is
            wrong before the training starts is raised by the first process; the others exit with code 2.
    """
    import warnings

    warnings.filterwarnings(
        "ignore", "`torch.jit.script` is deprecated", FutureWarning
    )  # fastai's, at import
    import torch

    from nsfast.images import load_images
    from nsfast.pipeline.run_folder import lock, read_run, remove_leftovers
    from nsfast.pipeline.training_stage import TrainingStage
    from nsfast.training.processes import join_processes, leave_processes

    processes, run = join_processes(), Path(run).resolve()
    stage, held, problem = None, None, None
    if not processes.rank:
        try:
            stage = stage_to_train(run, stage_name)
            if stage is not None:
                busy = f"{run / stage.folder} is being worked on by another process; wait for it to end, or stop it"
                held = lock(run / stage.folder / ".lock", 60, busy)
                remove_leftovers(run / stage.folder)
        except NsfastError as error:
            stage, problem = None, error
    stage, stopped = processes.first((stage, problem is not None))
    try:
        if stage is None:
            leave_processes()
            if stopped:
                raise problem or SystemExit(2)
            return
        torch.set_num_threads(read_run(run).threads)
        if not processes.rank:
            print(f"{stage.name} with {processes.count} process(es)")
        train_stage(TrainingStage(run, stage, load_images(run / "images")), processes)
        if not processes.rank:
            print(f"{stage.name} is trained; nsfast run goes on from its checkpoint in {run / stage.folder}")
        leave_processes()
    finally:
        if held is not None:
            held.release(force=True)


def stage_to_train(run: Path, name: str) -> Stage | None:
    """Return the stage of a run that a name means, None when it is trained already and stands.

    Args:
        run: the run folder.
        name: "teacher", "control", "round-2" or "round-2/student"; "student" is the first that does not stand.

    Raises:
        NsfastError: no run, no such stage, pictures that are not prepared, or a student whose labels or selection are
            not of the parameters in force.
    """
    from nsfast.pipeline.run_folder import images_stand, read_run
    from nsfast.pipeline.stages import Records, matching, stages_of

    profile = read_run(run)
    stages, records = stages_of(profile), Records(run)
    found = [stage for stage in matching(stages, name) if stage.kind in ("teacher", "student")]
    if not found:
        valid = ", ".join(stage.name for stage in stages if stage.kind in ("teacher", "student"))
        raise NsfastError(f"{name} is no stage that is trained; those are {valid}")
    again = f"nsfast run {run / 'profile.yaml'} --run {run}"
    if not images_stand(run, profile):
        raise NsfastError(
            f"the pictures of {run} are not prepared, or of other data; prepare them with: {again} --until images"
        )
    waiting = [stage for stage in found if not records.stands(stage, stages)]
    if not waiting:
        print(f"{found[-1].name} is trained already and stands; nothing to do")
        return None
    stage = waiting[0]
    for needed in (s for s in stages if s.name in stage.needs):
        if not records.stands(needed, stages):
            raise NsfastError(
                f"{stage.name} needs {needed.name}, which has not run or is not of the parameters in force; make it "
                f"with: {again} --until {needed.name}"
            )
    return stage


def speak_no_more() -> None:
    """Print nothing from here on, and leave the progress to the first process."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")
    os.environ.pop("NSFAST_PROGRESS", None)


def follow_input() -> None:
    """End this process when its standard input does: whoever started the launcher holds the other end."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Train the job's stage; an error is written beside it, as `error-RANK.json`."""
    job = read_json(sys.argv[1])
    follow_parent(os.getppid())
    follow_input()
    rank = os.environ["RANK"]
    try:
        from nsfast.pipeline.training_stage import TrainingStage
        from nsfast.training.processes import join_processes, leave_processes

        train_stage(TrainingStage.from_json(job["training"]), join_processes())
        leave_processes()
    except Exception as error:
        message, known = " ".join(str(error).split()), isinstance(error, NsfastError)
        report = {"when": time.time(), "name": type(error).__name__, "message": message, "known": known}
        write_json(
            Path(job["reports"]) / f"error-{rank}.json", {**report, "traceback": traceback.format_exc()}
        )
        os._exit(1)  # at once: the others wait for this one
    return 0


if __name__ == "__main__":
    sys.exit(main())
