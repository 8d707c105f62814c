"""A label table from plain classes and confidences, one balanced slowly, and pictures labeled plainly."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from nsfast.labels.labeling.label import label
from nsfast.labels.origin import Origin
from nsfast.labels.shards import Rows, shard_name, write_shard
from nsfast.labels.table import LabelTable, finish_table
from nsfast.models import build_model
from nsfast.training.targets import Distributions

CLASSES = ("ant", "bee", "cat", "dog")


def _table(
    folder, predicted, confidence, ids=None, shards=1, probabilities=None, names=CLASSES
) -> LabelTable:
    """Write rows in the order given; without `probabilities` what the confidence leaves is spread evenly."""
    n = len(predicted)
    ids = np.arange(n) if ids is None else ids
    if probabilities is None:
        others = (1 - np.asarray(confidence, float)) / (len(names) - 1)
        probabilities = np.repeat(others[:, None], len(names), 1)
        probabilities[np.arange(n), predicted] = confidence
    origin = Origin(names, "teacher")
    for number, rows in enumerate(np.array_split(np.arange(n), shards)):
        vectors = Distributions(np.asarray(probabilities, np.float16)[rows], len(names))
        columns = ids[rows], predicted[rows].astype(np.uint16), confidence[rows].astype(np.float16)
        write_shard(folder / shard_name(number), origin, Rows(*columns, vectors))
    return finish_table(folder, origin, int(ids.max(initial=-1)) + 1, shards)


@pytest.fixture
def table_of() -> Callable[..., LabelTable]:
    return _table


def _random(seed: int, n: int, decimals: int = 2, weights=(0.5, 0.3, 0.2, 0.0)) -> SimpleNamespace:
    """Random pseudo-labels; nobody predicts the last class, rounding makes many ties, ids have gaps."""
    random = np.random.default_rng(seed)
    confidence = np.maximum(random.beta(2, 1, n), 0.26).round(decimals).astype(np.float16)
    ids = np.sort(random.choice(3 * n, n, replace=False))
    return SimpleNamespace(ids=ids, predicted=random.choice(4, n, p=weights), confidence=confidence)


@pytest.fixture
def random_labels() -> Callable[..., SimpleNamespace]:
    return _random


def _hash(number: int, seed: int, name: str) -> int:
    """splitmix64 by its definition, in Python's integers."""
    from nsfast.streams import stream_seed

    z = (stream_seed(seed, name) + (number + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


@pytest.fixture
def slow_hash() -> Callable[[int, int, str], int]:
    return _hash


_ORIGIN = Origin(("ant", "bee", "cat"), "abc")


def _likeliest(top):
    """The origin of a table that keeps so many classes."""
    return replace(_ORIGIN, top=top)


def _network(seed=0, channels=1):
    """A network with all the noise a model can have, left in training mode, with unusual batch-norm statistics."""
    torch.manual_seed(seed)
    model = build_model(
        "small", 3, channels, 1, dropout=0.5, mean=[0.4] * channels, std=[0.2] * channels
    ).train()
    model(torch.rand(32, channels, 8, 8))
    return model


def _run(models, pictures, folder, origin=_ORIGIN, **options):
    """Label an image set's unlabeled pictures, or a split."""
    pictures = getattr(pictures, "unlabeled", pictures)
    return label(models, pictures, origin, folder, **{"batch": 7, "shard": 25, **options})


def _forward(model, pixels, flip=False):
    """Probabilities as a plain forward pass in eval mode gives them; the mode is put back."""
    training = model.training
    model.eval()
    with torch.no_grad():
        x = torch.tensor(pixels).permute(0, 3, 1, 2).to(torch.float32) / 255
        found = torch.softmax(model(torch.flip(x, [3]) if flip else x), dim=1)
    model.train(training)
    return found


def _plain_loop(model, pixels, batch=7, shard=25, **options):
    """The same in batches that are cut within shards."""
    out = []
    for begin in range(0, len(pixels), shard):
        part = pixels[begin : begin + shard]
        out += [_forward(model, part[i : i + batch], **options) for i in range(0, len(part), batch)]
    return torch.cat(out).numpy()


def _stored(folder):
    """The rows of all shards by column name, as pyarrow reads them."""
    table = pq.read_table(sorted(folder.glob("part-*.parquet")))
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def _files(folder):
    """The bytes of each file, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class _Counting(nn.Module):
    """Counts the pictures that a network is shown; stops when it has seen enough."""

    def __init__(self, model, stop_at=10**9, error=KeyboardInterrupt):
        super().__init__()
        self.model, self.seen, self.stop_at, self.error = model, 0, stop_at, error

    def forward(self, x):
        self.seen += len(x)
        if self.seen > self.stop_at:
            raise self.error
        return self.model(x)


@pytest.fixture
def labeling() -> SimpleNamespace:
    """What labels the tiny pictures, and the same in plain code."""
    return SimpleNamespace(
        origin=_ORIGIN,
        likeliest=_likeliest,
        network=_network,
        run=_run,
        forward=_forward,
        plain_loop=_plain_loop,
        stored=_stored,
        files=_files,
        Counting=_Counting,
    )


@pytest.fixture
def teacher() -> nn.Module:
    return _network()
