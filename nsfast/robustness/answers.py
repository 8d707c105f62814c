"""What models say of pictures, picture by picture: asked once, kept in files, so that any score can be taken again.

A `Question` is a set of pictures in one version: clean, corrupted at a severity, of ImageNet-A, under an attack.
`ask` puts it to every model. An `Answers` keeps of each picture what accuracy, top-k, NLL, Brier score and ECE need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from nsfast.errors import NsfastError
from nsfast.labels.predict import predict
from nsfast.progress import Progress
from nsfast.robustness.changed import ChangedPixels, parts_of
from nsfast.robustness.kept import PROTOCOL as PROTOCOL
from nsfast.robustness.kept import (
    kept_file,
    keys_of,
    read_columns,
    read_kept,
    require_fingerprints,
    write_kept,
)

AT_ONCE = 2**20
"""Logits that are turned into answers at once, in float64."""


class Version(NamedTuple):
    """Which pictures: a set, what was done to them, and how much of it."""

    set: str
    """"clean", "corrupted" (here), an attack's family ("attack"), or a released set such as "imagenet-c"."""
    name: str = ""
    """The corruption or attack; empty where there is none."""
    level: float = 0
    """Severity 1 to 5, or epsilon in steps of 1/255; 0 where there is none."""


@dataclass(frozen=True)
class Answers:
    """What one model said of n pictures.

    Args:
        labels: int32 (n,), the true class; where several are accepted, the one the model likes best.
        predicted: int32 (n,), the class the model says.
        confidence: float32 (n,), the probability of that class.
        true: float32 (n,), the probability of the true class.
        squares: float32 (n,), the sum over classes of squared probabilities; Brier is squares - 2 true + 1.
        rank: int32 (n,), place of the true class in the model's order, 1 for the first.
    """

    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    true: np.ndarray
    squares: np.ndarray
    rank: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def right(self) -> np.ndarray:
        """bool (n,), whether the model is right."""
        return self.predicted == self.labels

    def take(self, rows: np.ndarray) -> Answers:
        """Return the answers to these pictures, in this order."""
        return Answers(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def of(
        cls,
        logits: torch.Tensor,
        labels: np.ndarray,
        classes: np.ndarray | None = None,
        accepted: Sequence[Sequence[int]] | None = None,
    ) -> Answers:
        """Return the answers that logits give.

        Args:
            logits: float (n, classes of the model).
            labels: int (n,), true classes of the model.
            classes: classes that count, as ImageNet-A's 200 of 1000; the others are left out before the softmax.
            accepted: for each picture the classes that are right (ReaL), at least one; in place of `labels`.

        Raises:
            NsfastError: labels that are not among the classes, another number of labels than of pictures.

        Of classes with equal logits the first is predicted, as argmax does, and the true one ranks behind the others
        that stand before it. Logits are turned into float64 a part at a time; the answers do not depend on it.
        """
        logits = torch.as_tensor(logits).detach().cpu()
        n, total = logits.shape
        classes = np.arange(total) if classes is None else np.asarray(classes, np.int64)
        place = _places(classes, total)
        counts = np.array(
            [1] * len(labels) if accepted is None else [len(several) for several in accepted], int
        )
        right = np.asarray(labels if accepted is None else [c for several in accepted for c in several], int)
        if counts.shape != (n,) or right.ndim != 1:
            raise NsfastError(f"there are labels of {len(counts)} pictures; give one for each of {n}")
        if not counts.all():
            raise NsfastError(f"picture {counts.argmin()} has no accepted class; leave such pictures out")
        if not ((right >= 0) & (right < total)).all() or not (place[right] >= 0).all():
            raise NsfastError(
                f"a label lies outside the {len(classes)} classes that count; leave such pictures out"
            )
        ends, step, parts = np.append(0, counts.cumsum()), max(1, AT_ONCE // total), []
        for start in range(0, max(1, n), step):
            part = slice(start, min(start + step, n))
            some = logits[part].double().numpy()[:, classes]
            parts.append(_said(some, place[right[ends[part.start] : ends[part.stop]]], counts[part]))
        said, true, *numbers = (np.concatenate(column) for column in zip(*parts, strict=True))
        return cls(classes[true].astype(np.int32), classes[said].astype(np.int32), *numbers)


def _places(classes: np.ndarray, total: int) -> np.ndarray:
    """Return the place of each class (total,) among those that count, -1 for the others."""
    if len(set(classes.tolist()) & set(range(total))) < len(classes):
        raise NsfastError(f"classes that count must be different ones from 0 to {total - 1}, the model's")
    place = np.full(total, -1)
    place[classes] = np.arange(len(classes))
    return place


def _said(logits: np.ndarray, right: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return what `Answers` keeps of a few pictures, classes by their place.

    Args:
        logits: float64 (n, classes).
        right: the places of the first picture's right classes, then the second's.
        counts: (n,), how many each has.
    """
    rows = np.repeat(np.arange(len(logits)), counts)
    liked = np.lexsort((right, -logits[rows, right], rows))
    true = right[liked[counts.cumsum() - counts]]
    rows = np.arange(len(logits))
    of_true = logits[rows, true][:, None]
    ahead = (logits > of_true) | ((logits == of_true) & (np.arange(logits.shape[1]) < true[:, None]))
    said = logits.argmax(1)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    numbers = (p[rows, said], p[rows, true], (p**2).sum(1))
    return said, true, *(number.astype(np.float32) for number in numbers), (ahead.sum(1) + 1).astype(np.int32)


@dataclass(frozen=True)
class Question:
    """Pictures in one version, and how they are put to a model.

    Args:
        version: which pictures these are.
        ids: (n,) strings; versions of one picture share its id, so that the bootstrap can keep them together.
        labels: int (n,), true classes of the models.
        key: says what the pictures are made of, by content; the same key is not asked a second time.
        pictures: returns the pixels, uint8 (n, height, width, channels); called once for all models, and only if asked.
            Those of `ChangedPixels` are shown block by block, each made once for all models.
        logits: returns the logits (n, classes) of a model over the pixels; plain `predict` unless it is an attack.
        classes, accepted: as for `Answers.of`.
    """

    version: Version
    ids: np.ndarray
    labels: np.ndarray
    key: str
    pictures: Callable[[], np.ndarray | ChangedPixels]
    logits: Callable[[nn.Module, np.ndarray], torch.Tensor] = predict
    classes: np.ndarray | None = None
    accepted: Sequence[Sequence[int]] | None = None


Asked = dict[Version, dict[str, Answers]]


def ask(
    models: Mapping[str, nn.Module],
    questions: Sequence[Question],
    folder: str | Path | None = None,
    fingerprints: Mapping[str, str] | None = None,
    workers: int = 1,
) -> Asked:
    """Return every model's answers to every question.

    Args:
        models: by name.
        folder: where answers are kept, a Parquet file a question. What is there already, of the same pictures and the
            same weights, is not asked again: a killed run goes on where it was.
        fingerprints: of the models' weights; needed with a folder.
        workers: models asked at once, each in a thread; the answers do not depend on it.

    Raises:
        NsfastError: a folder without fingerprints, the same version in two questions, a question without pictures,
            a model whose logits are no finite numbers.
    """
    require_fingerprints(models, folder, fingerprints)
    versions = [question.version for question in questions]
    if len(set(versions)) < len(versions):
        twice = next(v for v in versions if versions.count(v) > 1)
        raise NsfastError(f"version {tuple(twice)} is asked twice; name the versions apart")
    empty = next((question.version for question in questions if not len(question.ids)), None)
    if empty is not None:
        raise NsfastError(f"version {tuple(empty)} has no pictures; leave it out")
    asked: Asked = {}
    progress = Progress("robustness", len(questions))
    with ThreadPoolExecutor(workers) as pool:
        for done, question in enumerate(questions, 1):
            path, keys = kept_file(folder, *question.version), keys_of(question.key, fingerprints)
            found = {name: Answers(**one) for name, one in read_kept(path, keys, _COLUMNS)[1].items()}
            missing = [name for name in models if name not in found]
            if missing:
                found |= _ask({name: models[name] for name in missing}, question, pool)
                if path is not None:
                    about = {part: str(value) for part, value in question.version._asdict().items()}
                    answers = {model: found[model] for model in models}
                    write_kept(path, about, question.ids, keys, answers, _COLUMNS)
            asked[question.version] = {name: found[name] for name in models}
            progress.update(done, " ".join(str(part) for part in question.version if part))
    return asked


def _ask(models: Mapping[str, nn.Module], question: Question, pool: ThreadPoolExecutor) -> dict[str, Answers]:
    """Show the pictures to all models, block by block where they are changed when they are looked at."""
    pixels = question.pictures()
    parts = parts_of(pixels)
    logits: dict[str, list[torch.Tensor]] = {name: [] for name in models}
    for part in parts:
        shown = pixels if len(parts) == 1 else pixels[part]

        def said(name: str, shown=shown) -> torch.Tensor:
            return finite(name, question.logits(models[name], shown))

        for name, some in zip(models, pool.map(said, models), strict=True):
            logits[name].append(some)

    def answer(name: str) -> Answers:
        return Answers.of(torch.cat(logits[name]), question.labels, question.classes, question.accepted)

    return dict(zip(models, pool.map(answer, models), strict=True))


def finite(model: str, logits: torch.Tensor) -> torch.Tensor:
    """Return the logits of a model.

    Raises:
        NsfastError: one is infinite or no number, so that no class is the likeliest.
    """
    if not torch.isfinite(logits).all():
        raise NsfastError(
            f"{model} gives logits that are no finite numbers; its training diverged: train it again with a lower "
            "learning rate, or leave it out"
        )
    return logits


def read_answers(folder: str | Path) -> Iterator[tuple[Version, str, np.ndarray, Answers]]:
    """Yield version, model, ids and answers of everything kept in a folder, in the order of the files' names.

    Raises:
        NsfastError: a file is damaged or of another make.
    """
    import pyarrow as pa

    for path in sorted(Path(folder).glob("*/*.parquet")):
        try:
            about, columns = read_columns(path, ("model", "id", *_COLUMNS))
            version = Version(about["set"], about["name"], float(about["level"]))
        except (pa.ArrowException, KeyError, ValueError, OSError) as error:
            raise NsfastError(f"{path} keeps no answers ({error}); delete it and measure again") from None
        for model in dict.fromkeys(columns["model"]):
            rows = columns["model"] == model
            yield version, model, columns["id"][rows], Answers(*(columns[name][rows] for name in _COLUMNS))


_COLUMNS = tuple(field.name for field in fields(Answers))
