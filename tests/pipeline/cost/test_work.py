"""Counted steps and pictures, against loaders and the paper's arithmetic."""

import numpy as np
import pytest

from nsfast.models import multiply_adds
from nsfast.pipeline.cost.picture_counts import picture_counts
from nsfast.pipeline.cost.work import NetworkAt, TrainingWork, selected_pictures, steps_of, trainings_of
from nsfast.pipeline.stages import stages_of
from nsfast.training import Recipe
from nsfast.training.batches import JointDL
from nsfast.training.phases import Phase

SMALL = NetworkAt("small", 1, 3, 1, 8)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(batch=8, epochs=5),
        Recipe(batch=5, epochs=7, ratio=3),
        Recipe(batch=6, accumulate=3, epochs=4, ratio=2, epoch_by="pseudo"),
        Recipe(batch=64, epochs=3, ratio=1, epoch_by="pseudo"),
        Recipe(batch=8, epochs=5, steps_per_epoch=9, ratio=1),
    ],
)
def test_steps_are_those_of_the_loader(recipe):
    labeled, pseudo = 53, 131
    loader = JointDL(
        list(range(labeled + pseudo)),
        [np.arange(labeled), np.arange(pseudo) + labeled],
        labeled=recipe.batch // recipe.accumulate,
        pseudo=recipe.batch // recipe.accumulate * recipe.ratio,
        steps=recipe.steps_per_epoch,
        epoch_by=recipe.epoch_by,
        accumulate=recipe.accumulate,
        shuffle=True,
    )
    assert steps_of(recipe, labeled, pseudo) == loader.steps_in(recipe.epochs)


def test_a_fit_sees_its_steps_times_the_pictures_of_a_step_three_forward_passes_each(work):
    found = work(Recipe(size=1, batch=4, ratio=5, accumulate=2), processes=2)
    assert found.pictures_in_a_step == 4 + 4 * 5 and found.pictures == 3 * 24
    assert found.pictures_at_once == 1 + 5
    assert found.multiply_adds == 3 * 72 * multiply_adds("small", 3, 1, 1, 8)
    alone = TrainingWork(SMALL, Phase("pretrain", found.recipe, labeled=False), 3, 24)
    assert alone.pictures_in_a_step == 4 * 5


def test_the_papers_chain(paper):
    counts = picture_counts(paper)
    assert (counts.labeled, counts.unlabeled) == (1_281_167 - 25_022, 130_000_000)
    assert "assumed" in counts.source and selected_pictures(paper, counts) == 130_000_000
    fits = {
        s.name: trainings_of(paper, s, counts) for s in stages_of(paper) if s.kind in ("teacher", "student")
    }
    first, tuned = fits["round-1/student"]
    assert first.pictures_in_a_step == 30_720 and fits["round-3/student"][0].pictures_in_a_step == 59_392
    assert first.steps == 350 * counts.labeled // 2048
    assert (first.network.pixels, tuned.network.pixels) == (475, 800)
    assert tuned.steps == int(1.5 * counts.labeled / 2048) and tuned.pictures_in_a_step == 2048
    assert first.network.parameters == pytest.approx(480.3e6, rel=1e-3)
