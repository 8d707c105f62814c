"""Labeling: the un-noised teacher looks at every unlabeled picture once and writes what it thinks, shard by shard."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nsfast.errors import NsfastError
from nsfast.images import Split
from nsfast.images.files import taken
from nsfast.labels.table import LabelTable, read_labels, read_shard, shard_name, write_shard
from nsfast.models.network import pictures_at_once
from nsfast.progress import Progress


def predict(model: nn.Module, pixels: np.ndarray, batch: int = 0, compile: bool = False) -> torch.Tensor:
    """Return logits (n, classes) float32 of uint8 pixels (n, height, width, channels).

    The model runs in eval mode (no dropout, no stochastic depth, batch-norm statistics fixed), without any noise on
    the pictures; its mode is put back afterwards. Pictures kept as files are decoded at the network's own resolution.

    Args:
        batch: pictures in a forward pass; 0 for 256 of up to 224 pixels, fewer in proportion to the area above.
        compile: compile the network first (torch.compile); the last batch is filled up, so that it is done once.
    """
    if hasattr(pixels, "at") and getattr(model, "pixels", None):
        pixels = pixels.at(model.pixels)
    batch = batch or pictures_at_once(getattr(model, "pixels", None) or pixels.shape[1])
    device, modes = next(model.parameters()).device, [(m, m.training) for m in model.modules()]
    model.eval()
    forward = torch.compile(model, dynamic=False) if compile else model
    out = []
    try:
        with torch.inference_mode():
            for several in _ahead(pixels, batch):
                x = torch.from_numpy(several)
                count = len(x)
                if compile and count < batch:
                    x = torch.cat([x, x[:1].expand(batch - count, *x.shape[1:])])
                x = x.to(device).permute(0, 3, 1, 2).float().div_(255)
                out.append(forward(x)[:count].float().cpu())
    finally:
        for module, training in modes:
            module.training = training
    return torch.cat(out)


def require_better_than_chance(
    model: nn.Module, validation: Split, allow: bool = False, level: float = 0.05
) -> str:
    """Return a sentence on the teacher's validation accuracy, if it is better than chance.

    Chance is the share of the most frequent class; the test is one-sided and exact (binomial), at `level`.

    Raises:
        NsfastError: the teacher is not better than chance and `allow` is False.
    """
    from scipy.stats import binomtest

    right = int((predict(model, validation.pixels).argmax(1).numpy() == validation.labels).sum())
    chance = float(np.bincount(validation.labels).max() / len(validation))
    said = f"the teacher is right on {right} of {len(validation)} validation pictures ({right / len(validation):.1%})"
    if binomtest(right, len(validation), chance, alternative="greater").pvalue < level:
        return f"{said}; chance is {chance:.1%}"
    if chance ** len(validation) >= level:
        return f"warning: {said}, too few to tell it from chance ({chance:.1%}); give it more validation pictures"
    if allow:
        return f"warning: {said}, no better than chance ({chance:.1%}); going on because allow_chance is set"
    raise NsfastError(
        f"{said}, no better than chance ({chance:.1%}): its labels would teach nothing; train it longer or give it "
        "more labels, or set labeling.allow_chance=true"
    )


def label(
    model: nn.Module,
    images: Split,
    classes: tuple[str, ...],
    folder: str | Path,
    about: dict[str, str],
    batch: int = 256,
    shard: int = 65536,
    compile: bool = False,
) -> LabelTable:
    """Label pictures with a teacher and write Parquet shards; shards that this teacher has finished are kept.

    Args:
        model: logits (n, classes) from float pixels on 0..1.
        images: the pictures; labels, if any, are not looked at.
        classes: class names.
        folder: where the shards go.
        about: who labels: at least the teacher's fingerprint and the round; another `about` labels anew.
        batch: pictures in a forward pass.
        shard: pictures in a file.
        compile: see `predict`.

    Returns:
        The whole table, as read back from the shards.
    """
    folder, about = Path(folder), {name: str(value) for name, value in about.items()}
    shards = range(0, len(images), shard)
    for extra in set(folder.glob("part-*.parquet")) - {folder / shard_name(n) for n in range(len(shards))}:
        extra.unlink()
    progress = Progress("picture", len(images))
    for number, start in enumerate(shards):
        ids = images.ids[start : start + shard]
        path = folder / shard_name(number)
        if not (path.is_file() and _finished(path, ids, classes, about)):
            probabilities = predict(model, taken(images.pixels, slice(start, start + shard)), batch, compile)
            probabilities = probabilities.softmax(1).numpy()
            write_shard(path, ids, probabilities, classes, about)
        progress.update(start + len(ids))
    return read_labels(folder)


def _ahead(pixels, batch: int) -> Iterator[np.ndarray]:
    """Batches of pixels; of pictures kept as files the next one is decoded while one is looked at."""
    starts = range(0, len(pixels), batch)
    if not hasattr(pixels, "crops"):
        yield from (np.array(pixels[start : start + batch]) for start in starts)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(pixels.__getitem__, slice(start, start + batch)) for start in starts[:2]]
        for start in starts:
            yield waiting.pop(0).result()
            if (later := start + 2 * batch) < len(pixels):
                waiting.append(pool.submit(pixels.__getitem__, slice(later, later + batch)))


def _finished(path: Path, ids: np.ndarray, classes: tuple[str, ...], about: dict[str, str]) -> bool:
    table = read_shard(path)
    return table.about == about and table.classes == tuple(classes) and np.array_equal(table.ids, ids)
