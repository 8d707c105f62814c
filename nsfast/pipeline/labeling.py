"""Labeling as a job that any number of processes work on: those of a run's stage, or of `nsfast label`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nsfast.errors import NsfastError, choice, within
from nsfast.files import write_json
from nsfast.pipeline.profile import ENGINES

if TYPE_CHECKING:
    from nsfast.images import Split
    from nsfast.images.index import PictureIndex
    from nsfast.labels import LabelTable, Origin

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class LabelingJob:
    """What is labeled, by whom, and where the label table goes.

    Args:
        models: folders of the teacher's model file, and of others that it is averaged with.
        folder: where the label table goes; on a drive that all machines share.
        run: run folder whose unlabeled pictures are labeled, "" for `source`.
        source: folder of pictures and .tar shards, a .tar, or a .npy of uint8 pictures.
        round: 1 for the first.
        top: how many of the likeliest classes are kept; 0 for all, -1 for all of up to 100 classes and 10 of more.
        flip: average over the pictures and their mirror images.
        batch: pictures in a forward pass, 0 for as many as fit the resolution.
        shard: pictures in a Parquet file.
        workers: threads that decode.
        compile: compile the networks.
        precision: "float32", "bfloat16", or "auto", which is bfloat16 on a GPU; weights and probabilities stay float32.
        held_out: folders of pictures that are validated or tested on: those among the unlabeled are found and dropped.
        pictures: fingerprint of the run's unlabeled pictures.
        threads: CPU threads of a process.
        noise: noise the teachers as in their training, for the paper's ablation; Noisy Student does not.
    """

    models: tuple[str, ...]
    folder: str
    run: str = ""
    source: str = ""
    round: int = 1
    top: int = -1
    flip: bool = False
    batch: int = 0
    shard: int = 65536
    workers: int = 2
    compile: bool = False
    precision: str = "auto"
    held_out: tuple[str, ...] = ()
    pictures: str = ""
    threads: int = 1
    noise: bool = False

    def label(self, rank: int | None = None, processes: int | None = None) -> LabelTable:
        """Label as one of several processes, or alone; return the whole table when all of it is there.

        Raises:
            NsfastError: a model or the pictures are missing, models of different classes, a full disk.
        """
        from nsfast.labels.labeling.label import label

        _choose_device(rank)
        networks, pictures = self.networks(), self._pictures()
        return label(
            *(networks, pictures, self.origin(networks, pictures), self.folder),
            batch=self.batch,
            shard=self.shard,
            compile=self.compile,
            flip=self.flip,
            workers=self.workers,
            rank=rank,
            processes=processes,
            replace=bool(self.run),
        )

    def origin(self, networks: list, pictures: Split | PictureIndex) -> Origin:
        """Return what the label table will say of itself."""
        from nsfast.labels import Origin
        from nsfast.labels.labeling.teachers import preprocessing_of
        from nsfast.pipeline.origin import noise_of
        from nsfast.training.model_file import read_about
        from nsfast.training.targets import usual_top

        abouts = [read_about(folder) for folder in self.models]
        classes = tuple(abouts[0]["classes"])
        top = usual_top(len(classes)) if self.top < 0 else self.top
        return Origin(
            classes=classes,
            teacher="+".join(about["fingerprint"] for about in abouts),
            round=self.round,
            preprocessing=preprocessing_of(networks, pictures, self.flip)
            | (noise_of(abouts, self.batch) if self.noise else {}),
            top=top,
            pictures=self.pictures or getattr(pictures, "fingerprint", ""),
        )

    def check(self) -> None:
        """Raise `NsfastError` for what can be told to be wrong before anything is loaded."""
        from nsfast.training.model_file import read_about

        within("shard_size", self.shard, 1)
        within("batch_size", self.batch, 0)
        within("workers", self.workers, 1)
        within("top", self.top, -1)
        choice("precision", self.precision, PRECISIONS)
        first, *others = [read_about(folder) for folder in self.models]
        for folder, about in zip(self.models[1:], others, strict=True):
            for what in ("classes", "channels"):
                if about[what] != first[what]:
                    raise NsfastError(
                        f"the {what} of {folder} are not those of {self.models[0]}; teachers that label together "
                        "must know the same"
                    )
        for source in (self.source, *self.held_out):
            if source and not Path(source).exists():
                raise NsfastError(f"no pictures: {source} does not exist")
        if Path(self.folder).exists() and not Path(self.folder).is_dir():
            raise NsfastError(f"{self.folder} is a file; give a folder for the label table")
        if self.noise and self.compile:
            raise NsfastError("a noised teacher cannot be compiled; set compile or noise to False")
        if len(set(self.models)) < len(self.models):
            raise NsfastError(
                f"{self.models[-1]} is to be averaged with itself; give other models with --also"
            )

    def label_validation(self, validation: Split, folder: str | Path, contents: str) -> LabelTable:
        """Label the validation pictures in the same way, to tell how far the labels of others may be trusted.

        Args:
            validation: the pictures.
            folder: where the table goes.
            contents: fingerprint of the pictures.
        """
        from nsfast.labels.labeling.label import label

        networks = self.networks()
        origin = replace(self.origin(networks, validation), pictures=contents)
        rest = {"batch": self.batch, "flip": self.flip, "workers": self.workers}
        return label(
            networks, validation, origin, folder, **rest, rank=0, processes=1, contents=False, replace=True
        )

    def held_out_pictures(self) -> dict[str, Split]:
        """Return the pictures of the `held_out` folders, none of them decoded."""
        from nsfast.pipeline.label_sources import held_out_pictures
        from nsfast.training.model_file import read_about

        return held_out_pictures(self.held_out, read_about(self.models[0]), self.workers)

    def networks(self) -> list:
        """Load the teachers, with averaged weights, as they compute when they label."""
        import torch

        from nsfast.models import default_device
        from nsfast.training.model_file import load_model

        torch.set_num_threads(self.threads)
        device = default_device()
        found = [load_model(folder).to(device) for folder in self.models]
        for network in found:
            if self.precision == "bfloat16" or (self.precision == "auto" and device.type == "cuda"):
                network.lay_out(device, "bfloat16")
            else:
                network.autocast = None
        if self.noise:
            from nsfast.training.model_file import read_about
            from nsfast.training.noised import Noised
            from nsfast.training.recipe import Recipe

            recipes = [Recipe.from_parameters(read_about(folder)["recipe"]) for folder in self.models]
            return [Noised(network, recipe) for network, recipe in zip(found, recipes, strict=True)]
        return found

    def _pictures(self) -> Split | PictureIndex:
        if self.run:
            from nsfast.images import load_images

            return load_images(Path(self.run) / "images").unlabeled
        from nsfast.pipeline.label_sources import open_source
        from nsfast.training.model_file import read_about

        path = Path(self.folder) / "files.parquet"
        return open_source(self.source, path, read_about(self.models[0]), self.workers)

    def to_json(self) -> str:
        """Return the job as text, for `from_json` in another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> LabelingJob:
        """Return what `to_json` described."""
        about = json.loads(text)
        return cls(**{**about, **{name: tuple(about[name]) for name in ("models", "held_out")}})


