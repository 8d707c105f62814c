"""What an arm's models are worth: the test pictures are read here, once, after everything was trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsfast.files import checksum, fingerprint, read_json, write_json
from nsfast.pipeline.profile import Profile
from nsfast.pipeline.report_studies import OF_LABELS
from nsfast.study.design import ROBUST

if TYPE_CHECKING:
    from nsfast.images import Split

PROTOCOL = 1
"""Counts up whenever the same models would get other scores."""
ROBUSTNESS = {
    **{"pictures": 200, "severities": [1, 3, 5], "sequences": 40, "attacked": 100},
    **{"epsilons": [8.0], "attacks": ["fgsm", "pgd"]},
}
"""What is measured of robustness: these, of the parameters of the analysis; the others are its defaults."""

Points = Sequence[tuple[str, str]]


def scores_file(run: Path) -> Path:
    """Return the file in which the scores of an arm's run are kept."""
    return run / "scores.json"


def score_key(run: Path, points: Points) -> str:
    """Return the fingerprint of what the scores are of: pictures, models, labels, and what is measured of them."""
    files = {}
    for model, measure in points:
        names = ("control", "teacher", model) if measure in ROBUST else (model,)
        wanted = "quality.json" if measure in OF_LABELS else "model.json"
        files |= {f"{name}/{wanted}": checksum(run / name / wanted) for name in names}
    files["images"] = checksum(run / "images" / "made_from.json")
    return fingerprint(
        {"protocol": PROTOCOL, "robustness": ROBUSTNESS, "points": sorted(points), "files": files}
    )


def score(run: Path, profile: Profile, points: Points) -> list[dict[str, Any]]:
    """Return model, measure, value and n of each point of a finished arm, and keep them in its run.

    What every model said of every test picture is kept in the run, too (`answers/`), so that nothing is asked twice.
    """
    from nsfast.images import load_images

    images = load_images(run / "images")
    values: dict[tuple[str, str], tuple[float, int]] = {}
    for model, measure in points:
        if measure in OF_LABELS:
            truth = read_json(run / model / "quality.json")["truth"]
            name, of = {
                "precision": ("precision", "reached"),
                "label_accuracy": ("in_class_accuracy", "with_class"),
            }[measure]
            values[model, measure] = (truth[name], truth[of])
    for model in {model for model, measure in points if measure in ROBUST}:
        values |= _robust(run, profile, images, model)
    plain = {model for model, measure in points if measure == "accuracy"}
    values |= _accuracies(run, images.test, "clean", plain, "accuracy")
    raw = {model for model, measure in points if measure == "raw_accuracy"}
    values |= _accuracies(run, images.test, "raw", raw, "raw_accuracy", "raw")
    shifted = {model for model, measure in points if measure == "shifted_accuracy"}
    if shifted:
        from nsfast.images.readers import READERS

        data = {name: value for name, value in profile.groups["data"].items() if name != "name"}
        other = READERS[profile.groups["data"]["name"]](**{**data, "shifted": True}, seed=profile.seed)
        values |= _accuracies(run, other.test, "shifted", shifted, "shifted_accuracy")
    # a teacher without an error leaves no hard pictures, a high threshold no labels
    found = [(point, values[point]) for point in points if values.get(point, (None,))[0] is not None]
    rows = [
        {"model": model, "measure": measure, "value": float(value), "n": int(n)}
        for (model, measure), (value, n) in found
    ]
    write_json(scores_file(run), {"key": score_key(run, points), "rows": rows})
    return rows


def _accuracies(
    run: Path, test: Split, name: str, models: set[str], measure: str, weights: str = "ema"
) -> dict[tuple[str, str], tuple[float, int]]:
    """The share of test pictures that models are right about, each picture's answer kept."""
    if not models:
        return {}
    from dataclasses import replace

    from nsfast.analysis.measurement import CLEAN, clean_question
    from nsfast.robustness.answers import ask
    from nsfast.training.model_file import load_model, read_about

    networks = {model: load_model(run / model, weights) for model in sorted(models)}
    marks = {model: f"{weights} {read_about(run / model)['fingerprint']}" for model in networks}
    question = replace(clean_question(test), version=CLEAN._replace(name=name))
    answers = ask(networks, [question], run / "answers", marks)[question.version]
    return {(model, measure): (found.right.mean(), len(found)) for model, found in answers.items()}


def _robust(run: Path, profile: Profile, images, student: str) -> dict[tuple[str, str], tuple[float, int]]:
    """Every measure of robustness of control, teacher and a student."""
    from nsfast.analysis.measurement import Measurement
    from nsfast.pipeline.robustness import protocol_of
    from nsfast.streams import stream_seed
    from nsfast.training.model_file import load_model, read_about

    names = dict.fromkeys(("control", "teacher", student))
    measured = Measurement(
        {name: load_model(run / name) for name in names},
        images.test,
        protocol_of(ROBUSTNESS),
        images.classes,
        control="control",
        teacher="teacher",
        folder=run / "answers" / f"robustness-{student}",
        fingerprints={name: read_about(run / name)["fingerprint"] for name in names},
        seed=stream_seed(profile.seed, "study robustness") % 2**31,
    )
    found: dict[tuple[str, str], tuple[float, int]] = {}
    for row in measured.table("corruption_scores"):
        if row["corruption"] == "mean":
            found[row["model"], "corruption_accuracy"] = (1 - row["mean_error"], row["n"])
    for row in measured.table("line"):
        found[row["model"], "residual"] = (row["residual"], row["n"])
    for row in measured.table("natural"):
        if row["set"] == "hard":
            found[row["model"], "hard_accuracy"] = (row["accuracy"], row["n"])
    for row in measured.table("attacks"):
        if row["epsilon"]:
            found[row["model"], f"{row['attack']}_accuracy"] = (row["accuracy"], row["n"])
    for model in names:
        flips = [
            answers[model] for answers in measured.flips["perturbed"].values() if not answers[model].noise
        ]
        share = [1 - one.flips.sum() / one.comparisons.sum() for one in flips]
        found[model, "steadiness"] = (sum(share) / len(share), len(flips[0].flips))
    return found
