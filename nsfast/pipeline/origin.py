"""Whether the labels of a round are its teacher's and of the run's pictures: asked before balancing and training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from nsfast.errors import NsfastError
from nsfast.images import ImageSet, Split
from nsfast.pipeline.stages import Records, Stage

if TYPE_CHECKING:
    from nsfast.labels import LabelTable, Origin


def teacher_folder(run: Path, number: int) -> Path:
    """Return the folder of the model that labels in a round, 1 for the first."""
    return run / ("teacher" if number == 1 else f"round-{number - 1}")


def expected_origin(run: Path, stage: Stage, images: ImageSet, found: Origin) -> Origin:
    """Return what labels must say of themselves to be those of a stage's round.

    What cannot be known beforehand, or does no harm, is as in `found`: how many classes are kept, the precision of the
    device that labeled, and the fingerprint of the pictures, which `require_same_pictures` looks at.

    Args:
        run: the run folder.
        stage: any of a round.
        images: the run's pictures.
        found: what the labels say.

    Raises:
        NsfastError: there is no model of the teacher.
    """
    from nsfast.labels import Origin
    from nsfast.labels.labeling.teachers import preprocessing_of
    from nsfast.training.model_file import read_about

    labeling = Records(run).entries(stage).get("labeling", {}).get("parameters", {})
    models = [read_about(folder) for folder in (teacher_folder(run, stage.round), *labeling.get("also", ()))]
    flip = labeling.get("flip", False)
    preprocessing = preprocessing_of([_shell(about) for about in models], images.unlabeled, flip)
    preprocessing.pop("precision")
    if labeling.get("noise"):
        preprocessing |= noise_of(models, labeling["batch_size"])
    precision = {name: value for name, value in found.preprocessing.items() if name == "precision"}
    return Origin(
        classes=images.classes,
        teacher="+".join(about["fingerprint"] for about in models),
        round=stage.round,
        preprocessing=preprocessing | precision,
        top=found.top,
        pictures=found.pictures,
    )


def noise_of(abouts: Sequence[Mapping], batch: int) -> dict[str, Any]:
    """Return what labels say of the noise that their teachers were under, and of the batches that it was drawn for.

    Args:
        abouts: `model.json` of the teachers.
        batch: pictures in a forward pass.
    """
    names = ("randaugment", "dropout", "stochastic_depth")
    said = [
        {key: value for key, value in about["recipe"].items() if key.startswith(names)} for about in abouts
    ]
    return {"noise": said, "batch": batch}


def _shell(about: dict) -> SimpleNamespace:
    """What `preprocessing_of` asks of a network, without its weights, which may be gigabytes."""
    import torch

    scale = SimpleNamespace(mean=torch.tensor(about["mean"]), std=torch.tensor(about["std"]))
    return SimpleNamespace(pixels=about["pixels"], normalize=scale, parameters=lambda: iter([torch.empty(0)]))


def require_same_pictures(labels: LabelTable, pool: Split, rows: np.ndarray) -> None:
    """Raise `NsfastError` unless the labels are of the pictures of `pool`, as far as `rows` of it (rising) go.

    Names are read a part at a time, and those of other rows not looked at.
    """
    from nsfast.labels.shards import read_batches

    what, again = f"the labels in {labels.folder} are of other pictures", "run labeling again"
    if labels.manifest["pictures"] != len(pool):
        raise NsfastError(
            f"{what}: of {labels.manifest['pictures']:,}, but the run has {len(pool):,} unlabeled ones; {again}"
        )
    start = 0
    for batch in read_batches(labels.folder / "files.parquet", ("name",), 65536):
        stop = start + len(batch["name"])
        some = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)]
        theirs, ours = batch["name"][some - start], pool.ids[some]
        if len(other := np.flatnonzero(theirs != ours)):
            first = other[0]
            raise NsfastError(
                f"{what}: number {some[first]} is {theirs[first]!r} there and {str(ours[first])!r} in the run; {again}"
            )
        start = stop
