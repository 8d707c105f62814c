"""The training of a stage, from what lies in its run folder: the same in a kernel and in worker processes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsfast.errors import NsfastError
from nsfast.files import checksum
from nsfast.images import ImageSet
from nsfast.pipeline.origin import expected_origin, require_same_pictures, teacher_folder
from nsfast.pipeline.stages import Records, Stage

if TYPE_CHECKING:
    import torch

    from nsfast.training import Recipe
    from nsfast.training.learner import PseudoLabeled
    from nsfast.training.processes import Processes
    from nsfast.training.train import Trained


@dataclass(frozen=True)
class TrainingStage:
    """A teacher, control or student to be trained.

    Args:
        run: the run folder.
        stage: which one, with the parameters in force.
        images: the run's pictures.
    """

    run: Path
    stage: Stage
    images: ImageSet

    @property
    def folder(self) -> Path:
        """The stage's folder."""
        return self.run / self.stage.folder

    @property
    def teacher_folder(self) -> Path:
        """The folder of the model that labels in this round."""
        return teacher_folder(self.run, self.stage.round)

    def recipe(self) -> Recipe:
        """Return the stage's parameters as a `Recipe`."""
        from nsfast.training import Recipe

        return Recipe.from_parameters(self.stage.parameters)

    def pseudo_labeled(self) -> PseudoLabeled:
        """Return this round's selected pictures with the teacher's distributions and their copies.

        Raises:
            NsfastError: labels of another teacher, other classes, another preprocessing or other pictures, or a
                selection that was not made from them; in one line that says which differs.
        """
        from nsfast.labels import read_labels
        from nsfast.labels.balancing.selection import about_selection, read_selection
        from nsfast.labels.storage import read_targets
        from nsfast.training.learner import PseudoLabeled

        labels, path = read_labels(self.folder / "labels"), self.folder / "selection.parquet"
        labels.require(expected_origin(self.run, self.stage, self.images, labels.origin))
        if about_selection(path).get("labels") != labels.origin.fingerprint:
            raise NsfastError(f"{path} was made from other labels than {labels.folder}; run balancing again")
        selection = read_selection(path)
        require_same_pictures(labels, self.images.unlabeled, selection.ids)
        targets = self.folder / "selection.labels.npy"
        distributions = read_targets(targets, len(self.images.classes))
        if len(distributions) != len(selection):
            raise NsfastError(
                f"{targets} has {len(distributions):,} rows, the selection beside it {len(selection):,}; run balancing "
                "again"
            )
        pixels = self.images.unlabeled.take(selection.ids).pixels
        return PseudoLabeled(pixels, distributions, selection.copies)

    def train(
        self,
        recipe: Recipe,
        pseudo: PseudoLabeled | None = None,
        processes: Processes | None = None,
    ) -> Trained:
        """Train, or go on from the checkpoint in the stage's folder; nothing but checkpoints is written."""
        from nsfast.training.train import train

        images, parameters = self.images, self.stage.parameters
        start, statistics, source = self._start(recipe)
        inputs: dict[str, Any] = {}
        if processes is None or not processes.rank:  # once, since it reads every picture
            inputs = Records(self.run).contents(self.stage.consumes)
        inputs = inputs if processes is None else processes.first(inputs)
        return train(
            *(recipe, len(images.classes), statistics, images.labeled, images.validation, pseudo),
            folder=self.folder,
            inputs=inputs | ({"start": source} if source else {}),
            start=start,
            workers=parameters["workers"],
            minutes=parameters["checkpoint_minutes"],
            processes=processes,
        )

    def _start(self, recipe: Recipe) -> tuple[dict[str, torch.Tensor] | None, tuple, str]:
        """Return the weights to start from, the statistics that go with them, and what says where they are from."""
        images = self.images
        if recipe.start == "scratch":
            return None, images.statistics(), ""
        from nsfast.models import build_model
        from nsfast.models.weights import load_weights, weights_statistics
        from nsfast.training.model_file import load_model, read_about

        if recipe.start == "teacher":
            if not self.stage.round:
                raise NsfastError(
                    "start is 'teacher', but only a student has one; give a .safetensors file or 'timm'"
                )
            about = read_about(self.teacher_folder)
            for what, theirs, ours in (
                ("architecture", about["architecture"], recipe.architecture),
                ("size", about["size"], recipe.size),
            ):
                if theirs != ours:
                    raise NsfastError(
                        f"start is 'teacher', whose {what} is {theirs!r}, but the student's is {ours!r}; make them "
                        "equal, or set start to 'scratch'"
                    )
            weights = load_model(self.teacher_folder).state_dict()
            return weights, (about["mean"], about["std"]), about["fingerprint"]
        channels = images.channels
        statistics = weights_statistics(recipe.architecture, channels)
        side = recipe.resolution or images.size
        model = build_model(
            *(recipe.architecture, len(images.classes), channels, recipe.size, recipe.dropout, *statistics),
            pixels=side,
        )
        notes = load_weights(model, recipe.start, recipe.architecture)
        for note in notes:
            print(note)
        if not recipe.epochs and any("final layer" in note for note in notes):
            raise NsfastError(
                f"start is {recipe.start!r} and epochs is 0, but its final layer is not for these "
                f"{len(images.classes)} classes, so it would know none of them; train it for some epochs"
            )
        statistics = tuple(v.ravel().tolist() for v in (model.normalize.mean, model.normalize.std))
        source = checksum(recipe.start) if Path(recipe.start).is_file() else recipe.start
        return model.state_dict(), statistics, source

    def to_json(self) -> str:
        """Return run and stage as text, for `from_json` in another process."""
        return json.dumps({"run": str(self.run), "stage": asdict(self.stage)})

    @classmethod
    def from_json(cls, text: str) -> TrainingStage:
        """Open what `to_json` described, with the pictures as they were prepared."""
        from nsfast.images import load_images

        about = json.loads(text)
        stage = {**about["stage"], **{n: tuple(about["stage"][n]) for n in ("needs", "consumes")}}
        run = Path(about["run"])
        return cls(run, Stage(**stage), load_images(run / "images"))
