"""What a run costs, before anything starts: steps, pictures, time, memory, disk, and money where a price is given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from nsfast.errors import within
from nsfast.pipeline.cost.footprint import (
    checkpoint_bytes,
    label_bytes,
    labeling_memory,
    model_bytes,
    training_memory,
)
from nsfast.pipeline.cost.picture_counts import PictureCounts, picture_counts
from nsfast.pipeline.cost.work import (
    DECODED_BY_A_CORE,
    FORWARDS_OF_A_STEP,
    NetworkAt,
    TrainingWork,
    selected_pictures,
    tested_network,
    trainings_of,
)
from nsfast.pipeline.profile import Profile
from nsfast.pipeline.stages import Stage, stages_of
from nsfast.robustness.protocol import RobustnessProtocol

# seconds of a stage beside its steps and forward passes (process, kernel, imports, figures, model file): a run of the
# digits on a quiet AMD EPYC with one thread, 2026-11-24, labeling and balancing 2026-11-25; "images" is the start of
# the command and the pictures
NOTEBOOK_SECONDS = {
    **{"images": 5.0, "teacher": 8.4, "labeling": 7.4, "balancing": 6.6},
    **{"student": 8.7, "iterate": 5.0, "analysis": 3.5},
}
FRAMES = 31  # of a perturbation sequence
DECODING_THREADS = 2  # of the analysis, as `PictureFiles` has them where nobody says
CHECKPOINTS = 2  # the last one, and the one before it


class Speed(Protocol):
    """How fast something is: `CardSpeed`, from public figures, or `Probe`, measured on this machine.

    `where` names it, `memory` are the bytes of a device (None: unknown), `beside` is how many stages may run at once
    without sharing a device or a core, and `sources` collects, as keys, where each figure is from.
    """

    where: str
    memory: int | None
    beside: int
    sources: dict[str, None]

    def step(self, work: TrainingWork) -> float:
        """Return the seconds of an optimizer step."""

    def look(self, network: NetworkAt, precision: str = "float32") -> float:
        """Return the seconds of a forward pass over a picture."""

    def epoch_end(self, work: TrainingWork) -> float:
        """Return the seconds at the end of an epoch, beside validation."""

    def slowness(self) -> float:
        """Return how slowly notebooks start, of where they were clocked."""


@dataclass(frozen=True)
class Cost:
    """What a stage, or one fit of it, takes.

    Args:
        stage: its name, with the name of the fit where there are several.
        network: what it trains or labels with, None for neither.
        steps: optimizer steps.
        pictures: labeled and pseudo-labeled pictures seen, or labeled by the teacher.
        multiply_adds: of all of that, three forward passes for a picture that is trained on.
        seconds: of wall time.
        memory: bytes on each device.
        kept, passing: bytes on the disk that stay, and that are there while it runs.
        work: the fit.
    """

    stage: str
    network: NetworkAt | None = None
    steps: int = 0
    pictures: int = 0
    multiply_adds: int = 0
    seconds: float = 0.0
    memory: int = 0
    kept: int = 0
    passing: int = 0
    work: TrainingWork | None = None


@dataclass(frozen=True)
class Costs:
    """What a run costs.

    Args:
        profile: whose run.
        counts: its pictures.
        rows: in the order in which the stages run.
        seconds: of wall time, with the stages beside each other that may be.
        count: devices.
        price: of a device for an hour, None where nobody said.
        speed: what the seconds are of.
    """

    profile: Profile
    counts: PictureCounts
    rows: tuple[Cost, ...]
    seconds: float
    count: int
    price: float | None
    speed: Speed

    @property
    def hours(self) -> float:
        """Device-hours: all devices are held as long as the run takes."""
        return self.seconds * self.count / 3600

    @property
    def disk(self) -> int:
        """The most bytes that lie on the disk at once."""
        return sum(row.kept for row in self.rows) + max(row.passing for row in self.rows)


def costs(
    profile: Profile,
    gpu: str | None = None,
    count: int | None = None,
    price: float | None = None,
    run: str | Path | None = None,
    jobs: int | None = None,
    speed: Speed | None = None,
) -> Costs:
    """Return what a run of the profile costs; without `gpu` this machine is tried, for about a minute.

    Args:
        gpu: a card of `cards.MEMORY`, whose speed is taken from public figures.
        count: of devices, which train together; by default what the stages' `num_processes` says.
        price: of a device for an hour, in any money.
        run: a run folder, whose prepared pictures are counted where there are any.
        jobs: stages that may run at once; the profile's by default.
        speed: instead of a probe or a card.

    Raises:
        NsfastError: an unknown card, a number out of range, pictures that cannot be counted, or a network that is too
            large to be tried here.
    """
    within("count", 1 if count is None else count, 1)
    within("price", price or 0, 0)
    counts, stages = picture_counts(profile, run), stages_of(profile)
    works = {
        s.name: trainings_of(profile, s, counts, count) for s in stages if s.kind in ("teacher", "student")
    }
    devices = max([work.processes for fits in works.values() for work in fits], default=count or 1)
    speed = speed or _speed(profile, gpu, devices, works)
    pictures = Cost("pictures", seconds=_notebook("images", speed), kept=counts.prepared_bytes)
    rows: dict[str, list[Cost]] = {"pictures": [pictures]}
    for stage in stages:
        rows[stage.name] = _rows(profile, stage, stages, counts, works, speed)
    seconds = {name: sum(row.seconds for row in found) for name, found in rows.items()}
    whole = seconds["pictures"] + time_together(stages, seconds, min(jobs or profile.jobs, speed.beside))
    flat = tuple(row for found in rows.values() for row in found)
    return Costs(profile, counts, flat, whole, devices, price, speed)


def _speed(profile: Profile, gpu: str | None, count: int, works: dict[str, list[TrainingWork]]) -> Speed:
    from nsfast.pipeline.cost.cards import CardSpeed

    if gpu is not None:
        return CardSpeed(gpu, count)
    from nsfast.pipeline.cost.probe import Probe, tried

    distinct = {tried(work) for fits in works.values() for work in fits}
    seconds = min(3.0, 40 / max(1, len(distinct)))
    return Probe(profile.threads, seconds, profile.groups["labeling"]["batch_size"])


def _notebook(kind: str, speed: Speed) -> float:
    return NOTEBOOK_SECONDS[kind] * speed.slowness()


def _rows(
    profile: Profile,
    stage: Stage,
    stages: list[Stage],
    counts: PictureCounts,
    works: dict[str, list[TrainingWork]],
    speed: Speed,
) -> list[Cost]:
    around = _notebook(stage.kind, speed)
    if stage.name in works:
        found = [_training(stage, work, counts, speed) for work in works[stage.name]]
        found = found or [Cost(stage.name, tested_network(stage, counts))]  # takes weights as they are
        found[0] = replace(found[0], seconds=found[0].seconds + around)
        found[-1] = replace(found[-1], kept=model_bytes(tested_network(stage, counts)))
        return found
    if stage.kind == "labeling":
        return [_labeling(profile, stage, stages, counts, speed, around)]
    if stage.kind == "balancing":
        most = min(counts.unlabeled, selected_pictures(profile, counts))
        return [Cost(stage.name, seconds=around, kept=most * label_bytes(counts.classes))]
    if stage.kind == "analysis":
        return [_analysis(stage, stages, counts, speed, around)]
    return [Cost(stage.name, seconds=around)]


def _training(stage: Stage, work: TrainingWork, counts: PictureCounts, speed: Speed) -> Cost:
    name = stage.name if work.phase.name == "joint" else f"{stage.name}: {work.phase.name}"
    recipe, network = work.recipe, work.network
    validation = counts.validation * speed.look(network, recipe.precision) / work.processes
    return Cost(
        stage=name,
        network=network,
        steps=work.steps,
        pictures=work.pictures,
        multiply_adds=work.multiply_adds,
        seconds=work.steps * speed.step(work) + recipe.epochs * (validation + speed.epoch_end(work)),
        memory=sum(training_memory(work, counts).values()),
        passing=CHECKPOINTS * checkpoint_bytes(network, recipe, work.phase.frozen),
        work=work,
    )


def _labeling(
    profile: Profile, stage: Stage, stages: list[Stage], counts: PictureCounts, speed: Speed, around: float
) -> Cost:
    """A teacher looks at every unlabeled picture once, in `labeling.num_processes` processes."""
    folder = "teacher" if stage.round == 1 else f"round-{stage.round - 1}"
    teacher = next(s for s in stages if s.folder == folder and s.kind in ("teacher", "student"))
    network, precision = tested_network(teacher, counts), teacher.parameters["precision"]
    share = counts.unlabeled / stage.parameters["num_processes"]
    pictures = share + 2 * counts.validation  # is it better than chance, and how far may it be trusted
    return Cost(
        stage=stage.name,
        network=network,
        pictures=counts.unlabeled,
        multiply_adds=network.multiply_adds * counts.unlabeled,
        seconds=around + pictures * look_at(counts, speed, network, precision, stage.parameters["workers"]),
        memory=labeling_memory(network, stage.parameters["batch_size"], precision),
        kept=counts.unlabeled * label_bytes(counts.classes),
    )


def _analysis(stage: Stage, stages: list[Stage], counts: PictureCounts, speed: Speed, around: float) -> Cost:
    """Every model looks at the test pictures, and at some of them corrupted, perturbed and attacked."""
    models = [s for s in stages if s.kind in ("teacher", "student")]
    looks = robustness_looks(RobustnessProtocol.of(stage.parameters), counts.test)
    pictures, done, seconds = 0, 0, around
    for model in models:
        network, precision = tested_network(model, counts), model.parameters["precision"]
        pictures += counts.test + looks
        done += (counts.test + looks) * network.multiply_adds
        seconds += counts.test * look_at(counts, speed, network, precision)
        seconds += looks * speed.look(network, precision)  # decoded before they are changed
    return Cost(stage.name, pictures=pictures, multiply_adds=done, seconds=seconds)


def robustness_looks(protocol: RobustnessProtocol, test: int) -> int:
    """Return how many forward passes of a picture a model's robustness takes; a gradient counts as three."""
    few = min(protocol.pictures, test)
    looks = few * len(protocol.corruptions) * len(protocol.severities)
    looks += min(protocol.sequences, test) * FRAMES * len(protocol.perturbations)
    steps = {"fgsm": 1, "pgd": protocol.steps * protocol.restarts}
    gradients = sum(steps[name] for name in protocol.attacks) * len(protocol.epsilons) + sum(protocol.sweep)
    return looks + min(protocol.attacked, test) * FORWARDS_OF_A_STEP * gradients


def look_at(
    counts: PictureCounts, speed: Speed, network: NetworkAt, precision: str, threads: int = DECODING_THREADS
) -> float:
    """Return the seconds that labeling takes for a picture: the network's, or the decoding's where this is slower."""
    decoding = 1 / (threads * DECODED_BY_A_CORE) if counts.as_files else 0.0
    return max(decoding, speed.look(network, precision))


def time_together(stages: list[Stage], seconds: dict[str, float], jobs: int) -> float:
    """Return how long stages take when `jobs` of them may run at once, each as soon as those it needs have ended.

    Args:
        stages: in order; of those that may begin, the first does.
        seconds: of each, by name.
    """
    waiting, running, ended, now = list(stages), {}, set(), 0.0
    while waiting or running:
        for stage in [s for s in waiting if ended.issuperset(s.needs)][: jobs - len(running)]:
            waiting.remove(stage)
            running[stage.name] = now + seconds[stage.name]
        first = min(running, key=running.__getitem__)
        now = running.pop(first)
        ended.add(first)
    return now
