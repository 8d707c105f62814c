"""The recipes of the paper and of its released code, as data: every number with its arithmetic and where it is from.

Sources: Xie, Luong, Hovy, Le, arXiv 1911.04252 (CVPR 2020), and github.com/google-research/noisystudent. Where the two
disagree, the row takes one and says the other. Numbers without a confirmed source are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from nsfast.errors import choice

Value = float | int | str | bool


@dataclass(frozen=True)
class Figure:
    """A number of a recipe.

    Args:
        number: what it is.
        value: as published.
        source: where it is from, and what the other source says.
        parameter: of nsfast that takes it, "" for none.
        arithmetic: how it comes about, "" where it is given.
    """

    number: str
    value: Value
    source: str
    parameter: str = ""
    arithmetic: str = ""


@dataclass(frozen=True)
class ReleasedRecipe:
    """A published recipe.

    Args:
        name: its key in `RECIPES`.
        labeled: labeled pictures that it trains on.
        figures: all that is published of it.
        steps: optimizer steps, 0 for as many whole ones as `epochs` passes have.
        steps_arithmetic: where `steps` come from.
        extra: parameters of nsfast that say the same in its own terms, over those of the figures.
    """

    name: str
    labeled: int
    figures: tuple[Figure, ...]
    steps: int = 0
    steps_arithmetic: str = ""
    extra: tuple[tuple[str, Value], ...] = ()

    def parameters(self) -> dict[str, Value]:
        """Return the values of nsfast's parameters."""
        return {f.parameter: f.value for f in self.figures if f.parameter} | dict(self.extra)


IMAGENET, SVHN = 1_281_167, 73_257 - 4_000
TRAIN_STEPS = 109_474

_CODE, _PAPER = "released code", "paper"
_MAIN, _UTILS, _MODEL = f"{_CODE}, main.py", f"{_CODE}, utils.py", f"{_CODE}, efficientnet_builder.py"
_SCRIPT, _SVHN_SCRIPT = f"{_CODE}, local_scripts/imagenet/train.sh", f"{_CODE}, local_scripts/svhn"
_NOISE, _PICTURES = f"{_CODE}, randaugment.py", f"{_CODE}, preprocessing.py"

_OPTIMISATION = (
    Figure(
        "optimizer", "rmsprop", _UTILS, "optimizer", "decay 0.9, momentum 0.9, epsilon 0.001 inside the root"
    ),
    Figure("base learning rate", 0.016, f"{_MAIN}; {_PAPER}", "learning_rate"),
    Figure("labeled pictures that rate is for", 256, _MAIN, "learning_rate_batch"),
    Figure("schedule", "staircase", _UTILS, "schedule", "linear warm-up, then a factor at each stair"),
    Figure("warm-up, epochs", 5.0, _MAIN, "warmup_epochs"),
    Figure("factor of a stair", 0.97, f"{_UTILS}; {_PAPER}", "decay_factor"),
    Figure("biases decay", True, f"{_MAIN}: all but batch normalisation", "decay_biases"),
    Figure("label smoothing", 0.1, f"{_MAIN}: of labels and hard pseudo-labels", "label_smoothing"),
    Figure("targets", "soft", f"{_CODE}, all scripts (the flag's default is hard)", "targets"),
    Figure("temperature of soft targets", 1.0, f"{_CODE}, all scripts", "temperature"),
    Figure("decay of the weight average", 0.9999, _MAIN, "ema", "min(0.9999, (1 + t) / (10 + t))"),
    Figure("momentum of batch normalisation", 0.99, f"{_MODEL} (0.01 as PyTorch counts)"),
    Figure("epsilon of batch normalisation", 0.001, _MODEL),
    Figure("student's first weights", "scratch", f"{_PAPER}, main results", "start"),
    Figure("batches", "joint", f"{_PAPER}, Algorithm 1; {_MAIN}", "order"),
    Figure("an epoch counts pictures that are", "labeled", f"{_CODE}, data_input.py", "epoch_by"),
    Figure("smallest confidence kept", 0.3, f"{_PAPER}; {_CODE}, filter_unlabel.py", "threshold"),
)
_OFFICIAL_LOSS = Figure(
    "normalisation of the loss", "official", f"{_MAIN}; {_PAPER}: average over the joint batch",
    "loss_normalisation", "mean(labeled) + ratio x mean(pseudo-labeled)",
)  # fmt: skip
_OFFICIAL_SELECTION = Figure(
    "selection", "official", f"{_CODE}, filter_unlabel.py: by bins; {_PAPER}: the most confident", "method"
)
_DEPTH = Figure(
    "stochastic depth, drop rate of the last block", 0.2, f"{_PAPER}; {_CODE}", "stochastic_depth", "1 - 0.8"
)
_ALL_OPERATIONS = (
    Figure("RandAugment operations", "all", f"{_NOISE}: 16; {_PAPER}: 14", "randaugment_operations"),
    Figure("scale of the magnitude", "official", f"{_NOISE}: levels of 10, not clipped", "randaugment_scale"),
    Figure("grey of outside pixels", 0.502, _NOISE, "randaugment_fill", "128 / 255"),
)
_IMAGENET_PICTURES = (
    Figure("crop", "inception", f"{_PICTURES}: area 0.08 to 1, aspect 3/4 to 4/3", "crop"),
    Figure("mirrored", True, _PICTURES, "flip"),
    Figure("pictures of a class after balancing", 130_000, f"{_PAPER}; {_CODE}, scripts", "per_class"),
    Figure("precision", "bfloat16", f"{_CODE}, on TPU", "precision"),
)

