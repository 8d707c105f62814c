"""A stage of a run that is being worked on: what its notebook calls."""

from __future__ import annotations

import os
import shutil
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import nsfast
from nsfast.errors import NsfastError
from nsfast.files import fingerprint, read_csv, read_json, write_csv, write_json
from nsfast.images import ImageSet, Split
from nsfast.pipeline.profile import Profile
from nsfast.pipeline.run_folder import lock, prepare_images, remove_leftovers
from nsfast.pipeline.stages import Records, Stage
from nsfast.pipeline.training_stage import TrainingStage
from nsfast.streams import hash_order

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nsfast.labels import LabelTable, Selection
    from nsfast.models import Network
    from nsfast.training import Recipe
    from nsfast.training.learner import PseudoLabeled
    from nsfast.training.train import Trained


def under_runner() -> bool:
    """Whether `nsfast run` executes this notebook (else a person or plain papermill does)."""
    return os.environ.get("NSFAST_RUNNER") == "1"


class Session:
    """A stage of a run that is being worked on.

    `run` is the run folder, `folder` the stage's, `parameters` the values in force (typed and checked), `images` the
    image set, `profile` the run's.
    """

    def __init__(self, run: Path, profile: Profile, stages: list[Stage], stage: Stage):
        self.run, self.profile, self.stages, self.stage = run, profile, stages, stage
        self.folder, self.parameters = run / stage.folder, stage.parameters
        self.records = Records(run)
        busy = f"{self.folder} is being worked on by another process; wait for it to end, or stop it"
        self._lock = lock(self.folder / ".lock", 60, busy)
        remove_leftovers(self.folder)
        self._fingerprint = self.records.fingerprint(stage, stages)
        self._begun, self._writing = time.monotonic(), False

    def _begin_to_write(self) -> None:
        """From here on what the stage left before is replaced, so its record is taken out."""
        if not self._writing:
            self.records.forget(self.stage)
            if self.stage.kind == "analysis":
                for name in ("tables", "figures"):
                    shutil.rmtree(self.folder / name, ignore_errors=True)
            self._writing = True

    @cached_property
    def images(self) -> ImageSet:
        """The run's pictures."""
        return prepare_images(self.run, self.profile)

    @cached_property
    def training(self) -> TrainingStage:
        """The stage as something to be trained."""
        return TrainingStage(self.run, self.stage, self.images)

    @property
    def teacher_folder(self) -> Path:
        """The folder of the model that labels in this round."""
        return self.training.teacher_folder

    def recipe(self) -> Recipe:
        """Return the stage's parameters as a `Recipe`."""
        return self.training.recipe()

    def pseudo_labeled(self) -> PseudoLabeled:
        """Return this round's selected pictures with the teacher's distributions and their copies."""
        return self.training.pseudo_labeled()

    def train(self, recipe: Recipe, pseudo: PseudoLabeled | None = None) -> Trained:
        """Train on the run's pictures, write the model file and the history, return the `Trained` network.

        Args:
            recipe: a `Recipe`.
            pseudo: selected pseudo-labels (`PseudoLabeled`), for a student.
        """
        from nsfast.labels.predict import predict
        from nsfast.models import default_device
        from nsfast.pipeline.launch import launch
        from nsfast.training.model_file import load_model, read_about, save_model

        self._begin_to_write()
        images = self.images
        if pseudo is not None:
            self._check_size(recipe)
        launch(self.training, recipe)  # nothing, for a single process: the next line trains
        trained = self.training.train(recipe, pseudo)
        teacher = read_about(self.teacher_folder)["fingerprint"] if pseudo is not None else None
        side = recipe.finetune_resolution if recipe.finetune_epochs else 0
        side = side or recipe.resolution or images.size
        save_model(self.folder, trained, recipe, images.classes, side, teacher)
        columns = ["epoch", "train_loss", "validation_loss", "validation_accuracy"]
        write_csv(self.folder / "history.csv", trained.history, columns)
        network = load_model(self.folder).to(default_device())  # as it labels
        right = predict(network, images.validation.pixels).argmax(1).numpy() == images.validation.labels
        metrics = {"validation_correct": int(right.sum()), "validation_pictures": len(right)}
        write_json(self.folder / "metrics.json", {**metrics, "validation_accuracy": float(right.mean())})
        return trained

    def label(self, teacher: Network, batch_size: int, shard_size: int, compile: bool = False) -> LabelTable:
        """Label the unlabeled pictures with a teacher and return the table; finished shards are kept."""
        from nsfast.labels.predict import label
        from nsfast.models import default_device
        from nsfast.training.model_file import read_about

        known = read_about(self.teacher_folder)
        if tuple(known["classes"]) != self.images.classes:
            raise NsfastError(
                f"the teacher in {self.teacher_folder} knows the classes {_some(known['classes'])}, the pictures have "
                f"{_some(self.images.classes)}; train a teacher on these"
            )
        about = {"teacher": known["fingerprint"], "round": str(self.stage.round)}
        self._begin_to_write()
        about["version"] = nsfast.__version__
        about["pictures"] = fingerprint(self.records.contents(("images/unlabeled.*",)))
        where = self.folder / "labels"
        pool = self.images.unlabeled
        if hasattr(pool.pixels, "crops"):
            pool.pixels.workers = self.parameters["workers"]
        labels = label(
            *(teacher.to(default_device()), pool, self.images.classes, where, about),
            *(batch_size, shard_size, compile),
        )
        write_json(self.folder / "labeling.json", {**about, "labels": len(labels)})
        return labels

    def select(self, labels: LabelTable) -> Selection:
        """Filter and balance with this stage's parameters; write `selection.parquet` and `balance.csv`."""
        from nsfast.labels import class_counts, select, write_selection

        chosen = {name: self.parameters[name] for name in ("threshold", "per_class", "method", "seed")}
        selection = select(labels, **chosen)
        self._begin_to_write()
        write_selection(self.folder / "selection.parquet", selection)
        counts = class_counts(labels, selection, chosen["threshold"])
        write_csv(self.folder / "balance.csv", counts)
        if unseen := [row["class"] for row in counts if not row["seen"]]:
            print(
                f"warning: no pseudo-label of {', '.join(unseen)} reaches {chosen['threshold']:g}; none is seen"
            )
        return selection

    def rounds(self) -> list[dict]:
        """Return control, teacher and every student side by side, and write them to `rounds.csv`.

        What a row says of labels (coverage, precision, pictures kept) is of those that this model learned from.
        """
        from nsfast.analysis.evaluate import label_row
        from nsfast.labels import read_labels, read_selection

        rows = []
        known = ("coverage", "precision", "low", "high", "no_class", "in_class_accuracy")
        for number in range(-1, self.parameters["rounds"] + 1):
            folder = {-1: "control", 0: "teacher"}.get(number, f"round-{number}")
            about, metrics = (read_json(self.run / folder / f"{name}.json") for name in ("model", "metrics"))
            name, size = about["architecture"], about["size"]
            row = {"model": f"student {number}" if number > 0 else folder, "round": max(number, 0)}
            row |= {"folder": folder, "network": f"{name} {size}" if name == "small" else name}
            row |= {"parameters": about["parameters"], "validation_accuracy": metrics["validation_accuracy"]}
            row |= dict.fromkeys((*known, "kept", "seen"), "")
            if number > 0:
                labels = read_labels(self.run / folder / "labels")
                found = label_row(labels, self._threshold(number), self.images.truth)
                selection = read_selection(self.run / folder / "selection.parquet")
                row |= {name: found[name] for name in known if name in found}
                row |= {"kept": len(selection), "seen": int(selection.copies.sum())}
            rows.append(row)
        self._begin_to_write()
        write_csv(self.folder / "rounds.csv", rows)
        return rows

    def _threshold(self, number: int) -> float:
        """The threshold that balancing used in a round."""
        balancing = next(s for s in self.stages if s.kind == "balancing" and s.round == number)
        return (self.records.entry(balancing) or {"parameters": balancing.parameters})["parameters"][
            "threshold"
        ]

    def _check_size(self, recipe: Recipe) -> None:
        """Refuse a student smaller than its teacher unless that is asked for."""
        from nsfast.models import parameter_count
        from nsfast.training.model_file import read_about

        shape = (len(self.images.classes), self.images.channels)
        count, teacher = (
            parameter_count(recipe.architecture, *shape, recipe.size, recipe.resolution or self.images.size),
            read_about(self.teacher_folder),
        )
        if count < teacher["parameters"] and not self.parameters["allow_smaller"]:
            raise NsfastError(
                f"the student has {count:,} parameters, its teacher {teacher['parameters']:,}; make it equal or "
                "larger, or set allow_smaller"
            )

    def models(self) -> dict[str, Network]:
        """Return every model of the run by name: control, teacher, "student 1", ... with averaged weights."""
        from nsfast.models import default_device
        from nsfast.training.model_file import load_model

        rows = read_csv(self.run / "iterate" / "rounds.csv")
        return {row["model"]: load_model(self.run / row["folder"]).to(default_device()) for row in rows}

    def some_test_pictures(self, most: int) -> Split:
        """Return at most `most` test pictures, drawn by id."""
        test = self.images.test
        rows = np.sort(np.argsort(hash_order(test.ids, self.parameters["seed"], "test pictures"))[:most])
        taken = test.take(rows)  # in memory, at the set's size: what is corrupted begins as what is not
        return Split(taken.ids, np.asarray(taken.pixels), taken.labels)

    def save(self, name: str, rows: list[dict], figure: tuple[str, Figure]) -> Figure:
        """Write rows to `tables/<name>.csv` and a figure to `figures/<its name>.png`; return the figure to be shown."""
        from nsfast.files import atomic

        self._begin_to_write()
        write_csv(self.folder / "tables" / f"{name}.csv", rows)
        with atomic(self.folder / "figures" / f"{figure[0]}.png") as temporary:
            figure[1].savefig(temporary, format="png", dpi=130)
        return figure[1]

    def finish(self) -> None:
        """Seal the stage: its record is written, and the stages behind it may read what it left."""
        self.records.finish(self.stage, self._fingerprint, time.monotonic() - self._begun)
        for checkpoint in self.folder.glob("checkpoint-*.safetensors"):
            checkpoint.unlink()
        self._lock.release(force=True)
        if not under_runner():
            print(f"{self.stage.name} is finished: {self.folder}")


def _some(names) -> str:
    """The first of many names, and how many there are."""
    return ", ".join(map(repr, list(names)[:3])) + (f" ... ({len(names)} in all)" if len(names) > 3 else "")
