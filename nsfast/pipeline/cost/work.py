"""What a run is going to do, counted: networks at a resolution, and optimizer steps over pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from nsfast.labels.balancing.limits import paper_number
from nsfast.pipeline.cost.picture_counts import PictureCounts
from nsfast.pipeline.profile import Profile
from nsfast.pipeline.stages import Stage
from nsfast.training import Recipe
from nsfast.training.phases import Phase, phases

if TYPE_CHECKING:
    from nsfast.models import Network

DECODED_BY_A_CORE = 367  # pictures of 500 x 375 per second and core with PIL, cropped and augmented, AMD EPYC
FORWARDS_OF_A_STEP = 3  # a backward pass is two: gradients of what comes in, and of the weights


@dataclass(frozen=True)
class NetworkAt:
    """A network that looks at pictures of one size.

    Args:
        architecture, size: as `build_model` takes them.
        classes, channels: of the pictures.
        pixels: their height and width.
    """

    architecture: str
    size: int
    classes: int
    channels: int
    pixels: int

    @property
    def name(self) -> str:
        """ "small 2", "efficientnet-b0", ..."""
        return f"small {self.size}" if self.architecture == "small" else self.architecture

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return sum(p.numel() for p in shapes(self).parameters())

    @property
    def multiply_adds(self) -> int:
        """Of one forward pass over one picture."""
        return _multiply_adds(self)


@lru_cache(maxsize=32)
def shapes(network: NetworkAt) -> Network:
    """Return the network on the meta device: shapes without weights. It is one for all who ask; leave it as it is."""
    from nsfast.models.without_weights import build_without_weights

    shape = (network.classes, network.channels, network.size, network.pixels)
    return build_without_weights(network.architecture, *shape)


@lru_cache
def _multiply_adds(network: NetworkAt) -> int:
    from nsfast.models import multiply_adds

    shape = (network.classes, network.channels, network.size, network.pixels)
    return multiply_adds(network.architecture, *shape)


@dataclass(frozen=True)
class TrainingWork:
    """One fit of a stage.

    Args:
        network: at the resolution of this fit.
        phase: the fit's recipe, and whether labeled pictures take part.
        steps: optimizer steps.
        pseudo: pseudo-labeled pictures, copies counted, that it draws from.
        processes: that train together, one a GPU.
    """

    network: NetworkAt
    phase: Phase
    steps: int
    pseudo: int
    processes: int = 1

    @property
    def recipe(self) -> Recipe:
        """The recipe of this fit."""
        return self.phase.recipe

    @property
    def kinds(self) -> int:
        """Pictures for each labeled one in a batch's count: itself, if it takes part, and its pseudo-labeled ones."""
        return self.phase.labeled + self.recipe.ratio

    @property
    def pictures_in_a_step(self) -> int:
        """Labeled and pseudo-labeled, over all processes."""
        return self.recipe.batch * self.kinds

    @property
    def pictures(self) -> int:
        """Pictures that the whole fit sees."""
        return self.steps * self.pictures_in_a_step

    @property
    def part(self) -> int:
        """Labeled pictures that a process passes through the network at once, rounded up where they do not divide."""
        return -(-self.recipe.batch // (self.recipe.accumulate * self.processes))

    @property
    def pictures_at_once(self) -> int:
        """Pictures that a process passes through the network at once."""
        return self.part * self.kinds

    @property
    def multiply_adds(self) -> int:
        """Of the whole fit, forward and backward."""
        return FORWARDS_OF_A_STEP * self.network.multiply_adds * self.pictures


def selected_pictures(profile: Profile, counts: PictureCounts) -> int:
    """Return how many pseudo-labeled pictures a student draws from, copies counted.

    Where `balancing.per_class` is a number, or the paper's, every class has as many. What the largest class keeps, what
    "auto" finds and what is left without balancing is not known before labeling: as many as there are unlabeled ones
    are assumed.
    """
    per_class = profile.groups["balancing"]["per_class"]
    if not number_is_known(profile):
        return counts.unlabeled
    number = paper_number(counts.unlabeled, counts.classes) if per_class == "paper" else per_class
    return number * counts.classes


def number_is_known(profile: Profile) -> bool:
    """Whether it is known before labeling how many pseudo-labeled pictures a student draws from."""
    balancing = profile.groups["balancing"]
    return balancing["method"] != "none" and balancing["per_class"] not in ("largest", "auto")


def steps_of(recipe: Recipe, labeled: int, pseudo: int) -> int:
    """Return the optimizer steps of a fit, as its loader counts them (`JointDL.steps_in`).

    Args:
        labeled, pseudo: pictures of each kind, copies counted.
    """
    if recipe.steps_per_epoch:
        return recipe.epochs * recipe.steps_per_epoch
    pictures, each = (
        (labeled, recipe.batch) if recipe.epoch_by == "labeled" else (pseudo, recipe.batch * recipe.ratio)
    )
    return max(recipe.epochs, recipe.epochs * pictures // each)


def trainings_of(
    profile: Profile, stage: Stage, counts: PictureCounts, count: int | None = None
) -> list[TrainingWork]:
    """Return the fits of a teacher, control or student in order.

    Args:
        counts: the run's pictures.
        count: processes that train together; by default as many as the stage's parameters say.
    """
    recipe, pseudo = Recipe.from_parameters(stage.parameters), selected_pictures(profile, counts)
    found = []
    for phase in phases(recipe, counts.labeled):
        side = phase.recipe.resolution or counts.size
        network = NetworkAt(recipe.architecture, recipe.size, counts.classes, counts.channels, side)
        steps = steps_of(phase.recipe, counts.labeled, pseudo)
        drawn = pseudo if phase.recipe.ratio else 0
        processes = count or stage.parameters.get("num_processes", 1)
        found.append(TrainingWork(network, phase, steps, drawn, processes))
    return found


def tested_network(stage: Stage, counts: PictureCounts) -> NetworkAt:
    """Return what a training stage leaves, at the resolution at which it is tested and labels."""
    recipe = Recipe.from_parameters(stage.parameters)
    side = (recipe.finetune_resolution if recipe.finetune_epochs else 0) or recipe.resolution or counts.size
    return NetworkAt(recipe.architecture, recipe.size, counts.classes, counts.channels, side)
