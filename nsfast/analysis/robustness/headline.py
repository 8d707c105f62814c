"""The table that a report begins with, a row for each model, and everything measured in one long table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

HEADLINE = (
    "accuracy",
    "natural_accuracy",
    "corruption_error",
    "mce",
    "mfr",
    "fgsm_accuracy",
    "pgd_accuracy",
    "autoattack_accuracy",
    "nll",
    "ece",
)
"""What the headline has of each model, in its order."""
NATURAL = ("imagenet-a", "hard")
"""Sets that stand for ImageNet-A in the headline: the first that was measured."""

Rows = Sequence[Mapping]


def headline_rows(
    natural: Rows,
    scores: Rows = (),
    flips: Rows = (),
    attacks: Rows = (),
    calibration: Rows = (),
    epsilon: float | None = None,
    norm: str = "linf",
) -> list[dict]:
    """Return a row for each model with all it is judged by, each with interval, n and difference to the control.

    Args:
        natural, scores, flips, attacks, calibration: what the functions of those names return; what is missing is "".
        epsilon, norm: of the attacks, in 1/255.
    """
    sets = dict.fromkeys(row["set"] for row in natural if row["set"] != "clean")
    released = [name for name in sets if name not in NATURAL]
    chosen = next((name for name in (NATURAL[0], *released, NATURAL[1]) if name in sets), "")
    scores, flips = _of_one_set(scores, "imagenet-c"), _of_one_set(flips, "imagenet-p")
    tables = (natural, scores, flips, attacks, calibration)
    models = dict.fromkeys(row["model"] for table in tables for row in table)
    rows = []
    for model in models:
        own = [[row for row in table if row["model"] == model] for table in tables]
        hit = {
            "accuracy": _column(own[0], "accuracy", "", "n", set="clean"),
            "natural_accuracy": _column(own[0], "accuracy", "", "n", set=chosen),
            "corruption_error": _column(own[1], "mean_error", "", "n", corruption="mean"),
            "mce": _column(own[1], "ce", "ce_", "n", corruption="mean"),
            "mfr": _column(own[2], "fr", "fr_", "sequences", perturbation="mean"),
            "nll": _column(own[4], "nll", "nll_", "n", set="clean"),
            "ece": _column(own[4], "ece", "ece_", "n", set="clean"),
        }
        for attack in ("fgsm", "pgd", "autoattack"):
            at = {"attack": attack, "norm": norm, "epsilon": epsilon}
            hit[f"{attack}_accuracy"] = _column(own[3], "accuracy", "", "n", **at)
        about = {"model": model, "natural_set": chosen}
        for name, table in (("corruption", own[1]), ("flip", own[2])):
            about[f"{name}_set"] = table[0]["set"] if table else ""
            about[f"{name}_baseline"] = table[0]["baseline"] if table else ""
            mean = [row for row in table if "mean" in (row.get("corruption"), row.get("perturbation"))]
            about[f"{name}_note"] = _short(mean[0]["note"]) if mean else ""
        about |= {"epsilon": "" if epsilon is None else epsilon, "norm": norm}
        rows.append(about | {f"{name}{end}": v for name in HEADLINE for end, v in hit[name].items()})
    return rows


def _short(note: str) -> str:
    """Return what the note of a mean says of the headline's measures; of more than three names how many they are."""
    said = []
    for part in filter(None, note.split("; ")):
        measure, without, names = part.partition(" without ")
        count = names.count(",") + 1
        if measure != "relative_ce":
            said.append(
                f"{measure}{without}{count} of them, see the table" if without and count > 3 else part
            )
    return "; ".join(said)


def _of_one_set(rows: Rows, released: str) -> Rows:
    """Return the rows of the released set, or of the first set where that was not measured."""
    sets = dict.fromkeys(row["set"] for row in rows)
    wanted = released if released in sets else next(iter(sets), "")
    return [row for row in rows if row["set"] == wanted]


_ENDS = ("", "_low", "_high", "_n", "_minus_control", "_minus_control_low", "_minus_control_high")


def _column(rows: Rows, value: str, prefix: str, size: str, **at) -> dict[str, object]:
    """Return a measure's seven columns from the one row that has these values, "" where there is none."""
    found = next((row for row in rows if all(row[key] == wanted for key, wanted in at.items())), None)
    names = [value, f"{prefix}low", f"{prefix}high", size]
    names += [f"{prefix}minus_control{end}" for end in ("", "_low", "_high")]
    return {end: "" if found is None else found[name] for end, name in zip(_ENDS, names, strict=True)}


_MINUS = ("minus_control", "minus_control_low", "minus_control_high")
_TIDY: dict[str, tuple[tuple[str, ...], str, dict[str, tuple[str, str, str]]]] = {
    # table: columns that make the version; of the severity; metric: columns of value, low, high
    "errors": (("corruption",), "severity", {"error": ("error", "low", "high")}),
    "scores": (
        ("corruption",),
        "",
        {
            "mean_error": ("mean_error", "low", "high"),
            "mean_error_minus_control": _MINUS,
            **{
                name: (name, f"{name}_low", f"{name}_high")
                for name in ("ce", "relative_ce", "ce_minus_control")
            },
        },
    ),
    "flips": (
        ("perturbation",),
        "",
        {
            "fp": ("fp", "low", "high"),
            "fp_minus_control": _MINUS,
            **{name: (name, f"{name}_low", f"{name}_high") for name in ("fr", "t5d", "fr_minus_control")},
        },
    ),
    "attacks": (
        ("attack", "norm"),
        "epsilon",
        {"accuracy": ("accuracy", "low", "high"), "accuracy_minus_control": _MINUS},
    ),
    "natural": (
        ("name",),
        "",
        {
            "accuracy": ("accuracy", "low", "high"),
            "top5": ("top5", "top5_low", "top5_high"),
            "accuracy_minus_control": _MINUS,
        },
    ),
    "calibration": (
        (),
        "severity",
        {
            **{
                name: (name, f"{name}_low", f"{name}_high")
                for name in ("nll", "brier", "ece", "nll_minus_control", "ece_minus_control")
            },
            "signed_gap": ("signed_gap", "", ""),
        },
    ),
}


def tidy_rows(seed: int, protocol: int, **tables: Iterable[Mapping]) -> list[dict]:
    """Return everything that was measured, one number a row.

    Args:
        seed: of the run. protocol: as `nsfast.robustness.answers.PROTOCOL`.
        tables: any of errors, scores, flips, attacks, natural, calibration: what the functions of those names return.
    """
    rows = []
    for table, records in tables.items():
        version, severity, metrics = _TIDY[table]
        for record in records:
            about = {"model": record["model"], "set": record.get("set", "attack")}
            about["version"] = "-".join(str(record[name]) for name in version if record[name])
            about["severity"] = record[severity] if severity else ""
            about["n"] = record["sequences" if table == "flips" else "n"]
            for metric, (value, low, high) in metrics.items():
                if record[value] != "":
                    row = {**about, "metric": metric, "value": record[value]}
                    row |= {"low": record[low] if low else "", "high": record[high] if high else ""}
                    rows.append({**row, "seed": seed, "protocol": protocol})
    return rows
