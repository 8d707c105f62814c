"""The runner: doit puts the stages in order and papermill executes their notebooks; what still stands is skipped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nsfast.errors import NsfastError
from nsfast.pipeline.notebooks import notebook_path
from nsfast.pipeline.profile import Profile
from nsfast.pipeline.requirements import check_analysis, check_sizes
from nsfast.pipeline.run_folder import (
    check_run,
    images_stand,
    lock,
    log,
    prepare_images,
    verify_images,
    write_profile,
)
from nsfast.pipeline.stages import Records, Stage, matching, stages_of
from nsfast.pipeline.terminal import Display


def chosen_stages(profile: Profile, until: str | None) -> list[Stage]:
    """Return the stages of a run up to the first one that `until` names; all by default.

    A stage that the named one does not need, such as the control, is left out; "images" leaves out all, so that the
    pictures are prepared and nothing else.
    """
    if until == "images":
        return []
    stages = stages_of(profile)
    if until is None:
        return stages
    last = matching(stages, until)[0]
    wanted = {last.name}
    for stage in reversed(stages):
        if stage.name in wanted:
            wanted.update(stage.needs)
    return [stage for stage in stages if stage.name in wanted]


def plan(
    run: Path, profile: Profile, until: str | None = None, force: tuple[str, ...] = ()
) -> list[tuple[Stage, str]]:
    """Return every stage with what would become of it: "stands", "runs" or "runs if what it reads changes"."""
    stages, records = chosen_stages(profile, until), Records(run)
    forced = {stage.name for name in force for stage in matching(stages_of(profile), name)}
    unsure, out = set(), []
    everything, other_pictures = stages_of(profile), not images_stand(run, profile)
    for stage in stages:
        fresh = other_pictures and any(pattern.startswith("images/") for pattern in stage.consumes)
        if stage.name in forced or fresh or not records.stands(stage, everything):
            state = "runs"
        else:
            state = "runs if what it reads changes" if unsure & set(stage.needs) else "stands"
        if state != "stands":
            unsure.add(stage.name)
        out.append((stage, state))
    return out


def run_profile(
    run: Path,
    profile: Profile,
    until: str | None = None,
    force: tuple[str, ...] = (),
    jobs: int = 1,
    executor: Callable[[Path, Stage, Display], None] | None = None,
) -> list[str]:
    """Run a profile in a run folder: check everything, prepare the pictures, run the stages that do not stand.

    Args:
        run: the run folder; made if absent.
        until: the last stage to run; all by default. "images" prepares the pictures alone.
        force: stages to run even if they stand.
        jobs: stages that may run at once.
        executor: runs a stage's notebook; `execute`, in a process of its own, by default.

    Returns:
        The names of the stages that ran.

    Raises:
        NsfastError: anything the user can put right; nothing made before is lost.
    """
    stages = chosen_stages(profile, until)
    forced = {stage.name for name in force for stage in matching(stages_of(profile), name)}
    check_run(run, profile)
    if any(stage.kind == "analysis" for stage in stages):
        check_analysis(profile)
    busy = f"another nsfast run is working in {run}; wait for it to end, or give another folder with --run"
    held = lock(run / ".lock", 3, busy)
    try:
        records = Records(run)
        for stage in stages_of(profile):
            records.verify(stage)
        verify_images(run)
        write_profile(run, profile)
        images = prepare_images(run, profile)
        check_sizes(profile, stages, records, images)
        return run_stages(run, profile, stages, force=forced, jobs=jobs, executor=executor) if stages else []
    finally:
        held.release(force=True)


def run_stages(
    run: Path,
    profile: Profile,
    stages: list[Stage],
    force: set[str] = frozenset(),
    only: set[str] | None = None,
    jobs: int = 1,
    executor: Callable[[Path, Stage, Display], None] | None = None,
) -> list[str]:
    """Run the stages that do not stand, in the order of their needs, and return the names of those that ran.

    Args:
        force: names of stages to run even if they stand.
        only: names of the stages that may run at all; all by default.
        jobs: stages that may run at once.
        executor: as of `run_profile`.
    """
    from doit.cmd_base import ModuleTaskLoader
    from doit.doit_cmd import DoitMain
    from doit.reporter import ZeroReporter

    everything, records = stages_of(profile), Records(run)
    ran: list[str] = []
    errors: list[BaseException] = []

    def stands(stage: Stage) -> bool:
        if only is not None and stage.name not in only:
            return True
        if stage.name in force or not records.stands(stage, everything):
            return False
        working = run / stage.folder / f".{stage.notebook}"
        if working.is_file():  # killed after the stage was sealed and before papermill was done
            os.replace(working, run / stage.folder / stage.notebook)
        return True

    def action(stage: Stage) -> bool:
        if errors:
            return False
        if stage.kind == "labeling" and stage.name in force:
            shutil.rmtree(run / stage.folder / "labels", ignore_errors=True)
        try:
            (executor or execute)(run, stage, display)
        except BaseException as error:
            errors.append(error)
            return False
        ran.append(stage.name)
        return True

    def uptodate(stage: Stage) -> bool:
        try:
            return bool(errors) or stands(stage)
        except NsfastError as error:
            errors.append(error)
            return True

    def task_stage():
        for stage in stages:
            yield {
                "name": stage.name,
                "actions": [(action, [stage])],
                "uptodate": [(uptodate, [stage])],
                "task_dep": [f"stage:{name}" for name in stage.needs],
            }

    with tempfile.TemporaryDirectory() as folder, Display() as display:
        config = {
            "dep_file": f"{folder}/doit.json",
            "backend": "json",
            "reporter": ZeroReporter,
            "verbosity": 2,
        }
        config |= {"num_process": jobs if jobs > 1 else 0, "par_type": "thread"}
        code = DoitMain(
            ModuleTaskLoader({"task_stage": task_stage, "DOIT_CONFIG": config}), config_filenames=()
        ).run(["run"])
    if errors:
        raise errors[0]
    if code:
        raise NsfastError(
            f"the stages of {run} could not be put in order (doit ended with {code}); see its message above"
        )
    return ran


def execute(run: Path, stage: Stage, display: Display) -> None:
    """Execute one stage's notebook into its folder, and log the attempt.

    Raises:
        NsfastError: the notebook failed; it is kept as `<name>.failed.ipynb` with the error marked.
    """
    folder = run / stage.folder
    folder.mkdir(parents=True, exist_ok=True)
    where = {"run": str(run), "profile": str(run / "profile.yaml")}
    where |= {"round": stage.round} if stage.round else {}
    where |= {"folder": stage.folder} if stage.kind == "teacher" else {}
    with tempfile.TemporaryDirectory() as temporary:
        job, error, progress = (
            Path(temporary) / name for name in ("job.json", "error.json", "progress.json")
        )
        about = {
            "notebook": str(notebook_path(stage.kind)),
            "output": str(folder / stage.notebook),
            "cwd": os.getcwd(),
        }
        about |= {"parameters": {**stage.parameters, **where}, "error": str(error), "parent": os.getpid()}
        job.write_text(json.dumps(about), encoding="utf-8")
        hidden = (
            "JPY_SESSION_NAME",
            "VSCODE_PID",
            "VOILA_KERNEL_ID",
        )  # a front-end's, where a notebook started us
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        environment |= {"NSFAST_RUNNER": "1", "NSFAST_PROGRESS": str(progress), "NSFAST_DISPLAY": "static"}
        command = [sys.executable, "-m", "nsfast.pipeline.execute", str(job)]
        begun = time.monotonic()
        display.begin(stage.name)
        log(run, stage.name, "started", parameters=stage.parameters)
        with open(Path(temporary) / "stderr", "wb") as stderr:
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=stderr)
        try:
            while process.poll() is None:
                time.sleep(0.2)
                _show(progress, stage.name, display)
        except BaseException:
            process.kill()
            display.end(stage.name, "stopped; run again to continue")
            raise
        seconds = round(time.monotonic() - begun, 1)
        if process.returncode == 0:
            log(run, stage.name, "finished", seconds=seconds)
            display.end(stage.name, f"finished in {seconds:.0f} s")
            return
        failure = json.loads(error.read_text(encoding="utf-8")) if error.is_file() else None
        stderr = (Path(temporary) / "stderr").read_text(encoding="utf-8", errors="replace").strip()
    log(
        run,
        stage.name,
        "failed",
        seconds=seconds,
        parameters=stage.parameters,
        error=failure or stderr[-2000:],
    )
    display.end(stage.name, f"failed after {seconds:.0f} s")
    if failure is None:
        last = stderr.splitlines()[-1] if stderr else f"exit code {process.returncode}"
        raise NsfastError(f"{stage.name} could not be executed ({last}); run again to continue")
    if failure["name"] in ("NsfastError", "ImageProblem"):
        raise NsfastError(f"{stage.name}: {failure['message']}")
    raise NsfastError(
        f"{stage.name} failed: {failure['name']}: {failure['message']}; see {failure['notebook']}"
    )


def _show(path: Path, stage: str, display: Display) -> None:
    try:
        display.update(stage, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        pass
