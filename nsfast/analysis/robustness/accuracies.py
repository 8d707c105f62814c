"""Shares of pictures that are right or wrong: by corruption and severity, under attack, on natural sets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nsfast.analysis.comparisons import mcnemar, paired_bootstrap
from nsfast.analysis.metrics import wilson_interval
from nsfast.analysis.robustness.reading import (
    FAMILY,
    MADE_HERE,
    clean_of,
    columns,
    corrupted_versions,
    ends_only,
    place_of,
)
from nsfast.robustness.answers import Answers, Asked, Version

TOP = 5
MANY_CLASSES = 10
"""With so many classes or fewer, top-5 accuracy says next to nothing and is left out."""


def error_rows(asked: Asked, set: str = "corrupted") -> list[dict]:
    """Return the error of each model for each corruption and severity; severity 0 are the set's clean pictures."""
    rows, clean = [], clean_of(asked, set)
    for name, by_severity in corrupted_versions(asked, set).items():
        for severity, answers in (({0: clean} if clean else {}) | by_severity).items():
            for model, found in answers.items():
                wrong, n = int((~found.right).sum()), len(found)
                about = {"model": model, "set": set, "corruption": name, "family": FAMILY.get(name, "")}
                share = {"error": wrong / n, **ends_only(wilson_interval(wrong, n))}
                rows.append({**about, "severity": severity, "n": n, **share})
    return rows


def attack_rows(
    asked: Asked, control: str | None = "control", steps: Mapping[str, int] | None = None, seed: int = 0
) -> list[dict]:
    """Return the accuracy of each model under each attack and epsilon; epsilon 0 are the clean pictures.

    Args:
        control: the model that all are compared with; None for none.
        steps: of each attack that takes several, as {"pgd": 10}.
        seed: of the bootstrap of the differences.
    """
    by_attack: dict[str, dict[float, Mapping[str, Answers]]] = {}
    clean = clean_of(asked, "attack")
    for version in (v for v in asked if v.set == "attack"):
        by_attack.setdefault(version.name, {0.0: clean} if clean else {})[version.level] = asked[version]
    rows = []
    for name, by_epsilon in by_attack.items():
        attack, norm = (name[:-3], "l2") if name.endswith("-l2") else (name, "linf")
        taken = {"fgsm": 1, "random_sign": 0, **(steps or {})}.get(attack, "")
        for epsilon, answers in sorted(by_epsilon.items()):
            for model in answers:
                about = {"model": model, "attack": attack, "norm": norm, "epsilon": epsilon, "steps": taken}
                rows.append(about | _accuracy(answers, model, control, seed))
    return rows


def natural_rows(
    asked: Asked,
    control: str | None = "control",
    chosen: Mapping[str, str] | None = None,
    seed: int = 0,
    chooser: str = "",
) -> list[dict]:
    """Return the accuracy of each model on the clean pictures and on each set of natural ones, in the order asked.

    Args:
        control: the model that all are compared with; None for none.
        chosen: of a set, how its pictures were chosen, in a sentence.
        seed: of the bootstrap of the differences.
        chooser: the model whose errors the hard pictures are: no difference to it says anything there.
    """
    rows = []
    versions = [v for v in asked if not v.level and v.set not in MADE_HERE]
    for version in [v for v in (Version("clean"),) if v in asked] + versions:
        answers = asked[version]
        # where several classes are right (ReaL), labels differ by model
        classes = len(np.unique(np.concatenate([found.labels for found in answers.values()])))
        for model, found in answers.items():
            fair = control if version.set != "hard" or chooser not in (model, control) else None
            share = _accuracy(answers, model, fair, seed)
            n = share.pop("n")
            top = (np.nan,) * 3
            if classes > MANY_CLASSES:
                near = int((found.rank <= TOP).sum())
                top = (near / n, *wilson_interval(near, n))
            minus = {key: share.pop(key) for key in list(share) if key.startswith("minus")}
            p_value = "" if fair is None else mcnemar(answers[fair].right, found.right).p_value
            rows.append(
                {
                    "model": model,
                    "set": version.set,
                    "name": version.name,
                    "n": n,
                    "classes": classes,
                    **share,
                }
                | columns(f"top{TOP}", top[0], top[1:])
                | minus
                | {"mcnemar_p": p_value, "chosen": (chosen or {}).get(version.set, "")}
            )
    return rows


def _accuracy(answers: Mapping[str, Answers], model: str, control: str | None, seed: int) -> dict:
    """Return n, accuracy with its interval, and the paired difference to the control."""
    right = answers[model].right
    difference = (np.nan,) * 3
    if control is not None:
        place_of(control, list(answers), "control")
        if len(answers[control]) == len(answers[model]):  # of one question; ReaL lets labels differ by model
            difference = paired_bootstrap(answers[control].right, right, seed=seed)[:3]
    share = {"accuracy": float(right.mean()), **ends_only(wilson_interval(right.sum(), len(right)))}
    return {"n": len(right), **share, **columns("minus_control", difference[0], difference[1:])}
