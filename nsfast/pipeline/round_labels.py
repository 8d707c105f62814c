"""The pseudo-labels of a round: what the notebooks 02_labeling and 03_balancing do with the files of a run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import nsfast
from nsfast.errors import NsfastError
from nsfast.files import fingerprint, write_json
from nsfast.images import ImageSet
from nsfast.pipeline.origin import expected_origin, require_same_pictures, teacher_folder
from nsfast.pipeline.stages import Records, Stage

if TYPE_CHECKING:
    from nsfast.labels import Balanced, Balancing, LabelTable
    from nsfast.pipeline.balancing import DecidedPictures
    from nsfast.pipeline.labeling import LabelingJob
    from nsfast.pipeline.profile import Profile


@dataclass(frozen=True)
class RoundLabels:
    """The pseudo-labels of a round.

    Args:
        run: the run folder.
        stage: labeling or balancing, with the parameters in force.
        images: the run's pictures.
        threads: CPU threads of a process.
    """

    run: Path
    stage: Stage
    images: ImageSet
    threads: int = 1

    @property
    def folder(self) -> Path:
        """The folder of the round."""
        return self.run / self.stage.folder

    def job(self) -> LabelingJob:
        """Return what is labeled, as any number of processes can work on it."""
        from nsfast.pipeline.labeling import LabelingJob
        from nsfast.training.model_file import read_about

        teacher, chosen = teacher_folder(self.run, self.stage.round), self.stage.parameters
        known = read_about(teacher)["classes"]
        if tuple(known) != self.images.classes:
            raise NsfastError(
                f"the teacher in {teacher} knows the classes {some(known)}, the pictures have "
                f"{some(self.images.classes)}; train a teacher on these"
            )
        return LabelingJob(
            models=(str(teacher), *chosen["also"]),
            folder=str(self.folder / "labels"),
            run=str(self.run),
            round=self.stage.round,
            top=chosen["top"],
            flip=chosen["flip"],
            batch=chosen["batch_size"],
            shard=chosen["shard_size"],
            workers=chosen["workers"],
            compile=chosen["compile"],
            precision=chosen["precision"],
            pictures=fingerprint(Records(self.run).contents(("images/unlabeled.*",))),
            threads=self.threads,
            noise=chosen["noise"],
        )

    def label(self, job: LabelingJob) -> LabelTable:
        """Label the unlabeled pictures, and those that validate; finished shards are kept.

        Those that are validated or tested on, too, are listed in `labels/leaked.csv`.
        """
        from nsfast.pipeline.after_labeling import find_leaks, say_quarantined
        from nsfast.pipeline.labeling import run_labeling

        labels = run_labeling(job, self.stage.parameters["num_processes"], self.stage.parameters["engine"])
        contents = fingerprint(Records(self.run).contents(("images/validation.*",)))
        job.label_validation(self.images.validation, self.folder / "validation", contents)
        held_out = {"validation": self.images.validation, "test": self.images.test}
        leaks = find_leaks(labels, held_out, self.stage.parameters["near"])
        about = {"teacher": labels.origin.teacher, "round": self.stage.round, "version": nsfast.__version__}
        about |= {"labels": len(labels), "quarantined": len(labels.quarantined), "leaked": leaks}
        write_json(self.folder / "labeling.json", about)
        say_quarantined(labels)
        if leaks:
            where = labels.folder / "leaked.csv"
            print(f"{leaks:,} are validated or tested on, too, and will be left out: {where}")
        return labels

    def labels(self) -> LabelTable:
        """Open the label table, if it is of this round's teacher and of these classes and pictures."""
        from nsfast.labels import read_labels

        found = read_labels(self.folder / "labels")
        found.require(expected_origin(self.run, self.stage, self.images, found.origin))
        require_same_pictures(found, self.images.unlabeled, np.arange(len(self.images.unlabeled)))
        return found

    @cached_property
    def balancing(self) -> Balancing:
        """Return what the stage's parameters ask for, with the temperature that validation asks for."""
        from nsfast.pipeline.balancing import balancing_of

        chosen = self.stage.parameters
        return balancing_of(chosen, self.temperature() if chosen["calibrate"] else 1.0)

    @property
    def decided(self) -> DecidedPictures:
        """What is decided of single pictures by now."""
        from nsfast.labels import read_labels
        from nsfast.pipeline.balancing import decisions_file, decisions_of

        path = decisions_file(self.run, self.stage.parameters["decisions"])
        return decisions_of(read_labels(self.folder / "labels"), path, self.stage.parameters["duplicates"])

    def select(self, labels: LabelTable) -> Balanced:
        """Filter and balance.

        Writes `selection.parquet`, `selection.labels.npy`, `balance.csv`, `balancing.json`, `decisions.csv` and
        `quality.json`.
        """
        from nsfast.labels.quality.quality import write_quality
        from nsfast.pipeline.balancing import balance_table

        balanced = balance_table(labels, self.folder, self.balancing, self.decided)
        write_quality(self.folder / "quality.json", self.quality(labels, self.balancing))
        return balanced

    def quality(self, labels: LabelTable, how: Balancing) -> dict:
        """Return how good the labels are at the thresholds and the temperature of a balancing."""
        from nsfast.labels import read_labels
        from nsfast.labels.calibrate import recalibrated
        from nsfast.labels.quality.quality import quality

        seen, truth = self.validation()
        confidence = seen.confidence if how.temperature == 1 else recalibrated(seen.vectors, how.temperature)
        before = self.run / f"round-{self.stage.round - 1}" / "labels"
        return quality(
            labels,
            self.images.labeled.labels,
            how.threshold,
            before=read_labels(before) if before.is_dir() else None,
            truth=self.images.truth,
            validation=(seen.predicted, confidence, truth),
            thresholds=how.thresholds,
            temperature=how.temperature,
        )

    def validation(self) -> tuple[LabelTable, np.ndarray]:
        """Return the teacher's labels of the validation pictures, and their true classes."""
        from nsfast.labels import read_labels

        labels = read_labels(self.folder / "validation")
        return labels, self.images.validation.labels[labels.ids]

    def temperature(self) -> float:
        """Fit the temperature to the validation pictures, and say what it does to them."""
        from nsfast.labels.calibrate import fit_temperature

        labels, truth = self.validation()
        found = fit_temperature(np.log(np.maximum(labels.vectors.dense(), 1e-7)), truth)
        before, after = f"{found.ece_before:.3f}", f"{found.ece_after:.3f}"
        print(
            f"temperature {found.value:.3f} from {found.n:,} validation pictures, whose calibration error goes from "
            f"{before} to {after} {found.note}".rstrip()
        )
        return found.value


