"""The explorer of a run: its labels, pictures, noise and decisions as they lie in the run folder."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nsfast.errors import NsfastError
from nsfast.images.files import taken
from nsfast.pipeline.explored import map_of, open_labels, others_of
from nsfast.pipeline.round_labels import RoundLabels
from nsfast.pipeline.run_folder import find_run, lock, read_run, write_profile
from nsfast.pipeline.stages import Stage, stages_of

if TYPE_CHECKING:
    from nsfast.explore.live.explorer import Explorer
    from nsfast.labels import LabelTable

VIEWS = 6
"""Noised views of a picture."""


def explore_run(
    run: str | Path,
    round: int | None = None,
    who: str | None = None,
    student: bool = False,
    map: bool = False,
) -> Explorer:
    """Explore the pseudo-labels of a run; leave it as the last line of a cell.

    Args:
        run: the run folder.
        round: whose labels; the last one that is labeled by default.
        who: decides; by default the environment's `NSFAST_WHO`, else the login name.
        student: whether this round's student is asked what it says, where it has not labeled a later round.
        map: whether the teacher lays the pictures out on a map, which is kept in the round's folder.

    Raises:
        NsfastError: no run, no such round, or it is not labeled yet.
    """
    from nsfast.images import load_images

    warnings.filterwarnings(
        "ignore", "`torch.jit.script` is deprecated", FutureWarning
    )  # fastai's, at import
    run = find_run(run)
    number = labeled_round(run, round)
    profile = read_run(run)
    stages = {stage.kind: stage for stage in stages_of(profile) if stage.round == number}
    ours = RoundLabels(run, stages["balancing"], load_images(run / "images"), profile.threads)
    return explorer_of(ours, ours.labels(), stages["student"], who, student, map)


def labeled_round(run: Path, number: int | None = None) -> int:
    """Return the number of a run's round that can be explored: the last one by default.

    Raises:
        NsfastError: no run, no such round, or it is not labeled yet.
    """
    rounds = read_run(run).rounds
    if number is not None and not 1 <= number <= rounds:
        raise NsfastError(f"{run} has {rounds} round(s); give 1 to {rounds} instead of {number}")
    labeled = [n for n in range(1, rounds + 1) if (run / f"round-{n}" / "labels" / "manifest.json").is_file()]
    if not labeled or number not in (None, *labeled):
        what = f"no round of {run} is" if number is None else f"round {number} of {run} is not"
        raise NsfastError(
            f"{what} labeled yet; label with: {_go_on(run)} --until round-{number or 1}/labeling"
        )
    return labeled[-1] if number is None else number


def explorer_of(
    ours: RoundLabels,
    table: LabelTable,
    student: Stage,
    who: str | None = None,
    ask: bool = False,
    map: bool = False,
) -> Explorer:
    """Return the explorer of a round that is labeled.

    Args:
        ours: its labels, with the stage of balancing and the parameters in force.
        table: its label table.
        student: the round's stage that trains on them.
        who, ask, map: `who`, `student` and `map` of `explore_run`.
    """
    from nsfast.explore.live.explorer import Explorer
    from nsfast.labels.decisions import DecisionLog
    from nsfast.pipeline.balancing import OF_RUN, decisions_file

    run, number, images = ours.run, ours.stage.round, ours.images
    others = others_of(ours, table, ask)
    labels = open_labels(ours, table, others, map_of(ours, table) if map else None)
    file = decisions_file(run, given := ours.stage.parameters["decisions"]) or run / OF_RUN
    note = (
        ""
        if given
        else f": balancing.decisions is '' in profile.yaml; set it to {OF_RUN}, or no decision is heeded"
    )
    return Explorer(
        labels,
        how=ours.balancing,
        decisions=DecisionLog(file, who, run.name, table.origin.teacher, number),
        labeled=np.bincount(images.labeled.labels, minlength=len(images.classes)),
        validation=_validation(ours),
        noised=noised(labels.pictures, student),
        write=lambda chosen: write_choice(run, chosen),
        title=f"{run.name}, round {number}{note}",
    )


def noised(pictures: Any, student: Stage) -> Callable[[int], np.ndarray]:
    """Return what gives, for a row, uint8 (6, side, side, channels) of its picture as a student in training sees it.

    Args:
        pictures: (n, height, width, channels) uint8, or kept as files.
        student: the stage that trains it.
    """

    def views(row: int) -> np.ndarray:
        from nsfast.training import Recipe
        from nsfast.training.show import noised_views

        recipe = Recipe.from_parameters(student.parameters)
        if "randaugment" in recipe.spared:
            recipe = replace(recipe, randaugment_n=0)
        return noised_views(taken(pictures, np.array([row])), recipe, VIEWS, seed=int(row))

    return views


def write_choice(run: Path, chosen: dict[str, Any]) -> str:
    """Write parameters of 03_balancing into a run's profile, for all rounds; return how to go on.

    Raises:
        NsfastError: `nsfast run` works in the run, or a parameter that balancing refuses.
    """
    from nsfast.pipeline.balancing import balancing_of
    from nsfast.pipeline.profile import stage_parameters, typed

    held = lock(run / ".lock", 1, f"nsfast run is working in {run}; wait for it to end, or stop it")
    try:
        profile, known = read_run(run), stage_parameters("balancing")
        chosen = {name: typed("balancing", known[name], value) for name, value in chosen.items()}
        balancing = {**profile.groups["balancing"], **chosen}
        balancing_of(balancing)
        write_profile(run, replace(profile, groups={**profile.groups, "balancing": balancing}))
    finally:
        held.release(force=True)
    return f"written to {run / 'profile.yaml'} for every round; go on with: {_go_on(run)}"


def _validation(ours: RoundLabels) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Predicted class, confidence and true class of the validation pictures; None if they are not labeled."""
    from nsfast.labels.calibrate import recalibrated

    if not (ours.folder / "validation" / "manifest.json").is_file():
        return None
    (seen, truth), temperature = ours.validation(), ours.balancing.temperature
    confidence = seen.confidence if temperature == 1 else recalibrated(seen.vectors, temperature)
    return seen.predicted, confidence, truth


def _go_on(run: Path) -> str:
    return shlex.join(["nsfast", "run", str(run / "profile.yaml"), "--run", str(run)])
