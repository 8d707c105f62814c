"""From the scores of every arm and seed to the tables of a study: points.csv, comparisons.csv, study.json."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nsfast.files import write_csv, write_json
from nsfast.study.design import MEASURES, Comparison, Point, Study
from nsfast.study.verdict import RULE, verdicts

Scores = Mapping[tuple[int, str], Sequence[Mapping[str, Any]]]
"""By seed and arm: rows with model, measure, value and n."""
NOT_MEASURED = "not measured"


def point_rows(study: Study, scores: Scores) -> list[dict[str, Any]]:
    """Return a row for each seed, arm, model and measure, in the order of the study."""
    order = [arm.name for arm in study.arms]
    return [
        {"seed": seed, "arm": arm, **row}
        for (seed, arm) in sorted(scores, key=lambda key: (order.index(key[1]), key[0]))
        for row in scores[seed, arm]
    ]


def comparison_rows(
    study: Study, scores: Scores, errors: Mapping[tuple[int, str], str] | None = None
) -> list[dict[str, Any]]:
    """Return a row for each comparison, with its verdict.

    Differences, intervals and effects are in points (of 100), of the measure "residual" in log-odds. Seeds in which an
    arm failed are left out and named; with fewer than two left a comparison is "not measured".

    Args:
        study: whose comparisons they are.
        scores: of the arms that finished.
        errors: what went wrong with others, by seed and arm.
    """
    values = {
        (seed, Point(arm, row["model"]), row["measure"]): (row["value"], row["n"])
        for (seed, arm), rows in scores.items()
        for row in rows
    }
    seeds = sorted({seed for seed, _ in scores} | {seed for seed, _ in errors or {}})
    pairs = {}
    for comparison in study.comparisons:
        both = [[values.get((seed, point, measure)) for point, measure in comparison.sides] for seed in seeds]
        pairs[comparison] = [pair for pair in both if None not in pair]
    measured = [comparison for comparison in study.comparisons if len(pairs[comparison]) >= 2]
    differences = [
        [scale(comparison) * (first[0] - second[0]) for first, second in pairs[comparison]]
        for comparison in measured
    ]
    found = dict(zip(measured, verdicts(differences), strict=True))
    rows = []
    for comparison in study.comparisons:
        about = {
            "study": study.name,
            "data": study.data,
            "comparison": comparison.name,
            "measure": comparison.measure,
            "first": "/".join(comparison.first),
            "second": "/".join(comparison.second),
            "unit": "points" if scale(comparison) == 100 else "log-odds",
        }
        known = pairs[comparison]
        numbers = dict.fromkeys(NUMBERS, "")
        if comparison in found:
            verdict = found[comparison]
            numbers = {
                "seeds": verdict.seeds,
                "n": sum(first[1] for first, _ in known),
                "mean_first": scale(comparison) * float(np.mean([first[0] for first, _ in known])),
                "mean_second": scale(comparison) * float(np.mean([second[0] for _, second in known])),
                **{name: getattr(verdict, name) for name in ("difference", "low", "high")},
                **{name: getattr(verdict, name) for name in ("p_value", "p_holm", "smallest")},
            }
        word = _word(comparison, found[comparison].verdict) if comparison in found else NOT_MEASURED
        rows.append(
            about
            | numbers
            | {"verdict": word, "claim": "paper" if comparison.of_paper else "own"}
            | {"paper": "" if comparison.paper is None else comparison.paper}
            | {"source": comparison.source, "differs": comparison.differs}
            | {"note": _failures(comparison, errors or {}, len(seeds) - len(known))}
        )
    return rows


def _word(comparison: Comparison, verdict: str) -> str:
    """The verdict; what the paper does not claim cannot be reproduced."""
    return (
        verdict
        if comparison.of_paper
        else {"reproduced": "better", "contradicted": "worse"}.get(verdict, verdict)
    )


NUMBERS = (
    *("seeds", "n", "mean_first", "mean_second", "difference", "low", "high"),
    *("p_value", "p_holm", "smallest"),
)


def scale(comparison: Comparison) -> int:
    """Return what a measure is multiplied by to be shown: shares are shown in points."""
    return 1 if comparison.measure == "residual" else 100


def _failures(comparison: Comparison, errors: Mapping[tuple[int, str], str], missing: int) -> str:
    """Why seeds are missing from a comparison."""
    arms = {comparison.first.arm, comparison.second.arm}
    failed = [
        f"{arm} failed with seed {seed}: {why}" for (seed, arm), why in sorted(errors.items()) if arm in arms
    ]
    if missing > len(failed):
        failed.append(f"nothing to measure in {missing - len(failed)} other seed(s)")
    return "; ".join(failed)


def about_study(study: Study, seeds: Sequence[int], seconds: float, command: str) -> dict[str, Any]:
    """Return what a reader has to know beside the tables: question, rule, seeds, hours, machine, command."""
    import torch

    return {
        "study": study.name,
        "question": study.question,
        "data": study.data,
        "profile": study.profile,
        "settings": list(study.settings),
        "arms": {arm.name: {"says": arm.says, "settings": list(arm.settings)} for arm in study.arms},
        "measures": {one.measure: MEASURES[one.measure] for one in study.comparisons},
        "seeds": list(seeds),
        "rule": RULE,
        "hours_of_stages": round(seconds / 3600, 2),
        "machine": f"{os.cpu_count()} cores, {_processor(torch)}, {_gpu(torch)}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "command": command,
    }


def _processor(torch) -> str:
    """Its kind and the instructions that torch uses, which decide how it rounds."""
    return f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"


def _gpu(torch) -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def write_results(folder: Path, points: Sequence[dict], comparisons: Sequence[dict], about: dict) -> None:
    """Write the tables, study.json and the figure of a study."""
    from nsfast.files import atomic
    from nsfast.study.figure import study_figure

    write_csv(folder / "points.csv", list(points))
    write_csv(folder / "comparisons.csv", list(comparisons))
    write_json(folder / "study.json", about)
    with atomic(folder / "figure.png") as temporary:
        study_figure(comparisons, about["question"]).savefig(temporary, format="png", dpi=130)