def check_labels(profile: Profile, images: ImageSet, run: Path = Path()) -> None:
    """Raise `NsfastError` for what labeling or balancing in a run folder would refuse, before anything is trained."""
    from nsfast.labels import Origin
    from nsfast.labels.balancing.limits import threshold_codes
    from nsfast.labels.decisions import read_decisions
    from nsfast.pipeline.balancing import balancing_of, decisions_file
    from nsfast.training.model_file import read_about

    labeling, balancing = profile.groups["labeling"], profile.groups["balancing"]
    for folder in labeling["also"]:
        read_about(folder)
    Origin(images.classes, teacher="", top=max(labeling["top"], 0))
    threshold_codes(balancing_of(balancing), images.classes)
    if path := decisions_file(run, balancing["decisions"]):
        read_decisions(path).numbered({}, images.classes)


def job_of_run(run: str | Path, number: int) -> LabelingJob:
    """Return the labeling of a run's round, with the run's parameters; `nsfast run` then finds the labels.

    Raises:
        NsfastError: no run, no such round, pictures that are not prepared, or no teacher yet.
    """
    from nsfast.images import load_images
    from nsfast.pipeline.run_folder import images_stand, read_run
    from nsfast.pipeline.stages import matching, stages_of

    run = Path(run).resolve()
    profile = read_run(run)
    if not 1 <= number <= profile.rounds:
        raise NsfastError(
            f"{run} has {profile.rounds} round(s); give 1 to {profile.rounds} instead of {number}"
        )
    stage = matching(stages_of(profile), f"round-{number}/labeling")[0]
    if not images_stand(run, profile):
        raise NsfastError(
            f"the pictures of {run} are not prepared, or of other data; prepare them with: nsfast run "
            f"{run / 'profile.yaml'} --run {run} --until images"
        )
    return RoundLabels(run, stage, load_images(run / "images"), profile.threads).job()


def some(names) -> str:
    """The first of many names, and how many there are."""
    return ", ".join(map(repr, list(names)[:3])) + (f" ... ({len(names)} in all)" if len(names) > 3 else "")
