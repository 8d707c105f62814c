"""What the catalogue says of networks: costs as published, sizes as counted, the paper's accuracies."""

import json

import pytest

from nsfast.errors import NsfastError
from nsfast.models import EFFICIENTNETS, SmallNet, model_rows, multiply_adds, parameter_count


@pytest.mark.parametrize(
    ("architecture", "pixels", "billions"),
    # EfficientNet's table 2, and torchvision's table
    [("efficientnet-b0", 224, 0.39), ("efficientnet-b1", 240, 0.70), ("efficientnet-b4", 380, 4.2),
     ("efficientnet-b7", 600, 37), ("torchvision/resnet18", 224, 1.81)],
)  # fmt: skip
def test_multiply_adds_are_the_published_ones(architecture, pixels, billions):
    assert multiply_adds(architecture, 1000, 3, 1, pixels) / 1e9 == pytest.approx(billions, rel=0.05)


def test_multiply_adds_of_the_small_network_by_hand():
    side, widths, total = 16, (16, 32, 64), 0
    total += 16 * 16 * 3 * 3 * 1 * widths[0]  # stem
    inputs = widths[0]
    for stage, width in enumerate(widths):
        side = 16 // 2**stage
        per_place = 9 * (inputs * width + width * width) + (inputs * width if stage else 0)
        total += side * side * (per_place + 9 * 2 * width * width)
        inputs = width
    total += 64 * 10
    assert multiply_adds("small", 10, 1, 2, 16) == total
    assert SmallNet(10, 1, 2).num_features == 64


def test_the_rows_are_the_small_network_in_three_sizes_and_the_papers():
    rows = model_rows()
    assert [(row["name"], row["size"]) for row in rows] == [
        ("small", 1), ("small", 2), ("small", 3), *((name, None) for name in EFFICIENTNETS)
    ]  # fmt: skip
    assert json.loads(json.dumps(rows)) == rows  # plain data
    assert len({tuple(row) for row in rows}) == 1
    for row in rows:
        assert row["parameters"] == parameter_count(row["name"], 1000, 3, row["size"] or 1)
    by_name = {row["name"]: row for row in rows}
    assert by_name["efficientnet-b7"]["paper_top1_supervised"] == 85.0
    assert by_name["efficientnet-b7"]["paper_top1_same_size"] == 85.9
    assert by_name["efficientnet-b7"]["paper_top1"] == 86.9
    l2 = by_name["efficientnet-l2"]
    assert (l2["train_pixels"], l2["test_pixels"], l2["paper_top1"]) == (475, 800, 88.4)
    assert by_name["efficientnet-l0"]["paper_top1"] is None and by_name["small"]["paper_top1"] is None


def test_any_network_can_be_asked_for():
    rows = model_rows(
        ["efficientnet-b0-32px", "tf_efficientnet_b4.ns_jft_in1k", "torchvision/resnet18"], 10, 1
    )
    assert [row["train_pixels"] for row in rows] == [32, 380, 224]
    assert rows[0]["parameters"] == parameter_count("efficientnet-b0", 10, 1, 1)
    assert rows[0]["paper_top1"] is None
    with pytest.raises(NsfastError, match="did you mean 'resnet50'"):
        model_rows(["resnet5O"])
