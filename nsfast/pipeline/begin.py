"""`begin`: the first line of every notebook, which opens its stage of a run."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nsfast.errors import NsfastError
from nsfast.pipeline.notebooks import COMMON, declared_parameters
from nsfast.pipeline.profile import Profile, resolve, typed
from nsfast.pipeline.run_folder import find_run, prepare_images, read_run, write_profile
from nsfast.pipeline.session import Session, under_runner
from nsfast.pipeline.stages import Records, Stage, stages_of
from nsfast.streams import stream_seed


def begin(kind: str, namespace: Mapping[str, Any]) -> Session:
    """Open the stage of a run that a notebook is about to make.

    Args:
        kind: "teacher", "labeling", "balancing", "student", "iterate" or "analysis".
        namespace: the notebook's `globals()`; the declared parameters are read from it.

    Stages that this one needs and that have not run yet are run first, by the same runner.

    Raises:
        NsfastError: a parameter of the wrong type or out of range, a round that the run does not have.
    """
    values = {name: typed(kind, p, namespace[name]) for name, p in declared_parameters(kind).items()}
    run = find_run(values["run"])
    if (run / "profile.yaml").is_file():
        profile = read_run(run)
    else:
        profile = resolve(values["profile"])
        write_profile(run, profile)
    own = {name: value for name, value in values.items() if name not in COMMON}
    if kind == "iterate":
        profile = _with(profile, "iterate", own)
        write_profile(run, profile)
    _threads(profile.threads)
    warnings.filterwarnings(
        "ignore", "`torch.jit.script` is deprecated", FutureWarning
    )  # fastai's, at import
    stages = stages_of(profile)
    stage = _stage(stages, kind, values, run)
    if own.get("seed") == -1:
        own["seed"] = stream_seed(profile.seed, stage.folder) % 2**31
    stage = replace(stage, parameters=own)
    prepare_images(run, profile)
    _run_missing(run, profile, stages, stage)
    return Session(run, profile, stages, stage)


def _with(profile: Profile, group: str, values: dict[str, Any]) -> Profile:
    return replace(profile, groups={**profile.groups, group: values})


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
    missing = [s for s in stages if s.name in wanted and records.entry(s) is None]
    if not missing:
        return
    if under_runner():
        raise NsfastError(
            f"{missing[0].name} has not run in {run}; it is needed by {stage.name}: run it first"
        )
    from nsfast.pipeline.runner import run_stages

    print(f"{stage.name} needs {', '.join(s.name for s in missing)}, not run yet: running now")
    run_stages(run, profile, [s for s in stages if s.name in wanted], only={s.name for s in missing})
