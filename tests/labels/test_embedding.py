"""The map shows what the classifier is given, laid out by PCA, and by UMAP where there is one."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from nsfast.errors import NsfastError
from nsfast.labels.embedding import flat_map, penultimate
from nsfast.models import build_model


@pytest.fixture(autouse=True)
def no_umap(monkeypatch):
    """Whether it is installed or not."""
    monkeypatch.setitem(sys.modules, "umap", None)


def pictures(n=11, pixels=16, channels=3):
    return np.random.default_rng(0).integers(0, 256, (n, pixels, pixels, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_features_are_what_the_last_layer_is_given(channels):
    torch.manual_seed(0)
    model, pixels = build_model("small", 3, channels, 1, dropout=0.5).train(), pictures(channels=channels)
    found = penultimate(model, pixels, batch=4)
    assert model.training and not model.body.fc._forward_pre_hooks
    model.eval()
    with torch.no_grad():
        x = model.normalize(torch.tensor(pixels).permute(0, 3, 1, 2).float() / 255)
        expected = model.body.forward_head(model.body.forward_features(x), pre_logits=True).numpy()
    assert found.shape == (11, 32) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "architecture, pixels",
    [
        ("resnet10t", 32),
        ("torchvision/mobilenet_v3_small", 32),
        ("torchvision/squeezenet1_1", 32),
        ("vit_tiny_patch16_224", 32),
    ],
)
def test_the_last_layer_makes_the_logits_of_the_features_of_any_network(architecture, pixels):
    torch.manual_seed(0)
    model, some = build_model(architecture, 3, pixels=pixels).eval(), pictures(3, pixels)
    features = torch.tensor(penultimate(model, some))
    with torch.no_grad():
        logits = model(torch.tensor(some).permute(0, 3, 1, 2).float() / 255)
        last = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d)) and len(m.weight) == 3][
            -1
        ]
        made = features @ last.weight.reshape(3, -1).T + last.bias
    if "squeezenet" in architecture:  # a ReLU comes between, of what is not averaged yet
        assert features.shape == (3, 512)
    else:
        np.testing.assert_allclose(made, logits, rtol=1e-3, atol=1e-4)


def test_a_network_without_layers_is_one_line():
    with pytest.raises(NsfastError, match="no linear layer"):
        penultimate(nn.Flatten(), pictures())


def test_the_map_is_that_of_the_singular_values():
    features = np.random.default_rng(0).normal(size=(300, 20)) * np.arange(20, 0, -1)
    found = flat_map(features)
    assert found.shape == (300, 2) and found.dtype == np.float32
    u, s, _ = np.linalg.svd(features - features.mean(0), full_matrices=False)
    expected = u[:, :2] * s[:2]
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found, expected * signs, rtol=1e-3, atol=1e-2)


def test_umap_is_given_fifty_components_and_the_seed(monkeypatch):
    asked, fake = {}, ModuleType("umap")

    class UMAP:
        def __init__(self, **options):
            asked.update(options)

        def fit_transform(self, components):
            asked["components"] = components
            return np.tile([1.0, 2.0], (len(components), 1))

    fake.UMAP = UMAP
    monkeypatch.setitem(sys.modules, "umap", fake)
    features = np.random.default_rng(0).normal(size=(200, 80))
    assert (flat_map(features, seed=7) == [1, 2]).all()
    centred = features - features.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    assert asked["components"].shape == (200, 50) and (asked["n_components"], asked["random_state"]) == (2, 7)
    np.testing.assert_allclose(abs(asked["components"]), abs(u * s)[:, :50], rtol=1e-2, atol=1e-2)
    assert not (flat_map(features[:15]) == [1, 2]).all()  # too few


def test_of_too_many_some_are_laid_out_the_same_for_a_seed():
    features = np.random.default_rng(0).normal(size=(100, 5))
    found = flat_map(features, 3, most=30)
    there = np.isfinite(found).all(1)
    assert there.sum() == 30 and np.isnan(found[~there]).all()
    np.testing.assert_array_equal(found, flat_map(features, 3, most=30))
    assert (np.isfinite(flat_map(features, 4, most=30)).all(1) != there).any()
    np.testing.assert_allclose(abs(found[there]), abs(flat_map(features[there])), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (2, 1), (6, 4)])
def test_few_or_equal_pictures_have_a_map(shape):
    found = flat_map(np.ones(shape))
    assert found.shape == (shape[0], 2) and np.isfinite(found).all()


def test_a_picture_without_finite_features_is_not_on_the_map():
    features = np.random.default_rng(0).normal(size=(40, 4))
    expected = flat_map(np.delete(features, [3, 20], 0))
    features[3, 1], features[20, 0] = np.nan, np.inf
    found = flat_map(features)
    assert np.isnan(found[[3, 20]]).all()
    np.testing.assert_allclose(np.delete(found, [3, 20], 0), expected, atol=1e-5)
