"""What is shown of a round: its labels as balancing sees them, what other models say, and a map of the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nsfast.errors import NsfastError
from nsfast.files import atomic
from nsfast.images.files import taken
from nsfast.pipeline.round_labels import RoundLabels
from nsfast.streams import numpy_stream

if TYPE_CHECKING:
    from nsfast.explore.core import Answers, PseudoLabels
    from nsfast.labels import LabelTable

ASKED = 50_000
"""Pictures up to which a student is asked here; a later round labels more of them faster, and keeps the labels."""


def open_labels(
    ours: RoundLabels, table: LabelTable, others: Mapping[str, Any], embedding: np.ndarray | None = None
) -> PseudoLabels:
    """Return the labels of a round as balancing sees them before it hears of decisions.

    Args:
        ours: the labels of the round, with the stage of balancing.
        table: its label table.
        others: what other models say, by name; see `open_table`.
        embedding: float (pictures, 2), where each picture lies on a map.
    """
    from nsfast.explore.core.table import open_table
    from nsfast.pipeline.balancing import decisions_of

    images, temperature = ours.images, ours.balancing.temperature
    left_out = np.zeros(len(images.unlabeled), bool)
    left_out[decisions_of(table, None, ours.stage.parameters["duplicates"]).dropped] = True
    most = {} if temperature == 1 else {"most": len(table)}
    known = {"left_out": left_out, "embedding": embedding, **most}
    labels = open_table(table.folder, images.unlabeled.pixels, images.truth, others, **known)
    return labels if temperature == 1 else at_temperature(labels, table, temperature)


def at_temperature(labels: PseudoLabels, table: LabelTable, temperature: float) -> PseudoLabels:
    """Return the labels with the probabilities that they have at a temperature.

    Args:
        labels: all those of the table.
        table: the label table.
        temperature: that the logits are divided by, above 0.
    """
    from nsfast.explore.core import PseudoLabels
    from nsfast.explore.core.scores import scores_of
    from nsfast.explore.core.table import with_second
    from nsfast.labels.balancing.decided import Decided
    from nsfast.labels.calibrate import recalibrated_confidence
    from nsfast.labels.histogram import confidence_of

    classes = len(table.classes)

    def recalibrated(kept: np.ndarray) -> np.ndarray:
        kept = np.asarray(kept, np.float32)
        surest = recalibrated_confidence(kept, classes, temperature)
        return (kept / kept.max(1, keepdims=True)) ** np.float32(1 / temperature) * surest[:, None]

    def parts():
        for batch in table.batches(table.vector_columns, max((1 << 22) // classes, 1)):
            *named, kept = batch.values()
            named = named[0] if named else None
            one = named is not None and named.shape[1] == 1
            yield with_second(recalibrated(kept), named, classes) if one else (recalibrated(kept), named)

    codes = [part.codes for part in Decided(table, temperature).parts(ids=False)]
    return PseudoLabels(
        labels.classes,
        labels.predicted,
        confidence_of(np.concatenate(codes)),
        names=labels.names,
        scores=(lambda: scores_of(parts(), len(labels), classes)) if labels.has_scores else None,
        distributions=labels.distributions and (lambda rows: recalibrated(labels.distributions(rows))),
        truth=labels.truth,
        others=labels.others,
        round=labels.round,
        pictures=labels.pictures,
        embedding=labels.embedding,
        find=labels.rows_of,
        left_out=labels.left_out,
    )


def others_of(ours: RoundLabels, table: LabelTable, ask: bool = False) -> dict[str, Path | Answers]:
    """Return what other models say of a round's pictures, by name: "round 1", ..., "student 3".

    Labels that can not be compared are told of and left out.

    Args:
        ours: the labels of the round.
        table: its label table.
        ask: whether its student is asked, where that has not labeled the next round.
    """
    this, found = ours.stage.round, {}
    labeled = [path.parents[1].name[6:] for path in ours.run.glob("round-*/labels/manifest.json")]
    for number in sorted({int(text) for text in labeled if text.isdecimal()} - {this}):
        stage = replace(ours.stage, folder=f"round-{number}", round=number)
        try:
            found[f"round {number}"] = replace(ours, stage=stage).labels().folder
        except NsfastError as error:
            print(f"round {number} is not compared: {error}")
    if ask and f"round {this + 1}" not in found and (said := student_says(ours, table)):
        found[f"student {this}"] = said
    return found


def student_says(ours: RoundLabels, table: LabelTable) -> Answers | None:
    """Return what the student of a round says of its unlabeled pictures, by their ids; or print why it says nothing.

    Args:
        ours: the labels of the round.
        table: its label table.
    """
    from nsfast.explore.core import Answers
    from nsfast.labels.predict import predict
    from nsfast.models import default_device
    from nsfast.training.model_file import load_model

    number, pool = ours.stage.round, ours.images.unlabeled
    if not (ours.folder / "model.json").is_file():
        print(f"the student of round {number} is not trained yet, so it says nothing")
        return None
    if len(table) > ASKED:
        print(
            f"the student of round {number} is not asked here, for {len(table):,} pictures are more than {ASKED:,}; "
            f"let it label the next round (iterate.rounds={number + 1})"
        )
        return None
    logits = predict(load_model(ours.folder).to(default_device()), taken(pool.pixels, table.ids))
    whole = logits.softmax(1).numpy()
    place = np.full(len(pool), -1)
    place[table.ids] = np.arange(len(table))
    predicted = np.where(place < 0, -1, whole.argmax(1)[place])
    return Answers(predicted, lambda ids: whole[place[ids]])


def map_of(ours: RoundLabels, table: LabelTable) -> np.ndarray:
    """Return where the teacher of a round lays its pictures on a map, float32 (pictures, 2); nan for none.

    It is made once and kept in `map.npz` of the round, with the teacher's fingerprint.

    Args:
        ours: the labels of the round.
        table: its label table.
    """
    from nsfast.labels.embedding import MOST, flat_map, penultimate
    from nsfast.models import default_device
    from nsfast.pipeline.origin import teacher_folder
    from nsfast.training.model_file import load_model

    path, pool = ours.folder / "map.npz", ours.images.unlabeled
    about = np.array([table.origin.teacher, table.origin.pictures])
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            if np.array_equal(kept["about"], about):
                return kept["map"]
    ids = table.ids
    if len(ids) > MOST:
        ids = np.sort(numpy_stream(0, "map").choice(ids, MOST, replace=False))
    teacher = load_model(teacher_folder(ours.run, ours.stage.round)).to(default_device())
    found = np.full((len(pool), 2), np.nan, np.float32)
    found[ids] = flat_map(penultimate(teacher, taken(pool.pixels, ids)))
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, map=found, about=about)
    return found
