"""The paper's EfficientNets, B0 to B7 and L0 to L2, from one table of widths and depths.

Built from timm's EfficientNet as the released code has them (efficientnet_builder.py, efficientnet_model.py): padding
"same" as TensorFlow pads, batch normalisation with epsilon 1e-3 and momentum 0.99 (0.01 as PyTorch counts), convolution
weights normal with variance 2 / fan_out, those of the final layer uniform within 1 / sqrt(classes). The keys of their
weights are those of timm's `tf_efficientnet_*`; L0 and L1, which timm does not have, follow the same rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import nn

from nsfast.errors import choice

IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and std of R, G, B on 0..1

Accuracy = tuple[float, float]  # top-1 and top-5 on ImageNet, in percent


@dataclass(frozen=True)
class EfficientNetRow:
    """What the paper and its code say of one EfficientNet.

    Args:
        name: of this package.
        width, depth: multipliers of the channels and of the blocks of B0 (v1 of the paper, and released code).
        train_pixels, test_pixels: height and width of the pictures; they differ where the paper fine-tunes for a
            larger resolution at the end.
        dropout: of the final layer in the released code; the paper's text says 0.5 for all.
        millions: of parameters, as published.
        supervised: without Noisy Student, trained with RandAugment (section 4.2; L2: section 4.1).
        same_size: one round whose teacher has the same size.
        released: the student whose weights were released; its teacher is L2.
    """

    name: str
    width: float
    depth: float
    train_pixels: int
    test_pixels: int
    dropout: float
    millions: float
    supervised: Accuracy | None = None
    same_size: Accuracy | None = None
    released: Accuracy | None = None


_TABLE = (
    # width, depth, train and test pixels, dropout, millions of parameters; supervised, same size, released
    ("b0", 1.0, 1.0, 224, 224, 0.2, 5.3, (77.3, 93.4), (78.1, 94.2), (78.8, 94.5)),
    ("b1", 1.0, 1.1, 240, 240, 0.2, 7.8, (79.2, 94.4), (80.2, 95.2), (81.5, 95.8)),
    ("b2", 1.1, 1.2, 260, 260, 0.3, 9.2, (80.0, 94.9), (81.1, 95.5), (82.4, 96.3)),
    ("b3", 1.2, 1.4, 300, 300, 0.3, 12.0, (81.7, 95.7), (82.5, 96.4), (84.1, 96.9)),
    ("b4", 1.4, 1.8, 380, 380, 0.4, 19.0, (83.2, 96.4), (84.4, 97.0), (85.3, 97.5)),
    ("b5", 1.6, 2.2, 456, 456, 0.4, 30.0, (84.0, 96.8), (85.0, 97.2), (86.1, 97.8)),
    ("b6", 1.8, 2.6, 528, 528, 0.5, 43.0, (84.5, 97.0), (85.6, 97.6), (86.4, 97.9)),
    ("b7", 2.0, 3.1, 600, 600, 0.5, 66.0, (85.0, 97.2), (85.9, 97.6), (86.9, 98.1)),
    ("l0", 2.8, 3.7, 380, 600, 0.5, 140.0),
    ("l1", 3.9, 3.7, 380, 600, 0.5, 273.0),
    ("l2", 4.3, 5.3, 475, 800, 0.5, 480.0, (85.5, 97.5), None, (88.4, 98.7)),
)
EFFICIENTNETS = {
    f"efficientnet-{short}": EfficientNetRow(f"efficientnet-{short}", *rest) for short, *rest in _TABLE
}

# a row a stage of B0: r blocks, k kernel, s stride, e expansion, c channels, se squeeze-and-excitation
_STAGES = (
    "ds_r1_k3_s1_e1_c16_se0.25",
    "ir_r2_k3_s2_e6_c24_se0.25",
    "ir_r2_k5_s2_e6_c40_se0.25",
    "ir_r3_k3_s2_e6_c80_se0.25",
    "ir_r3_k5_s1_e6_c112_se0.25",
    "ir_r4_k5_s2_e6_c192_se0.25",
    "ir_r1_k3_s1_e6_c320_se0.25",
)
SMALL_PICTURES = "-32px"  # ends the name of the variant for 32 pixels


def efficientnet_names() -> list[str]:
    """Return the names of the EfficientNets, each also as the variant for 32 pixels."""
    return [name + ending for ending in ("", SMALL_PICTURES) for name in EFFICIENTNETS]


def efficientnet_row(architecture: str) -> EfficientNetRow | None:
    """Return the table's row of an EfficientNet or of its variant for 32 pixels; None for another network."""
    return EFFICIENTNETS.get(architecture.removesuffix(SMALL_PICTURES))


def build_efficientnet(name: str, classes: int, channels: int = 3, dropout: float = 0.0) -> nn.Module:
    """Build one of `efficientnet_names()` with fresh weights, without the layer that normalises pixels.

    A name that ends in `-32px` has stride 1 instead of 2 in its second and third stage (and 2 in the stem), as the
    released code has it for SVHN (`small_image_model`).

    Raises:
        NsfastError: no such EfficientNet.
    """
    from timm.models._efficientnet_builder import decode_arch_def, round_channels
    from timm.models.efficientnet import EfficientNet

    row = EFFICIENTNETS[choice("EfficientNet", name, efficientnet_names()).removesuffix(SMALL_PICTURES)]
    stages = list(_STAGES)
    if name.endswith(SMALL_PICTURES):
        stages[1:3] = [stage.replace("_s2_", "_s1_") for stage in stages[1:3]]
    channels_of = partial(round_channels, multiplier=row.width)
    return EfficientNet(
        decode_arch_def([[stage] for stage in stages], row.depth),
        num_classes=classes,
        num_features=channels_of(1280),
        in_chans=channels,
        stem_size=32,
        pad_type="same",
        act_layer=nn.SiLU,
        norm_layer=partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01),
        round_chs_fn=channels_of,
        drop_rate=dropout,
    )