# ratio, train_ratio, RandAugment magnitude (0: none), dropout, resolution
_SCRIPTS = {
    "b0": (1, 2, 0, 0.2, 224),
    "b1": (3, 2, 0, 0.2, 240),
    "b2": (3, 2, 6, 0.3, 260),
    "b3": (3, 2, 12, 0.3, 300),
    "b4": (3, 2, 15, 0.4, 380),
    "b5": (3, 1, 18, 0.4, 456),
    "b6": (3, 1, 24, 0.5, 528),
    "b7": (3, 1, 27, 0.5, 600),
}


def _script(model: str) -> ReleasedRecipe:
    """The released ImageNet script of B0 to B7."""
    ratio, times, magnitude, dropout, resolution = _SCRIPTS[model]
    count, unset = (2, "") if magnitude else (0, " (augment_name is not set)")
    dropped = "; a line continuation is missing there, so that it would not be read" if model == "b3" else ""
    figures = (
        Figure("network", f"efficientnet-{model}", _SCRIPT, "architecture"),
        Figure("teacher's network", f"efficientnet-{model}", _SCRIPT),
        Figure("labeled pictures", IMAGENET, _MAIN),
        Figure("labeled pictures in a step", 4096, f"{_MAIN}, flag's default; {_PAPER}: 2048 by default", "batch"),
        Figure("pseudo-labeled pictures for each", ratio, f"{_SCRIPT}; {_PAPER}, L2: 14 and 28", "ratio"),
        Figure("epochs", 350 * times, f"{_SCRIPT}; {_PAPER}", "epochs", f"{times} x 350"),
        Figure("epochs between stairs", 2.4 * times, f"{_MAIN}; {_PAPER}", "decay_epochs", f"{times} x 2.4"),
        *_OPTIMISATION,
        Figure("weight decay", 1e-5, _MAIN, "weight_decay"),
        _OFFICIAL_LOSS,
        Figure("dropout", dropout, f"{_MODEL}; {_PAPER}: 0.5", "dropout"),
        _DEPTH,
        Figure("RandAugment operations per picture", count, f"{_SCRIPT}{unset}; {_PAPER}: 2", "randaugment_n"),
        *(
            (
                Figure("RandAugment magnitude", magnitude, f"{_SCRIPT}{dropped}; {_PAPER}: 27", "randaugment_m"),
                *_ALL_OPERATIONS,
            )
            if magnitude
            else ()
        ),
        Figure("resolution", resolution, _MODEL, "resolution"),
        *_IMAGENET_PICTURES,
        _OFFICIAL_SELECTION,
    )  # fmt: skip
    arithmetic = f"{times} x {TRAIN_STEPS:,} (flags train_ratio, train_steps)"
    return ReleasedRecipe(f"imagenet-{model}", IMAGENET, figures, TRAIN_STEPS * times, arithmetic)


