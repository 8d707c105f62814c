"""A network that can read digits, and the pictures that it is attacked on."""

import numpy as np
import pytest
import torch
from torch import nn

from nsfast.images import Split

torch.set_num_threads(1)


def trained_on(pixels, labels, width=8, epochs=6, seed=0):
    """A small network, with batch normalisation and dropout, after a few epochs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(2 * width * 16, 10),
        )
        images, labels = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255, torch.from_numpy(labels)
        optimizer = torch.optim.Adam(network.parameters(), 0.005)
        for _ in range(epochs):
            for rows in torch.randperm(len(images)).split(50):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
                optimizer.step()
    optimizer.zero_grad()
    return network.eval()


def digits():
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = (found.images * (255 / 16)).round().astype(np.uint8)[..., None]
    return pixels, found.target.astype(np.int64)


@pytest.fixture(scope="session")
def digit_split():
    """300 pictures of 8x8 that the networks were not trained on."""
    pixels, labels = digits()
    return Split(np.array([f"digit-{i}" for i in range(300)]), pixels[:300], labels[:300])


@pytest.fixture(scope="session")
def reader():
    """A network that reads about 95 % of them."""
    pixels, labels = digits()
    return trained_on(pixels[300:1300], labels[300:1300])


@pytest.fixture(scope="session")
def other_reader():
    """Another one, from fewer pictures."""
    pixels, labels = digits()
    return trained_on(pixels[1300:], labels[1300:], seed=1)
