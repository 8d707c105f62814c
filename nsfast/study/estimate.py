"""What a study costs before it starts: stages, time and disk, what arms share counted once."""

from __future__ import annotations

from collections.abc import Sequence

from nsfast.pipeline.runner import chosen_stages
from nsfast.study.design import Study
from nsfast.study.execute import Unit

STARTING = 8.0
"""Seconds until a process has imported what arms need; each goes from arm to arm."""
ASKING = 1.0
"""Seconds of an arm beside its stages: the pictures, and the test pictures asked."""


def stages_ahead(study: Study, units: Sequence[Unit]) -> dict[str, list[tuple[Unit, str]]]:
    """Return the stages that are to be run by kind, each as an arm that has it and its name; shared ones once."""
    found: dict[str, dict[str, tuple[Unit, str]]] = {}
    for unit in units:
        for last in study.stages_of(unit.arm.name):
            chosen = chosen_stages(unit.profile, last)
            for place, stage in enumerate(chosen):
                made_of = [(s.folder, s.kind, s.parameters) for s in chosen[: place + 1]]
                same = repr([unit.seed, unit.profile.groups["data"], made_of])
                found.setdefault(stage.kind, {}).setdefault(same, (unit, stage.name))
    return {kind: list(stages.values()) for kind, stages in found.items()}


def summary(study: Study, units: Sequence[Unit]) -> str:
    """Return how many arms, seeds and stages there are, in a sentence."""
    counts = ", ".join(f"{len(stages)} {kind}" for kind, stages in stages_ahead(study, units).items())
    seeds = len({unit.seed for unit in units})
    return f"{len(study.arms)} arms x {seeds} seeds; stages, what arms share counted once: {counts}"


def estimate(study: Study, units: Sequence[Unit], jobs: int) -> str:
    """Return time and disk of a study on this machine, in a sentence; its networks are tried for about a minute.

    Args:
        jobs: arms at once.
    """
    from nsfast.pipeline.cost.costs import NOTEBOOK_SECONDS, costs
    from nsfast.pipeline.cost.probe import Probe

    seconds = disk = 0.0
    speed, known = Probe(), {}
    first = min(unit.seed for unit in units)
    for kind, stages in stages_ahead(study, [unit for unit in units if unit.seed == first]).items():
        for unit, name in stages:
            if unit.arm.name not in known:
                rows = costs(unit.profile, speed=speed).rows
                known[unit.arm.name] = {row.stage: row for row in rows}
            for row_name, row in known[unit.arm.name].items():
                if row_name == name or row_name.startswith(f"{name} "):
                    seconds, disk = seconds + row.seconds, disk + row.kept
            seconds -= NOTEBOOK_SECONDS[kind] * speed.slowness()  # no kernel is started for it
    seeds = len({unit.seed for unit in units})
    processes = min(jobs, len(units))
    beside = (STARTING * processes + ASKING * len(units)) * speed.slowness()
    minutes = (seconds * seeds + beside) / processes / 60
    return f"about {minutes:.0f} minutes with {jobs} arms at once, and {disk * seeds / 1e6:,.0f} MB"
