"""What a reader of the corruption table must be told: which rows say little about robustness, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from nsfast.analysis.comparisons import mcnemar
from nsfast.analysis.metrics import wilson_interval
from nsfast.analysis.robustness.reading import clean_of, corrupted_versions, same_pictures
from nsfast.noise.table import ENHANCEMENTS, Operation, choose
from nsfast.robustness.answers import Answers, Asked
from nsfast.training.recipe import Recipe

OVERLAPS: dict[str, tuple[str, ...]] = {
    "Brightness": ("brightness",),
    "SolarizeAdd": ("brightness",),
    "Contrast": ("contrast",),
    "AutoContrast": ("contrast", "brightness", "fog"),
    "Equalize": ("contrast", "brightness", "fog"),
    "Color": ("saturate",),
    "Sharpness": ("defocus_blur", "gaussian_blur"),
    "Rotate": ("rotate", "elastic_transform"),
    "ShearX": ("shear", "elastic_transform"),
    "ShearY": ("shear", "elastic_transform"),
    "TranslateX": ("translate",),
    "TranslateY": ("translate",),
    "pad crop": ("translate",),
    "inception crop": ("scale", "zoom_blur", "translate"),
}
"""What a training noise changes in pictures, and the corruptions and perturbations that change the same.

Sharpness blurs with a factor below 1; elastic_transform begins with an affine map. Posterize, Solarize, Invert and
Cutout are in none."""

CLEAR = 0.05
"""The p-value above which corrupted pictures count as no harder than clean ones."""


def overlaps(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Return the corruptions and perturbations that a recipe's noise trains for, each with the noise that does.

    An operation counts where it changes a picture: Brightness of the official scale does not at magnitude 5.
    """
    used = []
    if recipe.randaugment_n:
        operations = choose(recipe.randaugment_operations, recipe.randaugment_scale)
        used += [one.name for one in operations if _acts(one, recipe.randaugment_m)]
    if recipe.crop != "none":
        used.append(f"{recipe.crop} crop")
    found: dict[str, tuple[str, ...]] = {}
    for noise in used:
        for name in OVERLAPS.get(noise, ()):
            found[name] = (*found.get(name, ()), noise)
    return found


def _acts(operation: Operation, magnitude: float) -> bool:
    """Whether an operation of OVERLAPS changes pictures at this magnitude, and in the way that is said there."""
    m, ones = torch.full((2,), float(magnitude), dtype=torch.float64), torch.tensor([-1.0, 1.0]).double()
    argument = operation.argument(m, ones, 32, 32)
    if operation.name == "Sharpness":
        return bool((argument < 1).any())
    if operation.name in ENHANCEMENTS:
        return bool((argument != 1).any())
    return operation.name in ("AutoContrast", "Equalize") or bool((argument != 0).any())


def warnings_of(
    asked: Asked,
    recipes: Mapping[str, Mapping],
    classes: int,
    set: str = "corrupted",
    perturbations: Sequence[str] = (),
) -> list[str]:
    """Return sentences on the corruptions that overlap the training noise, are saturated or flat, with numbers.

    Args:
        recipes: how models were trained, by name, as `model.json` has them; models without one are left out.
        classes: how many the models know; guessing errs on all but one in so many.
        set: "corrupted" or a released set.
        perturbations: that were measured, for the overlap.
    """
    corruptions = corrupted_versions(asked, set)
    sentences = _overlap_sentences(recipes, [*corruptions, *perturbations])
    clean = clean_of(asked, set)
    for name, by_severity in corruptions.items():
        saturated = [severity for severity, answers in by_severity.items() if _saturated(answers, classes)]
        if saturated:
            low, high = _range(by_severity[saturated[0]])
            at = ", ".join(map(str, saturated))
            sentences.append(
                f"{_plain(name)} is saturated at severity {at}: models err on {low:.1%} to {high:.1%} at severity "
                f"{saturated[0]}, and guessing on {1 - 1 / classes:.1%} (n = {_size(by_severity[saturated[0]]):,}); it "
                "hardly tells models apart."
            )
        worst = by_severity[max(by_severity)]
        if clean and _flat(clean, worst):
            low, high = _range(worst)
            before = _range({model: clean[model] for model in worst})
            sentences.append(
                f"{_plain(name)} is flat: at severity {max(by_severity)} models err on {low:.1%} to {high:.1%}, on "
                f"the clean pictures on {before[0]:.1%} to {before[1]:.1%} (n = {_size(worst):,}; exact McNemar, none "
                f"below {CLEAR}); it says nothing about robustness here."
            )
    return sentences


def _overlap_sentences(recipes: Mapping[str, Mapping], names: Sequence[str]) -> list[str]:
    """One sentence for models that were trained with the same noise: what it has in common with which corruption."""
    by_noise: dict[tuple[str, ...], list[str]] = {}
    for model, recipe in recipes.items():
        trained = overlaps(Recipe.from_parameters(dict(recipe)))
        common = tuple(
            f"{name.replace('_', ' ')} ({', '.join(trained[name])})"
            for name in dict.fromkeys(names)
            if name in trained
        )
        by_noise.setdefault(common, []).append(model)
    return [
        f"The training noise of {'every model' if len(models) == len(recipes) > 1 else ', '.join(models)} overlaps "
        f"with {', '.join(common)}: there robustness is what was trained for, and not to something new alone."
        for common, models in by_noise.items()
        if common
    ]


def _saturated(answers: Mapping[str, Answers], classes: int) -> bool:
    """Whether every model's error is that of guessing: within its interval, or within 5 % of it."""
    chance = 1 - 1 / classes
    for found in answers.values():
        wrong, n = int((~found.right).sum()), len(found)
        if wrong / n < 0.95 * chance and wilson_interval(wrong, n)[1] < chance:
            return False
    return True


def _flat(clean: Mapping[str, Answers], worst: Mapping[str, Answers]) -> bool:
    """Whether no model is worse than on the clean pictures beyond chance."""
    return all(
        model in clean
        and same_pictures(clean[model], found)
        and (
            mcnemar(clean[model].right, found.right).p_value > CLEAR
            or found.right.sum() > clean[model].right.sum()
        )
        for model, found in worst.items()
    )


def _range(answers: Mapping[str, Answers]) -> tuple[float, float]:
    errors = [float(np.mean(~found.right)) for found in answers.values()]
    return min(errors), max(errors)


def _size(answers: Mapping[str, Answers]) -> int:
    return len(next(iter(answers.values())))


def _plain(name: str) -> str:
    return name.replace("_", " ").capitalize()
