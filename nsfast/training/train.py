"""From a recipe and pictures to a trained network, through every fit that the recipe asks for."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch

from nsfast.errors import NsfastError
from nsfast.files import fingerprint
from nsfast.images import Split
from nsfast.models import Network, build_model
from nsfast.training.average import WeightAverage
from nsfast.training.checkpoint import Checkpoint
from nsfast.training.checkpoint_file import read_checkpoint
from nsfast.training.finetune import require_finetune
from nsfast.training.learner import PseudoLabeled, build_learner
from nsfast.training.phases import Phase, phases
from nsfast.training.processes import Processes, own_device
from nsfast.training.recipe import Recipe
from nsfast.training.schedule import Schedule, schedule_of

# what a training may change on the way and still go on from its checkpoint
RESUMABLE = ("accumulate", "precision")


@dataclass(frozen=True)
class Trained:
    """What a training gives: `model` has the raw weights, `average` the averaged ones; `history` a row per epoch."""

    model: Network
    average: Network
    history: list[dict]


def train(
    recipe: Recipe,
    classes: int,
    statistics: tuple[Sequence[float], Sequence[float]],
    labeled: Split,
    validation: Split,
    pseudo: PseudoLabeled | None = None,
    folder: str | Path = ".",
    inputs: dict | None = None,
    start: dict[str, torch.Tensor] | None = None,
    workers: int = 0,
    minutes: float = 10.0,
    processes: Processes | None = None,
) -> Trained:
    """Train a network, continuing from a checkpoint in `folder` when it is of the same recipe and inputs.

    Checkpoints are named by what they are of: one of another recipe stays, and is continued once its recipe is back.

    Args:
        folder: where checkpoints lie.
        inputs: plain data that says what the pictures and labels are (checksums); part of the checkpoint's identity.
        start: weights of the network to start from, by name; fresh ones by default.
        minutes: between two checkpoints within an epoch.
        others: see `build_learner`.

    Returns:
        The network with raw and averaged weights, in eval mode on the CPU, and the history.

    Raises:
        NsfastError: as `build_learner`; a loss that is not a number, or too little memory: what to change, and the last
            checkpoint is kept.
    """
    processes = processes or Processes()
    arguments = (classes, statistics, labeled, validation)
    history, trained, before, ours = [], None, None, set()
    fits = phases(recipe, len(labeled), 0 if pseudo is None else int(pseudo.copies.sum()))
    _require_possible(fits, arguments, processes)
    for phase in fits:
        identity = {"phase": phase.name, "recipe": phase.recipe.to_dict(), "frozen": phase.frozen}
        identity |= {
            "classes": classes,
            "statistics": [list(values) for values in statistics],
            "inputs": inputs,
        }
        for name in RESUMABLE:
            identity["recipe"].pop(name)
        if before:  # it goes on from the weights of that fit
            identity["after"] = before
        before = fingerprint(identity)
        path = checkpoint_path(folder, identity, ours)
        ours.add(path.stem)
        begun = trained.average.state_dict() if trained else start
        trained = _finished(path, identity, phase.recipe, arguments, processes) or _fit(
            phase, arguments, pseudo, path, identity, begun, workers, minutes, processes
        )
        rows = trained.history
        history += [{**row, "epoch": row["epoch"] + len(history)} for row in rows]
    if trained is None:  # the weights that it starts from are taken as they are
        if start is None:
            raise NsfastError(
                "epochs is 0, but there are no weights to start from; set epochs, or give start"
            )
        model = build_model(*_network(recipe, *arguments), pixels=_side(recipe, labeled)).eval()
        model.load_state_dict(start)
        trained = Trained(model, deepcopy(model), [])
    return Trained(trained.model, trained.average, history)


def checkpoint_path(folder: str | Path, identity: dict, ours: Iterable[str] = ()) -> Path:
    """Return where the checkpoint of a fit lies; say so when there are those of others than `ours` (stems)."""
    path = Path(folder) / f"checkpoint-{fingerprint(identity)[:8]}.safetensors"
    there = sorted(Path(folder).glob("checkpoint-*.safetensors"))
    others = [p.name for p in there if p.name.split(".")[0] not in {path.stem, *ours}]
    if others and not path.is_file():
        print(f"kept, and continued once their recipe is back: {', '.join(others)}")
    return path


def _network(recipe: Recipe, classes: int, statistics, labeled: Split, validation: Split) -> tuple:
    channels = labeled.pixels.shape[3]
    return (recipe.architecture, classes, channels, recipe.size, recipe.dropout, *statistics)


def _side(recipe: Recipe, labeled: Split) -> int:
    return recipe.resolution or labeled.pixels.shape[1]


def _require_possible(fits: list[Phase], arguments: tuple, processes: Processes) -> None:
    """Refuse before the first fit what would stop a later one."""
    for phase in fits:
        phase.recipe.per_part(processes.count)
        if phase.name == "finetune":
            before, after = (_side(each.recipe, arguments[2]) for each in (fits[0], phase))
            require_finetune(_network(phase.recipe, *arguments)[:4], phase.frozen, before, after)


def _finished(
    path: Path, identity: dict, recipe: Recipe, arguments: tuple, processes: Processes
) -> Trained | None:
    """What a finished checkpoint holds, without looking at a picture; the first process decides for all."""

    def read() -> tuple[dict, dict] | None:
        found = read_checkpoint(path, identity)
        return found if found and found[0].get("finished") else None

    if (found := processes.first_read(read)) is None:
        return None
    about, tensors = found
    side = _side(recipe, arguments[2])
    networks = []
    for kind in ("raw.", "ema."):
        networks.append(build_model(*_network(recipe, *arguments), pixels=side).eval())
        networks[-1].load_state_dict(
            {k.removeprefix(kind): v for k, v in tensors.items() if k.startswith(kind)}
        )
    return Trained(*networks, about["history"])


def _fit(
    phase: Phase,
    arguments: tuple,
    pseudo: PseudoLabeled | None,
    path: Path,
    identity: dict,
    start: dict | None,
    workers: int,
    minutes: float,
    processes: Processes,
) -> Trained:
    recipe = phase.recipe
    try:
        learner = build_learner(
            *(recipe, *arguments, pseudo if recipe.ratio else None),
            device=own_device(),
            workers=workers,
            processes=processes,
            labeled_too=phase.labeled,
            frozen=phase.frozen,
        )
        if start is not None:
            learner.model.load_state_dict(start)
        if not processes.rank:
            print(learner.dls.train.describe())
        average = WeightAverage(recipe.ema)
        name = {"pretrain": "pretraining epoch", "finetune": "fine-tuning epoch"}.get(phase.name, "epoch")
        saver = Checkpoint(path, identity, recipe.seed, average, minutes, processes, name)
        total = learner.dls.train.steps_in(recipe.epochs)
        schedule = Schedule(schedule_of(recipe, len(arguments[2])), total)
        with learner.no_bar(), learner.no_logging():
            learner.fit(recipe.epochs, wd=[recipe.weight_decay, 0.0], cbs=[average, saver, schedule])
    except NsfastError as error:
        raise _in_one_line(error) from None
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        side = _side(recipe, arguments[2])
        raise NsfastError(out_of_memory(recipe, side, path, processes.count, phase.labeled)) from None
    networks, history = [network.eval().cpu() for network in (learner.model, average.average)], saver.history
    for network in networks:
        network.autocast = None  # measured like one that comes from a file
    del learner, average, saver, schedule
    gc.collect()  # a Learner and its callbacks know each other; the next fit needs the memory
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return Trained(*networks, history)


def _in_one_line(error: NsfastError) -> NsfastError:
    """The error without what fastai puts before, and a loader's workers around, what it says."""
    whole = str(error).rstrip()
    said = whole.splitlines()[-1].strip()
    if whole.startswith("Caught ") and " in DataLoader worker process " in whole:
        said = said.partition(": ")[2]  # the last line of a traceback names the kind of error first
    error.args = (said,)
    return error


def out_of_memory(
    recipe: Recipe, resolution: int, path: Path, processes: int = 1, labeled_too: bool = True
) -> str:
    """Say what a training that ran out of memory may change, and which changes let it go on from its checkpoint."""
    pictures = recipe.per_part(processes) * (labeled_too + recipe.ratio)
    ways = []
    parts = [n for n in range(recipe.accumulate + 1, recipe.batch + 1) if recipe.batch % (n * processes) == 0]
    if parts and recipe.batch // (parts[0] * processes) * (1 + recipe.ratio) > 1:
        ways.append(f"accumulate={parts[0]} (now {recipe.accumulate})")
    if recipe.precision == "float32":
        ways.append("precision=bfloat16")
    kept = "from the last checkpoint" if path.is_file() else "anew"
    with_these = f"set {' or '.join(ways)} and run again, it goes on {kept}; or " if ways else ""
    return (
        f"out of memory with {pictures} pictures of {resolution} pixels at once in {recipe.precision}: {with_these}"
        f"lower batch (now {recipe.batch}) or resolution, which is another recipe and starts anew"
    )
