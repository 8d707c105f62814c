"""Trains the recipes of a file together with the other processes; what test_processes.py starts."""

import json
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from nsfast.images import ImageSet, load_images  # noqa: E402
from nsfast.training import Recipe  # noqa: E402
from nsfast.training.average import WeightAverage  # noqa: E402
from nsfast.training.learner import PseudoLabeled  # noqa: E402
from nsfast.training.processes import Processes, join_processes, leave_processes  # noqa: E402
from nsfast.training.train import train  # noqa: E402


class Killed(BaseException):
    """Stands for SIGKILL of all processes."""


def pseudo(images: ImageSet) -> PseudoLabeled:
    random = np.random.default_rng(0)
    count, classes = len(images.unlabeled), len(images.classes)
    probabilities = random.dirichlet([1] * classes, count).astype(np.float32)
    return PseudoLabeled(images.unlabeled.pixels, probabilities, random.integers(1, 4, count))


def one_training(images: ImageSet, about: dict, folder: Path, processes: Processes | None = None):
    """Train the recipe, checkpoints into `folder`, and return what it gives and how many optimizer steps that took.

    With `kill_at`, an optimizer step, it does not come back.
    """
    after_step, steps = WeightAverage.after_step, []

    def counting(self):
        after_step(self)
        steps.append(0)
        if len(steps) == about.get("kill_at"):
            raise Killed

    WeightAverage.after_step = counting
    try:
        arguments = (len(images.classes), images.statistics(), images.labeled, images.validation)
        recipe = Recipe(**about["recipe"])
        given = pseudo(images) if recipe.ratio else None
        trained = train(recipe, *arguments, given, folder=folder, minutes=0, processes=processes)
        return trained, len(steps)
    finally:
        WeightAverage.after_step = after_step


def main() -> None:
    folder, processes = Path(sys.argv[1]), join_processes()
    images = load_images(folder / "images")
    for about in json.loads((folder / "trainings.json").read_text()):
        where = folder / about["name"]
        try:
            trained, steps = one_training(images, about, where, processes)
        except Killed:
            continue
        tensors = {f"raw.{name}": value for name, value in trained.model.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in trained.average.state_dict().items()}
        save_file({k: v.contiguous() for k, v in tensors.items()}, where / f"weights-{processes.rank}.st")
        (where / f"history-{processes.rank}.json").write_text(json.dumps(trained.history))
        (where / f"steps-{processes.rank}.json").write_text(json.dumps(steps))
    leave_processes()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
