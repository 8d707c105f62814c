"""Does the answer stay while a picture changes a little? Flip probability and top-5 distance of ImageNet-P.

Source: Hendrycks & Dietterich 2019 (1903.12261), section 4.2, and github.com/hendrycks/robustness, ImageNet-P/test.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from nsfast.errors import NsfastError, within
from nsfast.labels.predict import predict
from nsfast.progress import Progress
from nsfast.robustness.answers import finite
from nsfast.robustness.kept import kept_file, keys_of, read_kept, require_fingerprints, write_kept
from nsfast.robustness.sequences import Sequences


@dataclass(frozen=True)
class FlipAnswers:
    """How steady one model is on the n sequences of one perturbation.

    Args:
        noise: whether frames are compared with the first one.
        k: classes whose order the distance looks at.
        flips: int32 (n,), comparisons in which the predicted class differs.
        comparisons: int32 (n,), how many there are.
        distance: float64 (n,), sum over the comparisons of the top-k distance.
    """

    noise: bool
    k: int
    flips: np.ndarray
    comparisons: np.ndarray
    distance: np.ndarray


def flip_counts(predicted: np.ndarray, noise: bool, step: int = 1) -> np.ndarray:
    """Return in how many comparisons the predicted class of each sequence differs, int64 (sequences,).

    Args:
        predicted: int (sequences, frames).
        noise: compare with the first frame, else with the frame `step` before.
        step: 1 to frames - 1; of noise it is always 1.
    """
    before, after = _compared(np.asarray(predicted), noise, step)
    return (before != after).sum(1)


def flip_probability(predicted: np.ndarray, noise: bool, step: int = 1) -> float:
    """Return the share of comparisons in which the predicted class differs, 0 to 1; arguments as for `flip_counts`."""
    predicted = np.asarray(predicted)
    compared = predicted.shape[1] - (1 if noise else step)
    return float(flip_counts(predicted, noise, step).mean() / compared)


def top_distances(logits: np.ndarray, noise: bool, k: int | None = None, step: int = 1) -> np.ndarray:
    """Return the summed top-k distance of the comparisons of each sequence, float64 (sequences,).

    Of two frames it is the sum over the k likeliest classes of the first, i = 0 .. k - 1, of |i - min(j, k)|, j being
    the class's place (from 0) in the second: the T5D for k = 5. Of equal logits the first class is ahead.

    Args:
        logits: float (sequences, frames, classes).
        noise, step: as for `flip_counts`.
        k: 1 to classes; by default `top_of(classes)`.
    """
    logits = np.asarray(logits)
    k = int(within("k", top_of(logits.shape[2]) if k is None else k, 1, logits.shape[2]))
    order = np.argsort(-logits, axis=2, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(order.shape[2]), order.shape), axis=2)
    first, _ = _compared(order[:, :, :k], noise, step)
    _, second = _compared(place, noise, step)
    moved = np.minimum(np.take_along_axis(second, np.broadcast_to(first, (*second.shape[:2], k)), axis=2), k)
    return np.abs(moved - np.arange(k)).sum(axis=(1, 2)).astype(np.float64)


def top_of(classes: int) -> int:
    """Return how many classes the top distance looks at: 5, of less than fifteen classes a third of them."""
    return max(1, min(5, classes // 3))


def _compared(frames: np.ndarray, noise: bool, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what is compared with what; of noise the first frame with every other."""
    if frames.ndim < 2 or frames.shape[1] < 2:
        raise NsfastError(f"frames have shape {frames.shape}; a sequence needs two frames at least")
    if noise:
        return frames[:, :1], frames[:, 1:]
    step = int(within("step", step, 1, frames.shape[1] - 1))
    return frames[:, :-step], frames[:, step:]


def ask_sequences(
    models: Mapping[str, nn.Module],
    asked: Sequence[Sequences],
    folder: str | Path | None = None,
    fingerprints: Mapping[str, str] | None = None,
    workers: int = 1,
) -> dict[str, dict[str, FlipAnswers]]:
    """Return how steady every model is, by perturbation and model.

    Args:
        models: by name.
        asked: perturbations of one set, each name once.
        folder, fingerprints, workers: as for `nsfast.robustness.answers.ask`; a file a perturbation.

    Raises:
        NsfastError: a folder without fingerprints, a perturbation twice or without a sequence, a model whose logits are
            no finite numbers, a difficulty of as many frames as there are.
    """
    names = [one.name for one in asked]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise NsfastError(f"perturbation {twice!r} is asked twice; ask each set and difficulty by itself")
    require_fingerprints(models, folder, fingerprints)
    below = None if folder is None else Path(folder) / "sequences"
    found: dict[str, dict[str, FlipAnswers]] = {}
    progress = Progress("perturbation", len(asked))
    with ThreadPoolExecutor(workers) as pool:
        for done, one in enumerate(asked, 1):
            path = kept_file(below, one.set, one.name, one.difficulty)
            keys = keys_of(one.key, fingerprints)
            about, kept = read_kept(path, keys, _COLUMNS)
            known = {name: FlipAnswers(one.noise, int(about["k"]), **each) for name, each in kept.items()}
            missing = {name: model for name, model in models.items() if name not in known}
            if missing:
                ids, answers = _ask(missing, one, pool)
                known |= answers
                if path is not None:
                    about = {"set": one.set, "name": one.name, "difficulty": str(one.difficulty)}
                    about |= {"noise": str(one.noise), "k": str(next(iter(known.values())).k)}
                    write_kept(path, about, ids, keys, {name: known[name] for name in models}, _COLUMNS)
            found[one.name] = {name: known[name] for name in models}
            progress.update(done, one.name)
    return found


def _ask(
    models: Mapping[str, nn.Module], one: Sequences, pool: ThreadPoolExecutor
) -> tuple[np.ndarray, dict[str, FlipAnswers]]:
    """Show every chunk to all models; the chunk is made once."""
    all_ids: list[np.ndarray] = []
    parts: dict[str, list[FlipAnswers]] = {name: [] for name in models}
    for ids, pixels in one.chunks():
        sequences, frames = pixels.shape[:2]
        flat = pixels.reshape(sequences * frames, *pixels.shape[2:])

        def answer(name: str, flat=flat, shape=(sequences, frames)) -> FlipAnswers:
            logits = finite(name, predict(models[name], flat)).numpy().reshape(*shape, -1)
            return _steadiness(logits, one.noise, one.difficulty)

        for name, found in zip(models, pool.map(answer, models), strict=True):
            parts[name].append(found)
        all_ids.append(np.asarray(ids, dtype=str))
    if not all_ids:
        raise NsfastError(f"{one.set} has no sequence of {one.name}; leave it out")
    joined = {
        name: replace(several[0], **{c: np.concatenate([getattr(a, c) for a in several]) for c in _COLUMNS})
        for name, several in parts.items()
    }
    return np.concatenate(all_ids), joined


def _steadiness(logits: np.ndarray, noise: bool, difficulty: int) -> FlipAnswers:
    """The answers of one model from logits (sequences, frames, classes)."""
    step = 1 if noise else difficulty
    n, frames, classes = logits.shape
    return FlipAnswers(
        noise,
        top_of(classes),
        flip_counts(logits.argmax(2), noise, step).astype(np.int32),
        np.full(n, frames - step, np.int32),
        top_distances(logits, noise, step=step),
    )


_COLUMNS = ("flips", "comparisons", "distance")
