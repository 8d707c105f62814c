"""Rates of cards, against the figures that they are from."""

import pytest

from nsfast.errors import NsfastError
from nsfast.models import multiply_adds
from nsfast.pipeline.cost import cards
from nsfast.pipeline.cost.cards import FIGURES, CardSpeed, card_named, rate_of
from nsfast.pipeline.cost.work import NetworkAt
from nsfast.training import Recipe


def test_figures_name_the_multiply_adds_of_their_networks():
    for name in ("ResNet-18", "ResNet-50", "ViT-B/16", "EfficientNet-B0", "EfficientNet-B3"):
        architecture, pixels, billions, _ = cards._NETWORKS[name]
        assert multiply_adds(architecture, 1000, 3, 1, pixels) == pytest.approx(billions * 1e9, rel=1e-3)


LIGHT = [figure for figure in FIGURES if figure.multiply_adds < 2e9]


@pytest.mark.parametrize("figure", LIGHT, ids=lambda f: f"{f.card}-{f.precision}-{f.network}")
def test_a_figure_predicts_itself(figure, work):
    architecture, pixels, *_ = cards._NETWORKS[figure.network]
    network = NetworkAt(architecture, 1, 1000, 3, pixels)
    precision = "bfloat16" if figure.precision == "mixed" else "float32"
    rate = rate_of(figure.card, network, precision, training=True)
    assert rate.measured and rate.per_second / (3 * network.multiply_adds) == pytest.approx(
        figure.training, rel=1e-3
    )
    recipe = Recipe(batch=64, precision=precision)
    of_eight = CardSpeed(figure.card, 8).step(work(recipe, network, processes=8))
    if figure.on_eight:
        assert 64 / of_eight == pytest.approx(figure.on_eight, rel=1e-3)
    if figure.labeling:
        assert 1 / CardSpeed(figure.card).look(network, precision) == pytest.approx(figure.labeling, rel=1e-3)


def test_another_card_is_scaled_where_both_have_a_figure_and_says_so():
    network = NetworkAt("resnet18", 1, 1000, 3, 224)
    rate = rate_of("A100", network, "bfloat16", training=True)
    assert rate.per_second / (3 * network.multiply_adds) == pytest.approx(3481.78 * 2470 / 1218.01, rel=1e-3)
    assert "RTX 3090 figure for ResNet-18" in rate.source and "ResNet-50" in rate.source
    estimate = rate_of("H200", network, "bfloat16", training=True)
    assert not estimate.measured and estimate.source.startswith("estimate, not measured")
    assert estimate.per_second == 2 * rate.per_second
    assert "float32" not in rate.source and "bfloat16" in rate_of("V100", network, "bfloat16", True).source


def test_an_unknown_card_is_refused_with_the_names_there_are():
    assert card_named("rtx-3090") == card_named("RTX3090") == "RTX 3090" and card_named("a100") == "A100"
    with pytest.raises(NsfastError, match="A100, H100, H200, RTX 3090, V100"):
        card_named("abacus")


def test_figures_in_mixed_precision_are_a_lower_bound_of_a_training_in_float32():
    network = NetworkAt("resnet18", 1, 1000, 3, 224)
    words = "a lower bound: mixed precision, none is published in float32"
    assert words in rate_of("RTX 3090", network, "float32", training=True).source
    for card, precision in (("RTX 3090", "bfloat16"), ("A100", "float32"), ("V100", "bfloat16")):
        assert "lower bound" not in rate_of(card, network, precision, training=True).source
