"""Training (Ray Train) and labeling (Ray Data) by the processes of a Ray cluster: pip install 'nsfast[ray]'."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nsfast.errors import NsfastError
from nsfast.pipeline.train_process import train_stage
from nsfast.pipeline.training_stage import TrainingStage

if TYPE_CHECKING:
    from nsfast.pipeline.labeling import LabelingJob


def train_with_ray(training: TrainingStage, count: int) -> None:
    """Train with `count` processes of the cluster that RAY_ADDRESS names, or of this machine; GPUs where it has any.

    The run folder must be on a drive that all its machines share, under the same path. Where no cluster runs, Ray is
    started on this machine, and ended afterwards.

    Raises:
        NsfastError: Ray is not installed, its cluster has too little free, or what stopped one of the processes.
    """
    with _cluster(count) as use_gpu:
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        results = training.folder / ".ray"  # Ray's own notes, on the shared drive, too
        trainer = TorchTrainer(
            work,
            train_loop_config={"training": training.to_json()},
            scaling_config=ScalingConfig(num_workers=count, use_gpu=use_gpu),
            run_config=RunConfig(name="nsfast", storage_path=str(results.resolve())),
        )
        try:
            trainer.fit()
        except Exception as error:
            raise NsfastError(_what_stopped_it(error, f"training with {count} processes of Ray")) from None
        finally:
            shutil.rmtree(results, ignore_errors=True)


def label_with_ray(job: LabelingJob, count: int) -> None:
    """Label with `count` processes of the cluster that RAY_ADDRESS names, or of this machine; GPUs where it has any.

    Models, pictures and the label table must be on a drive that all its machines share, under the same paths.

    Raises:
        NsfastError: as `train_with_ray`.
    """
    with _cluster(count) as use_gpu:
        import ray

        ray.data.DataContext.get_current().enable_progress_bars = False
        ranks = ray.data.range(count, override_num_blocks=count)
        needs = {"num_gpus": 1} if use_gpu else {"num_cpus": 1}
        try:
            ranks.map(
                label_as, fn_kwargs={"job": job.to_json(), "processes": count}, concurrency=count, **needs
            ).materialize()
        except Exception as error:
            raise NsfastError(_what_stopped_it(error, f"labeling with {count} processes of Ray")) from None


def label_as(row: dict[str, int], job: str, processes: int) -> dict[str, int]:
    """Label as one of the processes that Ray Data has started; the row says which."""
    from nsfast.pipeline.labeling import LabelingJob

    os.environ.pop("NSFAST_PROGRESS", None)  # of another machine, maybe
    LabelingJob.from_json(job).label(int(row["id"]), processes)
    return row


@contextmanager
def _cluster(count: int) -> Iterator[bool]:
    """Join Ray's cluster, or start one on this machine meanwhile; give whether its processes have GPUs."""
    try:
        import ray
        import ray.data
        import ray.train.torch
    except ImportError as error:
        raise NsfastError(
            f"engine is 'ray', but Ray is not installed ({error}); pip install 'nsfast[ray]', or set engine to 'local'"
        ) from None
    ours = not ray.is_initialized()
    if ours:
        ray.init(logging_level="warning")
    try:
        free = ray.cluster_resources()
        kind = "GPU" if free.get("GPU", 0) > 0 else "CPU"
        if free.get(kind, 0) < count:
            raise NsfastError(
                f"num_processes is {count}, but Ray's cluster has {free.get(kind, 0):g} {kind}s, and each process "
                "needs one; lower it, or add machines"
            )
        yield kind == "GPU"
    finally:
        if ours:
            ray.shutdown()


def work(job: dict[str, str]) -> None:
    """Train as one of the processes that Ray has started and joined."""
    from nsfast.training.processes import join_processes

    os.environ.pop("NSFAST_PROGRESS", None)  # of another machine, maybe
    train_stage(TrainingStage.from_json(job["training"]), join_processes())


def _what_stopped_it(error: Exception, what: str) -> str:
    """The line of the process that failed; Ray hands it on within its own error, which fills a screen."""
    failures = [*getattr(error, "worker_failures", {}).values(), error.__cause__]
    for failure in failures:
        if isinstance(failure, NsfastError):
            return str(getattr(failure, "cause", failure))
    said = next((failure for failure in failures if failure is not None), error)
    last = str(said).strip().splitlines() or [""]
    return f"{what} failed: {type(said).__name__}: {last[-1]}; its log is above"