def _paper(iteration: int) -> ReleasedRecipe:
    """The paper's three iterations with EfficientNet-L2."""
    ratio, top1 = {1: (14, 87.6), 2: (14, 88.1), 3: (28, 88.4)}[iteration]
    teacher = "efficientnet-b7" if iteration == 1 else f"efficientnet-l2 of imagenet-l2-{iteration - 1}"
    figures = (
        Figure("network", "efficientnet-l2", f"{_PAPER}: width 4.3, depth 5.3", "architecture"),
        Figure("teacher's network", teacher, _PAPER),
        Figure("labeled pictures", IMAGENET, _MAIN),
        Figure("labeled pictures in a step", 2048, f"{_PAPER}; {_CODE}: 4096 by default", "batch"),
        Figure("pseudo-labeled pictures for each", ratio, f"{_PAPER}, table of iterations", "ratio"),
        Figure("epochs", 350, f"{_PAPER}: models larger than B4", "epochs"),
        Figure("epochs between stairs", 2.4, f"{_PAPER}: of a run of 350 epochs", "decay_epochs"),
        *_OPTIMISATION,
        Figure("weight decay", 1e-5, _MAIN, "weight_decay"),
        Figure(
            "normalisation of the loss", "concat",
            f"{_PAPER}, text; its Algorithm 1: a mean of each; {_CODE}: mean + ratio x mean", "loss_normalisation",
        ),
        Figure("dropout", 0.5, f"{_PAPER}; {_MODEL}", "dropout"),
        _DEPTH,
        Figure("RandAugment operations per picture", 2, _PAPER, "randaugment_n"),
        Figure("RandAugment magnitude", 27, _PAPER, "randaugment_m"),
        Figure("RandAugment operations", "paper", f"{_PAPER}: 14; {_NOISE}: 16", "randaugment_operations"),
        *_ALL_OPERATIONS[1:],
        Figure("resolution", 475, f"{_PAPER}; {_MODEL}: 800", "resolution"),
        *_IMAGENET_PICTURES,
        Figure("selection", "top", f"{_PAPER}: the most confident; {_CODE}: by bins", "method"),
        Figure("epochs of fine-tuning without noise", 1.5, f"{_PAPER} (FixRes)", "finetune_epochs"),
        Figure("resolution of fine-tuning and test", 800, _PAPER, "finetune_resolution"),
        Figure("blocks frozen in fine-tuning", "not published", f"{_PAPER}: shallow layers"),
        Figure("ImageNet top-1, per cent", top1, f"{_PAPER}, table of iterations"),
    )  # fmt: skip
    return ReleasedRecipe(f"imagenet-l2-{iteration}", IMAGENET, figures)


def _svhn() -> ReleasedRecipe:
    """The released SVHN script, the only one that runs without ImageNet."""
    figures = (
        Figure("network", "efficientnet-b0-32px", f"{_SVHN_SCRIPT}: B0, stages 2 and 3 with stride 1", "architecture"),
        Figure("teacher's network", "efficientnet-b0-32px", _SVHN_SCRIPT),
        Figure("labeled pictures", SVHN, f"{_CODE}, proc_svhn.py", "", "73,257 - 4,000 for validation"),
        Figure("unlabeled pictures", 531_131, f"{_CODE}, proc_svhn.py"),
        Figure("labeled pictures in a step", 128, _SVHN_SCRIPT, "batch"),
        Figure("pseudo-labeled pictures for each", 5, _SVHN_SCRIPT, "ratio"),
        *_OPTIMISATION,
        Figure("last learning rate", 0.0002, f"{_SVHN_SCRIPT}, per 256", "final_learning_rate"),
        Figure("weight decay", 1e-4, _SVHN_SCRIPT, "weight_decay"),
        _OFFICIAL_LOSS,
        Figure("dropout", 0.2, f"{_MODEL}; {_PAPER}: 0.5", "dropout"),
        _DEPTH,
        Figure("RandAugment operations per picture", 2, _MAIN, "randaugment_n"),
        Figure("RandAugment magnitude", 5, _SVHN_SCRIPT, "randaugment_m"),
        *_ALL_OPERATIONS,
        Figure("side of the grey square", 16, _PICTURES, "cutout"),
        Figure("resolution", 32, _MAIN, "resolution"),
        Figure("crop", "pad", f"{_PICTURES}: reflect 4, crop 32", "crop", "32 / 8 = 4"),
        Figure("mirrored", False, _PICTURES, "flip"),
        Figure("pictures of a class after balancing", 53_113, _SVHN_SCRIPT, "per_class", "531,131 / 10"),
        _OFFICIAL_SELECTION,
        Figure("teacher's test accuracy, per cent", 97.9, f"{_CODE}, README.md"),
        Figure("student's test accuracy, per cent", 98.6, f"{_CODE}, README.md: ± 0.1"),
    )  # fmt: skip
    # 202.3 passes are no whole number of epochs; 254 x 431 are exactly the released steps
    rounds = (("epochs", 254), ("steps_per_epoch", 431))
    return ReleasedRecipe("svhn", SVHN, figures, TRAIN_STEPS, "254 x 431 (flag train_steps)", rounds)


