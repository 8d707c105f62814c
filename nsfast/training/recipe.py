"""A recipe: everything that a training needs beside the pictures, checked when it is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from nsfast.errors import NsfastError, choice, within

# the names of `nsfast.losses`, `nsfast.noise.table` and `nsfast.training.batches`, without their import of torch
LOSS_NORMALISATIONS = ("concat", "per_stream", "official")
SCALES = ("official", "torchvision")
TARGETS = ("soft", "hard")
EPOCH_BY = ("labeled", "pseudo")
OPTIMIZERS = ("adamw", "rmsprop", "sgd")
SCHEDULES = ("cosine", "staircase", "constant")
CROPS = ("none", "pad", "inception")
PRECISIONS = ("float32", "bfloat16")
ORDERS = ("joint", "pretrain")
NOISES = ("randaugment", "stochastic_depth", "dropout")


@dataclass(frozen=True)
class Recipe:
    """How to train one network; the defaults are those of the digits.

    Args:
        architecture: "small", "efficientnet-b0" to "-l2", or the name of a timm or torchvision classifier.
        size: width factor of "small".
        start: weights to start from: "scratch", "teacher" (a student's), "timm" or a .safetensors file.
        epochs: rounds of training, validation and checkpoint; 0 takes the weights of `start` as they are.
        steps_per_epoch: optimizer steps in an epoch; 0 leaves it to `epoch_by`.
        epoch_by: an epoch is one pass over the "labeled" or over the "pseudo"-labeled pictures.
        batch: labeled pictures in an optimizer step, over all processes.
        ratio: pseudo-labeled pictures for each labeled one in a batch; 0 without pseudo-labels.
        order: "joint" batches, or "pretrain" on the pseudo-labels alone and then train on the labels (for comparison).
        accumulate: parts that a step's pictures are passed through the network in, each with the same ratio.
        optimizer: "adamw", "rmsprop" (TensorFlow's, as released) or "sgd".
        learning_rate: the highest, for `learning_rate_batch` labeled pictures in a step.
        learning_rate_batch: labeled pictures the rate is meant for; it grows in proportion to `batch`. 0: as it is.
        schedule: "cosine" after a linear warm-up, "staircase" (the paper's) or "constant".
        warmup: share of the steps over which the rate of "cosine" rises, 0..0.9.
        warmup_epochs: passes over the labeled pictures over which the rate of "staircase" rises from 0.
        decay_factor: by which "staircase" multiplies the rate at each stair, 0..1.
        decay_epochs: passes over the labeled pictures between two stairs.
        final_learning_rate: if above 0, `decay_epochs` is chosen so that the rate ends there (scaled like the highest).
        weight_decay: of AdamW decoupled; of the others as released, added to the gradient.
        decay_biases: whether biases decay too, as released; parameters of normalisation layers never do.
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
        pseudo_noise: which of `NOISES` pseudo-labeled pictures get: "all", "none", or names between commas; labeled
            ones get all. (The paper's noise ablation takes noise from the pseudo-labeled pictures alone.)
        resolution: height and width in pixels that the network trains at; 0 for the pictures' own.
        crop: "none", "pad" (reflect an eighth of the size and cut back) or "inception" (random area and aspect, for
            pictures kept as files).
        flip: whether half of the pictures are mirrored.
        cutout: side in pixels of a grey square laid on each picture, 0 for none.
        ema: decay of the weight average, 0..1; 0 switches it off.
        precision: "float32" or "bfloat16" (autocast; weights stay float32).
        sync_batchnorm: batch normalisation over all processes (GPU).
        finetune_epochs: passes over the labeled pictures after training, no noise on them (FixRes, arXiv 1906.06423).
        finetune_resolution: its resolution, 0 for `resolution`.
        finetune_learning_rate: its rate (scaled like the highest), 0 for the last one of training.
        finetune_frozen: how many of the first blocks do not move in it; the stem with them.
        seed: of weights, batches and noise.

    Raises:
        NsfastError: a value outside its range, naming it.
    """

    architecture: str = "small"
    size: int = 2
    start: str = "scratch"
    epochs: int = 10
    steps_per_epoch: int = 0
    epoch_by: str = "labeled"
    batch: int = 32
    ratio: int = 0
    order: str = "joint"
    accumulate: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 3e-3
    learning_rate_batch: int = 0
    schedule: str = "cosine"
    warmup: float = 0.1
    warmup_epochs: float = 5.0
    decay_factor: float = 0.97
    decay_epochs: float = 2.4
    final_learning_rate: float = 0.0
    weight_decay: float = 0.05
    decay_biases: bool = False
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
    pseudo_noise: str = "all"
    resolution: int = 0
    crop: str = "none"
    flip: bool = False
    cutout: int = 0
    ema: float = 0.99
    precision: str = "float32"
    sync_batchnorm: bool = False
    finetune_epochs: float = 0.0
    finetune_resolution: int = 0
    finetune_learning_rate: float = 0.0
    finetune_frozen: int = 0
    seed: int = 0

    def __post_init__(self):
        for name, low in _LOWEST.items():
            within(name, getattr(self, name), low)
        for name in (
            "label_smoothing",
            "dropout",
            "stochastic_depth",
            "randaugment_fill",
            "ema",
            "decay_factor",
        ):
            within(name, getattr(self, name), 0, 1)
        within("warmup", self.warmup, 0, 0.9)
        within("randaugment_n", self.randaugment_n, 0, 16)
        within("randaugment_m", self.randaugment_m, 0, 30)
        for name, valid in _CHOICES.items():
            choice(name, getattr(self, name), valid)
        names = self._noises_on_pseudo()
        for name in names:
            choice("pseudo_noise", name, NOISES if len(names) > 1 else ("all", "none", *NOISES))
        if self.randaugment_operations != "paper":
            from nsfast.noise.table import choose

            try:
                choose(self.randaugment_operations, self.randaugment_scale)
            except NsfastError as error:
                raise NsfastError(
                    f"randaugment_operations is {self.randaugment_operations!r}: {error}"
                ) from None
        for name in ("learning_rate", "temperature", "decay_factor", "decay_epochs"):
            if not getattr(self, name) > 0:
                raise NsfastError(f"{name} is {getattr(self, name)!r}; it must be above 0")
        for name in ("dropout", "stochastic_depth"):
            if getattr(self, name) == 1:
                raise NsfastError(f"{name} is 1, which leaves nothing; it must be below 1")
        if self.epoch_by == "pseudo" and not self.ratio:
            raise NsfastError(
                "epoch_by is 'pseudo' but ratio is 0, so there are none; set epoch_by to 'labeled'"
            )
        if not self.epochs and self.start == "scratch":
            raise NsfastError("epochs is 0 and start is 'scratch': nothing would be learned; set either")
        if self.final_learning_rate >= self.learning_rate:
            raise NsfastError(
                f"final_learning_rate is {self.final_learning_rate:g}; it must be below learning_rate, which is "
                f"{self.learning_rate:g}"
            )
        self.per_part(1)

    def _noises_on_pseudo(self) -> list[str]:
        return [name.strip() for name in self.pseudo_noise.split(",")]

    @property
    def spared(self) -> frozenset[str]:
        """Which of `NOISES` pseudo-labeled pictures are spared; none where there are no such pictures."""
        on = self._noises_on_pseudo()
        return frozenset() if "all" in on or not self.ratio else frozenset(NOISES).difference(on)

    def per_part(self, processes: int) -> int:
        """Return how many labeled pictures a process passes through the network at once.

        Raises:
            NsfastError: `batch` does not divide into `accumulate` parts on that many processes.
        """
        parts = self.accumulate * processes
        if self.batch % parts:
            where = f"accumulate={self.accumulate}" + (f" x {processes} processes" if processes > 1 else "")
            lowest = parts * (1 if self.ratio else 2)  # batch normalisation needs two pictures
            near = max(lowest, self.batch // parts * parts)
            raise NsfastError(
                f"batch={self.batch} does not divide into {where} equal parts, so the ratio of labeled to "
                f"pseudo-labeled pictures would not hold in each; set batch to {near}"
            )
        if self.batch // parts * (1 + self.ratio) < 2:
            raise NsfastError(
                "a batch of 1 picture cannot pass through batch normalisation; raise batch"
                + (" or lower accumulate" if parts > 1 else "")
            )
        return self.batch // parts

    @classmethod
    def from_parameters(cls, parameters: dict) -> Recipe:
        """Make a recipe from a stage's parameters, leaving those aside that are no part of it."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in parameters.items() if name in names})

    def to_dict(self) -> dict:
        """Return the recipe as plain data."""
        return asdict(self)


_LOWEST = {
    **dict.fromkeys(("size", "batch", "accumulate"), 1),
    **dict.fromkeys(("epochs", "steps_per_epoch", "ratio", "learning_rate_batch", "warmup_epochs"), 0),
    **dict.fromkeys(("final_learning_rate", "weight_decay", "resolution", "cutout"), 0),
    **dict.fromkeys(
        ("finetune_epochs", "finetune_resolution", "finetune_frozen", "finetune_learning_rate"), 0
    ),
}
_CHOICES = {
    "epoch_by": EPOCH_BY,
    "order": ORDERS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "randaugment_scale": SCALES,
    "targets": TARGETS,
    "loss_normalisation": LOSS_NORMALISATIONS,
    "crop": CROPS,
    "precision": PRECISIONS,
}
