"""`begin`: the first line of every notebook, which opens its stage of a run."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nsfast.errors import NsfastError
from nsfast.pipeline.notebooks import COMMON, declared_parameters
from nsfast.pipeline.profile import Profile, resolve, typed
from nsfast.pipeline.run_folder import find_run, lock, prepare_images, read_run, write_profile
from nsfast.pipeline.session import Session, under_runner
from nsfast.pipeline.stages import Records, Stage, stages_of


def begin(kind: str, namespace: MutableMapping[str, Any]) -> Session:
    """Open the stage of a run that a notebook is about to make.

    Args:
        kind: "teacher", "labeling", "balancing", "student", "iterate" or "analysis".
        namespace: the notebook's `globals()`. The declared parameters are read from it; one that still has the
            notebook's default takes the value of the run's profile, here and in the namespace.

    Stages that this one needs and that have not run yet are run first, by the same runner.

    Raises:
        NsfastError: a parameter of the wrong type or out of range, a round that the run does not have.
    """
    declared = declared_parameters(kind)
    values = {name: typed(kind, parameter, namespace[name]) for name, parameter in declared.items()}
    run = find_run(values["run"])
    if (run / "profile.yaml").is_file():
        profile = read_run(run)
    else:
        profile = resolve(values["profile"])
        write_profile(run, profile)
    _threads(profile.threads)
    warnings.filterwarnings(
        "ignore", "`torch.jit.script` is deprecated", FutureWarning
    )  # fastai's, at import
    stages = stages_of(profile)
    stage = _stage(stages, kind, values, run)
    own = {
        name: stage.parameters[name] if value == declared[name].default else value
        for name, value in values.items()
        if name not in COMMON
    }
    taken = [f"{n}={v!r}" for n, v in own.items() if v != values[n] and n != "seed"]
    if taken:
        print(f"from the run's profile: {', '.join(taken)}")
    namespace.update(own)
    stage = replace(stage, parameters=own)
    if not under_runner():
        busy = f"nsfast run is working in {run}; wait for it to end, or stop it"
        held = lock(run / ".lock", 3, busy)
        try:
            if kind == "iterate":
                profile = replace(profile, groups={**profile.groups, "iterate": own})
                write_profile(run, profile)
                stages = stages_of(profile)
                stage = replace(stages[-2], parameters=own)
            prepare_images(run, profile)
            _run_missing(run, profile, stages, stage)
        finally:
            held.release(force=True)
    return Session(run, profile, stages, stage)


def _threads(count: int) -> None:
    """Give torch `count` CPU threads, whether it is imported already or not."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def _stage(stages: list[Stage], kind: str, values: dict[str, Any], run: Path) -> Stage:
    """The stage that a notebook's `folder` or `round` parameter means."""
    number, folder = values.get("round", 0), values.get("folder", "")
    for stage in stages:
        if stage.kind == kind and stage.round == number and folder in ("", stage.folder):
            return stage
    if folder:
        raise NsfastError(f"folder is {folder!r}; it must be 'teacher' or 'control'")
    last = max(stage.round for stage in stages)
    raise NsfastError(
        f"round is {number}, but {run} has rounds 1 to {last}; raise iterate.rounds in its profile.yaml"
    )


def _run_missing(run: Path, profile: Profile, stages: list[Stage], stage: Stage) -> None:
    """Run what the stage needs, directly or not, and what has not finished yet."""
    records = Records(run)
    wanted, names = set(), list(stage.needs)
    while names:
        name = names.pop()
        if name not in wanted:
            wanted.add(name)
            names.extend(next(s for s in stages if s.name == name).needs)
    stale = [
        s.name for s in stages if s.name in wanted and records.entry(s) and not records.stands(s, stages)
    ]
    if stale:
        print(f"warning: {', '.join(stale)} would run again under nsfast run; going on with what they left")
    missing = [s for s in stages if s.name in wanted and records.entry(s) is None]
    if missing:
        from nsfast.pipeline.runner import run_stages

        print(f"{stage.name} needs {', '.join(s.name for s in missing)}, not run yet: running now")
        run_stages(run, profile, [s for s in stages if s.name in wanted], only={s.name for s in missing})
