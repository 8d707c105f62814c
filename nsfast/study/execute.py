"""Runs a study: every arm for every seed, several at once; killed at any moment and continued."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nsfast.files import read_json
from nsfast.pipeline.profile import Profile, resolve
from nsfast.study.design import Arm, Study
from nsfast.study.job import standing_scores
from nsfast.study.score import scores_file
from nsfast.study.workers import Worker


@dataclass(frozen=True, eq=False)
class Unit:
    """An arm of a seed.

    Args:
        arm, seed: which.
        run: its run folder.
        profile: its parameters.
    """

    arm: Arm
    seed: int
    run: Path
    profile: Profile

    @property
    def name(self) -> str:
        """As it is called in messages and in its log."""
        return f"seed-{self.seed}/{self.arm.name}"


def units_of(study: Study, folder: Path, seeds: Sequence[int]) -> list[Unit]:
    """Return every arm of every seed, the first arms before the others; what is wrong with one is said now.

    Raises:
        NsfastError: settings that do not fit the profile.
    """
    return [
        Unit(
            arm,
            seed,
            folder / f"seed-{seed}" / arm.name,
            resolve(study.profile, study.settings_of(arm), seed),
        )
        for arms in (study.arms[:1], study.arms[1:])
        for seed in seeds
        for arm in arms
    ]


def arms_at_once() -> int:
    """Return how many arms to run at once: as many as there are cores, one where there is a GPU, which they share."""
    import torch

    if torch.cuda.is_available():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_units(
    study: Study, units: Sequence[Unit], folder: Path, jobs: int, say: Callable[[str], None] = print
) -> tuple[dict[tuple[int, str], list[dict]], dict[tuple[int, str], str]]:
    """Run what is not finished and return the scores and what went wrong, by seed and arm.

    An arm waits for the first arm of its seed, which has in common with it what need not be done twice. One that fails
    does not stop the others.

    Args:
        jobs: arms at once, each by a process that goes on to the next.
        say: is given a line whenever an arm is finished.
    """
    scores, errors, waiting = {}, {}, []
    for unit in units:
        points, last = list(study.points(unit.arm.name)), study.stages_of(unit.arm.name)
        found = standing_scores(unit.run, unit.profile, last, points)
        if found is None:
            waiting.append(unit)
        else:
            scores[unit.seed, unit.arm.name] = found
    if scores:
        say(f"{len(scores)} of {len(units)} arms stand")
    first, total, begun = study.arms[0].name, len(waiting), time.monotonic()
    running: dict[Unit, Worker] = {}
    with tempfile.TemporaryDirectory() as temporary:
        workers = [Worker(Path(temporary) / f"{number}.json") for number in range(jobs)]
        idle = list(workers)
        try:
            while waiting or running:
                open_ = {unit.seed for unit in (*waiting, *running) if unit.arm.name == first}
                ready = [unit for unit in waiting if unit.arm.name == first or unit.seed not in open_]
                for unit in ready[: len(idle)]:
                    waiting.remove(unit)
                    running[unit] = idle.pop()  # the last to end, so that no more are started than are needed
                    running[unit].begin(_job(study, unit), _log(folder, unit))
                time.sleep(0.1)
                for unit, worker in list(running.items()):
                    wrong = worker.outcome()
                    if wrong is None:
                        continue
                    idle.append(running.pop(unit))
                    key, done = (unit.seed, unit.arm.name), total - len(waiting) - len(running)
                    if not wrong:
                        scores[key] = read_json(scores_file(unit.run))["rows"]
                        outcome = "finished"
                    else:
                        errors[key] = f"{wrong}; see {_log(folder, unit)}"
                        outcome = f"FAILED ({errors[key]}); the others go on"
                    left = (time.monotonic() - begun) / done * (total - done)
                    time_left = f"; about {left / 60:.0f} min left" if done < total else ""
                    say(f"{done}/{total}  {unit.name} {outcome}{time_left}")
        finally:
            for worker in workers:
                worker.close()
    return scores, errors


def _job(study: Study, unit: Unit) -> dict:
    """What `nsfast.study.job` has to know of an arm."""
    return {
        "run": str(unit.run),
        "profile": study.profile,
        "settings": study.settings_of(unit.arm),
        "seed": unit.seed,
        "last": study.stages_of(unit.arm.name),
        "points": list(study.points(unit.arm.name)),
        "threads": unit.profile.threads,
    }


def _log(folder: Path, unit: Unit) -> Path:
    return folder / "logs" / f"seed-{unit.seed}-{unit.arm.name}.log"


def seconds_of(units: Sequence[Unit]) -> float:
    """Return the seconds that the stages of all arms took, each counted once however many arms share it."""
    seen: dict[str, float] = {}
    for unit in units:
        for path in unit.run.glob("*/stage.json"):
            for kind, entry in read_json(path).items():
                seen[f"{unit.seed} {kind} {entry['fingerprint']}"] = entry["seconds"]
    return sum(seen.values())