_ALL = (*map(_script, _SCRIPTS), _paper(1), _paper(2), _paper(3), _svhn())
RECIPES: dict[str, ReleasedRecipe] = {recipe.name: recipe for recipe in _ALL}


def released_recipe(name: str) -> ReleasedRecipe:
    """Return a published recipe.

    Raises:
        NsfastError: an unknown name; the nearest is offered.
    """
    return RECIPES[choice("released recipe", name, RECIPES)]


def recipe_parameters(name: str) -> dict[str, Value]:
    """Return a published recipe as values of nsfast's parameters, named as the fields of `Recipe`.

    `threshold`, `per_class` and `method` are of the selection of pseudo-labels; `Recipe.from_parameters` leaves them
    aside.

    Raises:
        NsfastError: an unknown name.
    """
    return released_recipe(name).parameters()


def recipe_rows(name: str) -> list[dict[str, Value]]:
    """Return a published recipe as a table: "number", "value", "arithmetic" and "where from"; what follows, last.

    Raises:
        NsfastError: an unknown name.
    """
    recipe = released_recipe(name)
    return [
        {"number": f.number, "value": f.value, "arithmetic": f.arithmetic, "where from": f.source}
        for f in (*recipe.figures, *_derived(recipe))
    ]


def _derived(recipe: ReleasedRecipe) -> list[Figure]:
    """What follows from the published numbers by arithmetic."""
    from nsfast.training.schedule import decay_epochs_for, scaled_rate, staircase

    p, labeled = recipe.parameters(), recipe.labeled
    batch, rate, per = p["batch"], p["learning_rate"], p["learning_rate_batch"]
    epoch = labeled / batch
    steps = recipe.steps or p["epochs"] * labeled // batch
    steps_text = recipe.steps_arithmetic or f"floor({p['epochs']} x {labeled:,} / {batch})"
    passes, warmup, factor = steps / epoch, p["warmup_epochs"], p["decay_factor"]
    rows = [
        ("steps in a labeled epoch", round(epoch, 2), f"{labeled:,} / {batch}"),
        ("optimizer steps", steps, steps_text),
        ("labeled epochs in them", round(passes, 2), f"{steps:,} x {batch} / {labeled:,}"),
        ("highest learning rate", scaled_rate(rate, batch, per), f"{rate} x {batch} / {per}"),
    ]
    if batch > 2048:
        rows.append(("highest learning rate at 2048", scaled_rate(rate, 2048, per), f"{rate} x 2048 / {per}"))
    rows.append(("steps of warm-up", int(warmup * epoch), f"int({warmup:g} x {epoch:.2f})"))
    stairs = p.get("decay_epochs")
    if stairs is None:
        final = p["final_learning_rate"]
        stairs = decay_epochs_for(final, rate, passes, warmup, factor)
        text = f"({passes:.1f} - {warmup:g}) / (ln({final} / {rate}) / ln {factor})"
        rows += [
            ("last learning rate that is aimed at", scaled_rate(final, batch, per), f"{final} x {batch} / {per}"),
            ("epochs between stairs", round(stairs, 4), text),
        ]  # fmt: skip
    base = scaled_rate(rate, batch, per)
    last = staircase(steps - 1, base, epoch, warmup, stairs, factor)
    down = int((steps - 1) // (epoch * stairs))
    pseudo = batch * p["ratio"]
    rows += [
        ("steps between stairs", round(stairs * epoch, 2), f"{stairs:.5g} x {epoch:.2f}"),
        ("learning rate of the last step", float(f"{last:.4g}"), f"{base:g} x {factor}^{down}"),
        ("pseudo-labeled pictures in a step", pseudo, f"{p['ratio']} x {batch}"),
        ("pictures in a step", batch + pseudo, f"{batch} + {pseudo:,}"),
        ("pictures seen in all", steps * (batch + pseudo), f"{steps:,} x {batch + pseudo:,}"),
    ]
    return [Figure(number, value, "derived", "", arithmetic) for number, value, arithmetic in rows]
