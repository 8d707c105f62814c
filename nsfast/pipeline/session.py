"""A stage of a run that is being worked on: what its notebook calls."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nsfast.errors import NsfastError
from nsfast.files import read_csv, read_json, write_csv, write_json
from nsfast.images import ImageSet
from nsfast.pipeline.profile import Profile
from nsfast.pipeline.run_folder import lock, prepare_images, remove_leftovers
from nsfast.pipeline.stages import Records, Stage
from nsfast.pipeline.training_stage import TrainingStage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nsfast.analysis.measurement import Measurement
    from nsfast.explore.live.explorer import Explorer
    from nsfast.labels import LabelTable
    from nsfast.labels.balancing.balance import Balanced
    from nsfast.models import Network
    from nsfast.pipeline.round_labels import RoundLabels
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
        whole = getattr(images.labeled.pixels, "whole", True)
        save_model(self.folder, trained, recipe, images.classes, side, teacher, whole)
        columns = ["epoch", "train_loss", "validation_loss", "validation_accuracy"]
        write_csv(self.folder / "history.csv", trained.history, columns)
        network = load_model(self.folder).to(default_device())  # as it labels
        right = predict(network, images.validation.pixels).argmax(1).numpy() == images.validation.labels
        metrics = {"validation_correct": int(right.sum()), "validation_pictures": len(right)}
        write_json(self.folder / "metrics.json", {**metrics, "validation_accuracy": float(right.mean())})
        return trained

    @cached_property
    def round_labels(self) -> RoundLabels:
        """The pseudo-labels of this stage's round."""
        from nsfast.pipeline.round_labels import RoundLabels

        return RoundLabels(self.run, self.stage, self.images, self.profile.threads)

    def label(self) -> LabelTable:
        """Label the unlabeled pictures with this round's teacher; finished shards are kept."""
        job = self.round_labels.job()
        self._begin_to_write()
        return self.round_labels.label(job)

    def labeled_by(self, labels: LabelTable) -> tuple[np.ndarray, np.ndarray | None]:
        """Return pixels and, where it is known, truth of the pictures that have a label, in the order of the labels."""
        pool, truth = self.images.unlabeled, self.images.truth
        pixels = pool.pixels if len(labels) == len(pool) else pool.take(labels.ids).pixels
        return pixels, None if truth is None else truth[labels.ids]

    def labels(self) -> LabelTable:
        """Open this round's label table, if it is of its teacher and of these classes and pictures."""
        return self.round_labels.labels()

    def explorer(self, labels: LabelTable) -> Explorer:
        """Return the explorer of this round's labels, to be balanced with the parameters in force."""
        from nsfast.pipeline.exploring import explorer_of
        from nsfast.pipeline.round_labels import RoundLabels

        of_round = {stage.kind: stage for stage in self.stages if stage.round == self.stage.round}
        of_round[self.stage.kind] = self.stage
        ours = RoundLabels(self.run, of_round["balancing"], self.images, self.profile.threads)
        return explorer_of(ours, labels, of_round["student"])

    def quality(self, labels: LabelTable) -> dict:
        """Return how good the labels are at the threshold that the run balances this round with."""
        from nsfast.pipeline.balancing import balancing_of

        balancing = next(s for s in self.stages if s.kind == "balancing" and s.round == self.stage.round)
        return self.round_labels.quality(labels, balancing_of(balancing.parameters))

    def select(self, labels: LabelTable) -> Balanced:
        """Filter and balance with this stage's parameters; write `selection.parquet` and what goes with it."""
        # people may have decided since the notebook began
        self._fingerprint = self.records.fingerprint(self.stage, self.stages)
        self._begin_to_write()
        return self.round_labels.select(labels)

    def rounds(self) -> list[dict]:
        """Return control, teacher and every student side by side, and write them to `rounds.csv`.

        What a row says of labels (coverage, precision) is of those that reach the threshold that balancing used,
        whatever was decided of single ones; `kept` and `seen` are what this model learned from.
        """
        from nsfast.labels.quality.quality import read_quality

        rows = []
        known = ("precision", "low", "high", "no_class", "in_class_accuracy")
        for number in range(-1, self.parameters["rounds"] + 1):
            folder = {-1: "control", 0: "teacher"}.get(number, f"round-{number}")
            about, metrics = (read_json(self.run / folder / f"{name}.json") for name in ("model", "metrics"))
            name, size = about["architecture"], about["size"]
            row = {"model": f"student {number}" if number > 0 else folder, "round": max(number, 0)}
            row |= {"folder": folder, "network": f"{name} {size}" if name == "small" else name}
            row |= {"parameters": about["parameters"], "validation_accuracy": metrics["validation_accuracy"]}
            row |= dict.fromkeys(("coverage", *known, "estimated_precision", "kept", "seen"), "")
            if number > 0:
                found = read_quality(self.run / folder / "quality.json")
                balanced = read_json(self.run / folder / "balancing.json")
                row |= {"coverage": found["coverage"], "estimated_precision": found["estimate"]["precision"]}
                row |= {name: (found["truth"] or {}).get(name, "") for name in known}
                row |= {name: balanced[name] for name in ("kept", "seen")}
                row = {name: "" if value is None else value for name, value in row.items()}
            rows.append(row)
        self._begin_to_write()
        write_csv(self.folder / "rounds.csv", rows)
        return rows

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

    def measurement(self, models: dict[str, Network]) -> Measurement:
        """Return what is measured of the models' robustness; answers are kept, so that it may be killed."""
        from nsfast.analysis.measurement import Measurement
        from nsfast.robustness.protocol import RobustnessProtocol
        from nsfast.training.model_file import read_about

        folders = {row["model"]: row["folder"] for row in read_csv(self.run / "iterate" / "rounds.csv")}
        about = {name: read_about(self.run / folders[name]) for name in models}
        return Measurement(
            models,
            self.images.test,
            RobustnessProtocol.of(self.parameters),
            self.images.classes,
            control="control",
            teacher="teacher",
            folder=self.folder / "answers",
            fingerprints={name: found["fingerprint"] for name, found in about.items()},
            recipes={name: found["recipe"] for name, found in about.items()},
            seed=self.parameters["seed"],
        )

    def save(
        self,
        name: str,
        rows: list[dict],
        draw: Callable[[list[dict]], Figure] | None = None,
        figure: str = "",
    ) -> Figure | None:
        """Write rows to `tables/<name>.csv`, and what `draw` makes of them to `figures/<figure or name>.png`.

        Nothing is written where there is no row. Returns the figure to be shown.
        """
        self._begin_to_write()
        if not rows:
            return None
        write_csv(self.folder / "tables" / f"{name}.csv", rows)
        return self._write_figure(figure or name, draw(rows)) if draw else None

    def show(self, measured: Measurement, *names: str) -> Figure | None:
        """Write tables and figures of a measurement, each where there is such a one; return the last figure."""
        from nsfast.analysis.measured_figures import FIGURES, figure_of
        from nsfast.analysis.measurement import TABLES

        self._begin_to_write()
        figure = None
        for name in names:
            if name in TABLES and measured.table(name):
                write_csv(self.folder / "tables" / f"{name}.csv", measured.table(name))
            drawn = figure_of(measured, name) if name in FIGURES else None
            figure = self._write_figure(name, drawn) if drawn else figure
        return figure

    def _write_figure(self, name: str, figure: Figure) -> Figure:
        from nsfast.files import atomic

        with atomic(self.folder / "figures" / f"{name}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=130)
        return figure

    def finish(self) -> None:
        """Seal the stage: its record is written, and the stages behind it may read what it left."""
        self.records.finish(self.stage, self._fingerprint, time.monotonic() - self._begun)
        for checkpoint in self.folder.glob("checkpoint-*.safetensors"):
            checkpoint.unlink()
        self._lock.release(force=True)
        if not under_runner():
            print(f"{self.stage.name} is finished: {self.folder}")
