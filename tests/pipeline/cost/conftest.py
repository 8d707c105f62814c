"""A paper-sized profile, a machine that takes a second for everything, and fits of a tiny network."""

import pytest

from nsfast.pipeline.cost.work import NetworkAt, TrainingWork
from nsfast.pipeline.profile import resolve
from nsfast.training import Recipe
from nsfast.training.phases import Phase

SMALL = NetworkAt("small", 1, 3, 1, 8)
PAPER = """
data: {name: imagenet, path: nowhere, unlabeled: nowhere/pool}
teacher: {architecture: efficientnet-b7, resolution: 600, epochs: 350, steps_per_epoch: 0, batch: 2048,
  optimizer: rmsprop, precision: bfloat16}
student: {architecture: efficientnet-l2, resolution: 475, epochs: 350, steps_per_epoch: 0, batch: 2048, ratio: 14,
  optimizer: rmsprop, precision: bfloat16, finetune_epochs: 1.5, finetune_resolution: 800}
balancing: {per_class: 130000}
iterate: {rounds: 3, ratio: [14, 14, 28]}
"""


class Second:
    """A machine that takes a second for everything."""

    where, memory, beside = "a test", 10**6, 9

    def __init__(self):
        self.sources = {"all": None}

    def step(self, work):
        return 1.0

    def look(self, network, precision="float32"):
        return 0.0

    def epoch_end(self, work):
        return 0.0

    def slowness(self):
        return 0.0


@pytest.fixture
def paper_file(tmp_path):
    path = tmp_path / "paper.yaml"
    path.write_text(PAPER)
    return path


@pytest.fixture
def paper(paper_file):
    return resolve(str(paper_file))


@pytest.fixture
def second():
    return Second


@pytest.fixture
def work():
    def made(recipe=None, network=SMALL, steps=3, **others):
        return TrainingWork(network, Phase("joint", recipe or Recipe(size=1, batch=4)), steps, 24, **others)

    return made