def _choose_device(rank: int | None) -> None:
    """Give each process of a machine its own GPU, where it has any."""
    import torch

    if torch.cuda.is_available():
        place = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", rank or 0)))
        torch.cuda.set_device(place % torch.cuda.device_count())


def run_labeling(job: LabelingJob, processes: int = 1, engine: str = "local") -> LabelTable:
    """Label with several processes of this machine, or of a Ray cluster, and return the table.

    Raises:
        NsfastError: as `LabelingJob.check` and `label`; Ray is not installed.
    """
    from nsfast.labels import read_labels

    choice("engine", engine, ENGINES)
    within("num_processes", processes, 1)
    job.check()
    if engine == "ray":
        from nsfast.pipeline.ray_engine import label_with_ray

        label_with_ray(job, processes)
        return read_labels(job.folder)
    if processes == 1:
        return job.label()
    with _others(job, processes):
        return job.label(0, processes)


@contextmanager
def _others(job: LabelingJob, processes: int) -> Iterator[None]:
    """Run the other processes meanwhile; what one of them leaves undone the first one does."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as files:
        path, started = Path(name) / "job.json", {}
        write_json(path, job.to_json())
        try:
            for rank in range(1, processes):
                environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(processes)}
                environment.pop("NSFAST_PROGRESS", None)
                command = [sys.executable, "-m", "nsfast.pipeline.label_process", str(path)]
                stderr = files.enter_context(open(Path(name) / f"stderr-{rank}", "w+b"))
                started[rank] = (
                    subprocess.Popen(
                        command,
                        env=environment,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.DEVNULL,
                        stderr=stderr,
                    ),
                    stderr,
                )
            yield
        finally:
            for rank, (process, stderr) in started.items():
                if process.poll():
                    stderr.seek(0)
                    said = stderr.read().decode("utf-8", "replace").strip().splitlines()
                    why = said[-1] if said else f"exit code {process.returncode}"
                    print(
                        f"warning: process {rank} of {processes} ended early ({why}); the others did its part"
                    )
                process.stdin.close()  # a process ends when its standard input does
                process.wait()
