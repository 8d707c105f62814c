"""How fast known cards are: public figures of networks on them, and what these say of other networks.

A figure is pictures per second of one network on one card. Multiplied by the network's multiply-adds (three forward
passes make a training step) it is a rate, and a network is given the rate of the most similar one: with depthwise
convolutions or without, and nearest in multiply-adds for a picture. Nothing here was measured by this package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from nsfast.errors import choice
from nsfast.pipeline.cost.work import FORWARDS_OF_A_STEP, NetworkAt, TrainingWork, shapes

TIMM = "timm, results/benchmark-{}-amp-nhwc-pt112-cu113-rtx3090.csv"
NVIDIA = "NVIDIA DeepLearningExamples, PyTorch/Classification/ConvNets, container 21.03"

# gigabytes of memory
MEMORY = {"RTX 3090": 24, "V100": 16, "A100": 80, "H100": 80, "H200": 141}
# cards without a public figure of a training that is like this one: whose figures, times what, and why
ESTIMATES = {
    "H100": ("A100", 2.0, "Lambda says about 2x an A100 on vision"),
    "H200": ("A100", 2.0, "an H100's cores, of which Lambda says about 2x an A100 on vision"),
}
REFERENCE = "RTX 3090"  # the one with figures of nearly every network

# name, pixels, multiply-adds of a picture in 10^9, whether it has depthwise convolutions
_NETWORKS = {
    "ResNet-18": ("resnet18", 224, 1.8141, False),
    "ResNet-50": ("resnet50", 224, 4.0892, False),
    "ViT-B/16": ("vit_base_patch16_224", 224, 17.564, False),
    "EfficientNet-B0": ("efficientnet-b0", 224, 0.38581, True),
    "EfficientNet-B1": ("efficientnet-b1", 240, 0.6868, True),
    "EfficientNet-B2": ("efficientnet-b2", 260, 0.99356, True),
    "EfficientNet-B3": ("efficientnet-b3", 300, 1.8271, True),
    "EfficientNet-B4": ("efficientnet-b4", 380, 4.3938, True),
    "EfficientNet-B5": ("efficientnet-b5", 456, 10.266, True),
    "EfficientNet-B6": ("efficientnet-b6", 528, 19.068, True),
    "EfficientNet-B7": ("efficientnet-b7", 600, 37.746, True),
    "EfficientNet-L2 at 475 pixels": ("efficientnet-l2", 475, 170.89, True),
    "EfficientNet-L2": ("efficientnet-l2", 800, 475.70, True),
}


@dataclass(frozen=True)
class Figure:
    """Pictures per second of a network, as published.

    Args:
        card: of `MEMORY`.
        precision: "mixed", or "float32" (on an A100 in TF32, as PyTorch's convolutions are).
        network: of `_NETWORKS`; those of EfficientNets are of TensorFlow's padding, like this package's.
        training: pictures per second forward and backward.
        labeling: pictures per second forward alone; None where nobody says, and then a third of a training step.
        on_eight: training pictures per second on eight cards together, None where nobody says.
        source: whose figures.
    """

    card: str
    precision: str
    network: str
    training: float
    labeling: float | None
    on_eight: float | None
    source: str

    @property
    def multiply_adds(self) -> float:
        """Of one forward pass over one picture."""
        return _NETWORKS[self.network][2] * 1e9

    def rate(self, training: bool) -> float:
        """Multiply-adds per second."""
        of_training = self.multiply_adds * FORWARDS_OF_A_STEP * self.training
        return of_training if training or self.labeling is None else self.multiply_adds * self.labeling

    def share_of_each(self, count: int) -> float:
        """How fast each of several cards is, of one alone; up to eight as of eight, and no less above."""
        return 1.0 if count == 1 or self.on_eight is None else self.on_eight / (8 * self.training)


FIGURES = [
    *(
        Figure("RTX 3090", "mixed", network, training, labeling, None, TIMM)
        for network, training, labeling in (
            ("ResNet-18", 3481.78, 11023.6),
            ("ResNet-50", 1218.01, 3676.35),
            ("ViT-B/16", 392.99, 1133.45),
            ("EfficientNet-B0", 1779.02, 7052.24),
            ("EfficientNet-B1", 1099.77, 4403.29),
            ("EfficientNet-B2", 848.58, 3412.6),
            ("EfficientNet-B3", 494.58, 1861.19),
            ("EfficientNet-B4", 241.83, 922.69),
            ("EfficientNet-B5", 111.42, 468.97),
            ("EfficientNet-B6", 62.84, 267.48),
            ("EfficientNet-B7", 37.22, 155.86),
            ("EfficientNet-L2 at 475 pixels", 10.96, 63.13),
            ("EfficientNet-L2", 3.93, 22.7),
        )
    ),
    *(
        Figure(card, precision, network, training, labeling, on_eight, NVIDIA)
        for card, precision, network, training, labeling, on_eight in (
            ("A100", "mixed", "EfficientNet-B0", 2489, 10239, 16652),
            ("A100", "mixed", "EfficientNet-B4", 331, 1442, 2570),
            ("A100", "float32", "EfficientNet-B0", 1078, 5154, 8193),
            ("A100", "float32", "EfficientNet-B4", 157, 702, 1223),
            ("V100", "float32", "EfficientNet-B0", 655, 2968, 4672),
            ("V100", "float32", "EfficientNet-B4", 83, 376, 616),
            ("V100", "float32", "ResNet-50", 367, 1261, 2855),
        )
    ),
    Figure("A100", "mixed", "ResNet-50", 2470, None, 16621, NVIDIA),
    Figure("A100", "float32", "ResNet-50", 938, None, 7248, NVIDIA),
]


def card_named(name: str) -> str:
    """Return a card's name as the table has it ("rtx3090" is "RTX 3090"); raise `NsfastError` with the names."""
    plain = {card.replace(" ", "").lower(): card for card in MEMORY}
    return plain.get(name.replace(" ", "").replace("-", "").lower()) or choice("card", name, MEMORY)


@dataclass(frozen=True)
class Rate:
    """How fast a card is at a network.

    Args:
        per_second: multiply-adds.
        share_of_each: of several cards, of one alone.
        source: "from timm's RTX 3090 figure for EfficientNet-B0", with all that was assumed.
        measured: False where it is an estimate.
    """

    per_second: float
    share_of_each: float
    source: str
    measured: bool = True


def rate_of(card: str, network: NetworkAt, precision: str, training: bool, count: int = 1) -> Rate:
    """Return how fast a card trains a network, or labels with it.

    Args:
        card: of `MEMORY`.
        network: at its resolution.
        precision: "float32" or "bfloat16", which counts as "mixed".
        training: forward and backward; else forward alone.
        count: of cards together.
    """
    if card in ESTIMATES:
        other, factor, why = ESTIMATES[card]
        known = rate_of(other, network, precision, training, count)
        source = f"estimate, not measured: {factor:g} times an A100 ({why}), {known.source}"
        return Rate(known.per_second * factor, known.share_of_each, source, False)
    depthwise = _has_depthwise(network)
    wanted = "mixed" if precision == "bfloat16" else "float32"
    kinds = {figure.precision for figure in FIGURES if figure.card == card}
    used = wanted if wanted in kinds else kinds.pop()
    own = _nearest(card, used, network.multiply_adds, depthwise)
    rate, source = own.rate(training), _words(own)
    near = _nearest(REFERENCE, "mixed", network.multiply_adds, depthwise)
    if _distance(near, network.multiply_adds) + 0.1 < _distance(own, network.multiply_adds):
        both = next(f for f in FIGURES if f.card == REFERENCE and f.network == own.network)
        factor = own.rate(training) / both.rate(training)
        rate, source = (
            near.rate(training) * factor,
            f"{_words(near)}, times {factor:.3g} ({card} over {REFERENCE} at ",
        )
        source += f"{own.network}, by {_whose(own)})"
    if used == "mixed" and wanted == "float32":
        source += "; a lower bound: mixed precision, none is published in float32"
    elif used != wanted:
        source += f"; float32, for none is published in {precision}"
    return Rate(rate, own.share_of_each(count) if training else 1.0, source)


@lru_cache
def _has_depthwise(network: NetworkAt) -> bool:
    from torch import nn

    modules = shapes(network).modules()
    return any(isinstance(m, nn.Conv2d) and 1 < m.groups == m.in_channels for m in modules)


def _nearest(card: str, precision: str, multiply_adds: float, depthwise: bool) -> Figure:
    known = [figure for figure in FIGURES if figure.card == card and figure.precision == precision]
    alike = [figure for figure in known if _NETWORKS[figure.network][3] == depthwise] or known
    return min(alike, key=lambda figure: _distance(figure, multiply_adds))


def _distance(figure: Figure, multiply_adds: float) -> float:
    return abs(math.log(figure.multiply_adds / multiply_adds))


def _whose(figure: Figure) -> str:
    return figure.source.split(",")[0].split(" ")[0]


def _words(figure: Figure) -> str:
    return f"from {_whose(figure)}'s {figure.card} figure for {figure.network}"


def several_known(card: str) -> bool:
    """Return whether there is a public figure of several such cards together."""
    card = ESTIMATES[card][0] if card in ESTIMATES else card
    return any(figure.on_eight for figure in FIGURES if figure.card == card)


class CardSpeed:
    """The speed of a card of the table; what `Probe` is for this machine.

    Args:
        card: as `card_named` takes it.
        count: of cards that train together.
    """

    def __init__(self, card: str, count: int = 1):
        self.card, self.count = card_named(card), count
        self.memory, self.beside = MEMORY[self.card] * 10**9, 1
        self.where = f"{count} x {self.card}" if count > 1 else self.card
        self.sources: dict[str, None] = {}

    def _rate(self, network: NetworkAt, precision: str, training: bool, count: int = 1) -> Rate:
        rate = rate_of(self.card, network, precision, training, count)
        what = f"{'training' if training else 'labeling with'} {network.name} at {network.pixels} pixels"
        self.sources[f"{what}: {rate.source}"] = None
        return rate

    def step(self, work: TrainingWork) -> float:
        """Return the seconds of an optimizer step."""
        rate = self._rate(work.network, work.recipe.precision, True, work.processes)
        done = FORWARDS_OF_A_STEP * work.network.multiply_adds * work.pictures_in_a_step
        return done / (rate.per_second * rate.share_of_each * work.processes)

    def look(self, network: NetworkAt, precision: str = "float32") -> float:
        """Return the seconds of a forward pass over a picture, on one card."""
        return network.multiply_adds / self._rate(network, precision, False).per_second

    def epoch_end(self, work: TrainingWork) -> float:
        """Return the seconds at the end of an epoch beside validation; no figure says, and they are few."""
        return 0.0

    def slowness(self) -> float:
        """Return how slowly notebooks start, of where they were clocked: not known, so 1."""
        return 1.0
