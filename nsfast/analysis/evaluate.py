"""What a run did: models side by side on the test pictures, their labels by round, under corruption and under attack.

Everything returns rows (dictionaries) that are written as CSV as they are; every share carries n and an interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from nsfast.analysis.comparisons import mcnemar, paired_bootstrap
from nsfast.analysis.metrics import ReliabilityTable, summary, wilson_interval
from nsfast.images import Split
from nsfast.labels.predict import predict
from nsfast.models.network import pictures_at_once
from nsfast.robustness.attacks import input_gradient, random_sign, sign_step, zero_gradient_share
from nsfast.robustness.corruptions import corrupt
from nsfast.streams import stream_seed

Models = Mapping[str, nn.Module]


def probabilities_of(models: Models, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Return each model's distributions (n, classes) float32 over uint8 pixels (n, height, width, channels)."""
    return {name: predict(model, pixels).softmax(1).numpy() for name, model in models.items()}


def model_rows(
    probabilities: Mapping[str, np.ndarray], labels: np.ndarray, control: str, seed: int = 0
) -> list[dict]:
    """Return a row per model: accuracy with interval, calibration, and the paired difference to the control.

    Args:
        probabilities: of each model, over the same pictures.
        labels: (n,) int64.
        control: the name of the model that the others are compared with.
        seed: of the bootstrap.
    """
    right = {name: p.argmax(1) == labels for name, p in probabilities.items()}
    rows = []
    for name, p in probabilities.items():
        gain = paired_bootstrap(right[control], right[name], seed=seed)
        difference = {
            "minus_control": gain.difference,
            "minus_control_low": gain.low,
            "minus_control_high": gain.high,
        }
        p_value = mcnemar(right[control], right[name]).p_value
        rows.append({"model": name, **summary(p, labels, seed=seed), **difference, "mcnemar_p": p_value})
    return rows


def reliability_rows(model: str, table: ReliabilityTable) -> list[dict]:
    """Return a row per bin of confidence that holds pictures: its ends, pictures, mean confidence and accuracy."""
    bins = zip(table.edges[:-1], table.edges[1:], table.count, table.confidence, table.accuracy, strict=True)
    names = ("from", "to", "pictures", "confidence", "accuracy")
    return [{"model": model, **{n: v.item() for n, v in zip(names, b, strict=True)}} for b in bins if b[2]]


def corruption_rows(
    models: Models,
    images: Split,
    names: Sequence[str],
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    seed: int = 0,
) -> list[dict]:
    """Return the error of each model for each corruption and severity, severity 0 being the clean pictures.

    Every model sees the same corrupted pixels. This is a C-style error on pictures corrupted here, never an
    "ImageNet-C mCE".
    """
    rows = []
    for name in names:
        for severity in (0, *severities):
            pixels = corrupt(images.pixels, name, severity, seed, images.ids) if severity else images.pixels
            for model, probabilities in probabilities_of(models, pixels).items():
                wrong, n = int((probabilities.argmax(1) != images.labels).sum()), len(images)
                low, high = (float(v) for v in wilson_interval(wrong, n))
                row = {"model": model, "corruption": name, "severity": severity, "n": n}
                rows.append({**row, "error": wrong / n, "low": low, "high": high})
    return rows


def attack_rows(models: Models, images: Split, epsilons: Sequence[float], seed: int = 0) -> list[dict]:
    """Return the accuracy of each model under FGSM and under random signs of the same size, its control.

    Args:
        epsilons: in 1/255 pixel units; 0 is the clean pictures.

    Returns:
        A row per model, epsilon and attack; `zero_gradients` is the share of pictures whose gradient vanishes.
    """
    x = torch.from_numpy(np.array(images.pixels)).permute(0, 3, 1, 2).float().div_(255)
    labels = torch.from_numpy(np.asarray(images.labels))
    rows = []
    for name, model in models.items():
        device = next(model.parameters()).device
        at_once = pictures_at_once(getattr(model, "pixels", None) or x.shape[-1])
        gradient = input_gradient(model, x, labels)
        for epsilon in epsilons:
            generator = torch.Generator().manual_seed(stream_seed(seed, "random_sign", epsilon))
            for attack in ("fgsm", "random_sign"):
                changed = (
                    sign_step(x, gradient, epsilon)
                    if attack == "fgsm"
                    else random_sign(x, epsilon, generator)
                )
                with torch.inference_mode():
                    predicted = torch.cat(
                        [model(part.to(device)).argmax(1).cpu() for part in changed.split(at_once)]
                    )
                right, n = int((predicted == labels).sum()), len(labels)
                low, high = (float(v) for v in wilson_interval(right, n))
                row = {"model": name, "attack": attack, "epsilon": epsilon, "n": n}
                row |= {"accuracy": right / n, "low": low, "high": high}
                rows.append(
                    {**row, "zero_gradients": zero_gradient_share(gradient) if attack == "fgsm" else ""}
                )
    return rows
