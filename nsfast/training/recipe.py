"""A recipe: everything that a training needs beside the pictures, checked when it is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from nsfast.errors import NsfastError, choice, within

# the names of `nsfast.losses`, `nsfast.noise.table` and `nsfast.training.batches`, without their import of torch
LOSS_NORMALISATIONS = ("concat", "per_stream", "official")
SCALES = ("official", "torchvision")
TARGETS = ("soft", "hard")
EPOCH_BY = ("labeled", "pseudo")


@dataclass(frozen=True)
class Recipe:
    """How to train one network; the defaults are those of the digits.

    Args:
        architecture: "small" or the name of a timm classifier.
        size: width factor of "small".
        epochs: rounds of training, validation and checkpoint.
        steps_per_epoch: optimizer steps in an epoch; 0 leaves it to `epoch_by`.
        epoch_by: an epoch is one pass over the "labeled" or over the "pseudo"-labeled pictures.
        batch: labeled pictures in a batch.
        ratio: pseudo-labeled pictures for each labeled one in a batch; 0 without pseudo-labels.
        learning_rate: peak of the warm-up and cosine schedule (AdamW).
        weight_decay: of AdamW; biases and normalisation layers are left out.
        warmup: share of the steps over which the learning rate rises, 0..0.9.
        label_smoothing: of labeled pictures and hard pseudo-labels, 0..1; soft pseudo-labels are used as they are.
        targets: "soft" (the teacher's distribution) or "hard" (its argmax).
        temperature: soft targets become p ** (1 / temperature), renormalised; 1 leaves them.
        loss_normalisation: "concat", "per_stream" or "official" (see `nsfast.losses`).
        dropout: of the final layer, 0..1.
        stochastic_depth: drop rate of the last block, linear rule, 0..1, below 1.
        randaugment_n: operations per picture; 0 switches RandAugment off.
        randaugment_m: magnitude 0..30 on the scale.
        randaugment_scale: "official" (levels of 10) or "torchvision" (31 bins).
        randaugment_operations: "paper", "all", or names between commas; "-Invert" leaves one out.
        randaugment_fill: grey value 0..1 of pixels from outside the picture.
        ema: decay of the weight average, 0..1; 0 switches it off.
        seed: of weights, batches and noise.

    Raises:
        NsfastError: a value outside its range, naming it.
    """

    architecture: str = "small"
    size: int = 2
    epochs: int = 10
    steps_per_epoch: int = 0
    epoch_by: str = "labeled"
    batch: int = 32
    ratio: int = 0
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    label_smoothing: float = 0.1
    targets: str = "soft"
    temperature: float = 1.0
    loss_normalisation: str = "concat"
    dropout: float = 0.5
    stochastic_depth: float = 0.2
    randaugment_n: int = 2
    randaugment_m: float = 9.0
    randaugment_scale: str = "official"
    randaugment_operations: str = "paper"
    randaugment_fill: float = 0.0
    ema: float = 0.99
    seed: int = 0

    def __post_init__(self):
        for name, low in (("size", 1), ("epochs", 1), ("steps_per_epoch", 0), ("batch", 1), ("ratio", 0)):
            within(name, getattr(self, name), low)
        for name in ("label_smoothing", "dropout", "stochastic_depth", "randaugment_fill", "ema"):
            within(name, getattr(self, name), 0, 1)
        within("warmup", self.warmup, 0, 0.9)
        within("weight_decay", self.weight_decay, 0)
        within("randaugment_n", self.randaugment_n, 0, 16)
        within("randaugment_m", self.randaugment_m, 0, 30)
        choice("epoch_by", self.epoch_by, EPOCH_BY)
        choice("randaugment_scale", self.randaugment_scale, SCALES)
        if self.randaugment_operations != "paper":
            from nsfast.noise.table import choose

            try:
                choose(self.randaugment_operations, self.randaugment_scale)
            except NsfastError as error:
                raise NsfastError(
                    f"randaugment_operations is {self.randaugment_operations!r}: {error}"
                ) from None
        choice("targets", self.targets, TARGETS)
        choice("loss_normalisation", self.loss_normalisation, LOSS_NORMALISATIONS)
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise NsfastError(f"{name} is {getattr(self, name)!r}; it must be above 0")
        for name in ("dropout", "stochastic_depth"):
            if getattr(self, name) == 1:
                raise NsfastError(f"{name} is 1, which leaves nothing; it must be below 1")
        if self.epoch_by == "pseudo" and not self.ratio:
            raise NsfastError(
                "epoch_by is 'pseudo' but ratio is 0, so there are none; set epoch_by to 'labeled'"
            )
        if (self.batch * (1 + self.ratio)) < 2:
            raise NsfastError("a batch of 1 picture cannot pass through batch normalisation; raise batch")

    @classmethod
    def from_parameters(cls, parameters: dict) -> Recipe:
        """Make a recipe from a stage's parameters, leaving those aside that are no part of it."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in parameters.items() if name in names})

    def to_dict(self) -> dict:
        """Return the recipe as plain data."""
        return asdict(self)
