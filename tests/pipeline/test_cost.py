"""What a run costs: counted steps and pictures against loaders, memory against tensors, rates against figures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from safetensors.torch import save_file

from nsfast.errors import NsfastError
from nsfast.images import Split
from nsfast.labels.table import write_shard
from nsfast.models import build_model, multiply_adds
from nsfast.pipeline import cards, probe
from nsfast.pipeline.cards import FIGURES, CardSpeed, card_named, rate_of
from nsfast.pipeline.cost import costs, time_together
from nsfast.pipeline.cost_table import accumulate_that_fits, advice, cost_rows, duration, scaled
from nsfast.pipeline.footprint import (
    activation_bytes,
    checkpoint_bytes,
    label_bytes,
    model_bytes,
    passing_bytes,
    state_bytes,
    training_memory,
)
from nsfast.pipeline.picture_counts import PictureCounts, picture_counts
from nsfast.pipeline.probe import Probe
from nsfast.pipeline.profile import resolve
from nsfast.pipeline.stages import Stage, stages_of
from nsfast.pipeline.work import NetworkAt, TrainingWork, selected_pictures, steps_of, trainings_of
from nsfast.training import Recipe
from nsfast.training.average import WeightAverage
from nsfast.training.batches import JointDL
from nsfast.training.learner import PseudoLabeled, build_learner
from nsfast.training.phases import Phase

COUNTS = PictureCounts(3, 1, 8, 12, 24, 6, 6, False, "a test")
SMALL = NetworkAt("small", 1, 3, 1, 8)
PAPER = """
data: {name: imagenet, path: nowhere, unlabeled: nowhere/pool}
teacher: {architecture: efficientnet-b7, resolution: 600, epochs: 350, steps_per_epoch: 0, batch: 2048,
  optimizer: rmsprop, precision: bfloat16}
student: {architecture: efficientnet-l2, resolution: 475, epochs: 350, steps_per_epoch: 0, batch: 2048, ratio: 14,
  optimizer: rmsprop, precision: bfloat16, finetune_epochs: 1.5, finetune_resolution: 800}
balancing: {per_class: 130000}
iterate: {rounds: 3, ratio: [14, 14, 28]}
"""


class Second:
    """A machine that takes a second for everything."""

    where, memory, beside = "a test", 10**6, 9

    def __init__(self):
        self.sources = {"all": None}

    def step(self, work):
        return 1.0

    def look(self, network, precision="float32"):
        return 0.0

    def epoch_end(self, work):
        return 0.0

    def slowness(self):
        return 0.0


def work(recipe=None, network=SMALL, steps=3, **others):
    return TrainingWork(network, Phase("joint", recipe or Recipe(size=1, batch=4)), steps, 24, **others)


def learner(recipe, counts=COUNTS):
    random = np.random.default_rng(0)

    def split(n):
        pixels = random.integers(0, 256, (n, counts.size, counts.size, counts.channels), np.uint8)
        return Split(np.array([str(i) for i in range(n)]), pixels, np.arange(n) % counts.classes)

    pool = split(counts.unlabeled)
    shares = np.full((len(pool), counts.classes), 1 / counts.classes, np.float32)
    pseudo = PseudoLabeled(pool.pixels, shares, np.ones(len(pool), np.int64)) if recipe.ratio else None
    return build_learner(
        recipe, counts.classes, ([0.5], [0.5]), split(counts.labeled), split(counts.validation), pseudo
    )


@pytest.fixture
def paper(tmp_path):
    path = tmp_path / "paper.yaml"
    path.write_text(PAPER)
    return resolve(str(path))


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


def test_a_fit_sees_its_steps_times_the_pictures_of_a_step_three_forward_passes_each():
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


def test_every_fit_of_the_digits_has_the_steps_of_its_recipe():
    profile = resolve("digits")
    counts, found = picture_counts(profile), costs(profile, speed=Second())
    from nsfast.images.digits import digits

    made = digits(seed=profile.seed)
    assert (counts.labeled, counts.unlabeled) == (len(made.labeled), len(made.unlabeled))
    steps = {row.stage: row.steps for row in found.rows if row.steps}
    for stage in stages_of(profile):
        if stage.kind in ("teacher", "student"):
            p = stage.parameters
            assert steps[stage.name] == p["epochs"] * p["steps_per_epoch"]
    assert [row.stage for row in found.rows if row.stage.endswith("labeling")] == [
        f"round-{n}/labeling" for n in (1, 2, 3)
    ]


@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop", "sgd"])
def test_memory_of_weights_gradients_optimizer_and_average_is_that_of_the_tensors(optimizer, tmp_path):
    recipe = Recipe(size=1, batch=4, epochs=1, steps_per_epoch=1, ratio=2, optimizer=optimizer)
    made, average, gradients = learner(recipe), WeightAverage(0.9), []

    class Look(Callback):
        def before_step(self):
            gradients.extend(p.grad for p in self.model.parameters())

    with made.no_bar(), made.no_logging():
        made.fit(1, wd=[0.0, 0.0], cbs=[average, Look()])

    def size(tensors):
        return sum(t.numel() * t.element_size() for t in tensors)

    parts = training_memory(work(recipe), COUNTS)
    state = made.opt.opt.state_dict()["state"].values()
    kept = [v for each in state for v in each.values() if isinstance(v, torch.Tensor) and v.ndim]
    assert parts["weights"] == parts["average"] == size(made.model.state_dict().values())
    assert parts["average"] == size(average.average.state_dict().values())
    assert parts["gradients"] == size(gradients)
    assert parts["optimizer"] == size(kept)
    held = [d.pixels for d in (made.dls.train_ds, made.dls.valid_ds)] + [made.dls.train_ds.targets]
    assert parts["pictures"] == size(held)
    tensors = {f"raw.{k}": v for k, v in made.model.state_dict().items()}
    tensors |= {f"ema.{k}": v.clone() for k, v in tensors.items()}
    save_file({**tensors, **{f"opt.{i}": v for i, v in enumerate(kept)}}, tmp_path / "all")
    save_file(tensors, tmp_path / "model")
    for file, expected in (("all", checkpoint_bytes(SMALL, recipe)), ("model", model_bytes(SMALL))):
        content = (tmp_path / file).read_bytes()
        assert (
            len(content) - 8 - int.from_bytes(content[:8], "little") == expected
        )  # names stand before the tensors


def test_activations_are_what_autograd_saves_in_a_real_pass():
    model = build_model("resnet18", 10, 3).train()
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}

    def saved(n):
        found = {}

        def keep(t):
            s = t.untyped_storage()
            if s.data_ptr() not in own:
                found[s.data_ptr()] = s  # held, so that no other takes its place
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            loss = torch.nn.functional.cross_entropy(
                model(torch.rand(n, 3, 32, 32)), torch.full((n, 10), 0.1)
            )
        size = sum(s.nbytes() for s in found.values())
        return size + 0 * loss.item()

    assert activation_bytes(NetworkAt("resnet18", 1, 10, 3, 32)) == pytest.approx(
        (saved(5) - saved(3)) / 2, rel=0.02
    )


def test_memory_follows_precision_processes_and_parts():
    one = training_memory(work(Recipe(size=1, batch=8, ratio=1)), COUNTS)
    half = training_memory(work(Recipe(size=1, batch=8, ratio=1, precision="bfloat16")), COUNTS)
    two = training_memory(work(Recipe(size=1, batch=8, ratio=1, accumulate=2), processes=2), COUNTS)
    assert (
        one["activations"]
        == 16 * activation_bytes(SMALL)
        == 2 * half["activations"]
        == 4 * two["activations"]
    )
    assert one["copies"] == 0 and half["copies"] == 2 * SMALL.parameters and two["copies"] == two["gradients"]
    frozen = TrainingWork(SMALL, Phase("finetune", Recipe(size=1, batch=8), frozen=2), 1, 0)
    held = training_memory(frozen, COUNTS)
    assert 0 < held["gradients"] < one["gradients"] and held["weights"] == one["weights"]


def test_labeling_passes_at_least_the_widest_layer():
    # the stem of a ResNet at 64 pixels: 3 x 64 x 64 in, 64 x 32 x 32 out; then normalised and activated in place
    assert passing_bytes(NetworkAt("resnet18", 1, 10, 3, 64)) == 2 * 64 * 32 * 32 * 4


@pytest.mark.parametrize("classes", [10, 1000])
def test_labels_take_no_more_disk_than_said_and_not_much_less(classes, tmp_path):
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (2000, classes))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    ids = np.array([f"unlabeled/{i:06}" for i in range(len(shares))])
    write_shard(tmp_path / "part", ids, shares, [str(i) for i in range(classes)], {})
    size = (tmp_path / "part").stat().st_size / len(ids)
    assert 0.4 * label_bytes(classes) < size < 1.05 * label_bytes(classes)


def test_figures_name_the_multiply_adds_of_their_networks():
    for name in ("ResNet-18", "ResNet-50", "ViT-B/16", "EfficientNet-B0", "EfficientNet-B3"):
        architecture, pixels, billions, _ = cards._NETWORKS[name]
        assert multiply_adds(architecture, 1000, 3, 1, pixels) == pytest.approx(billions * 1e9, rel=1e-3)


LIGHT = [figure for figure in FIGURES if figure.multiply_adds < 2e9]


@pytest.mark.parametrize("figure", LIGHT, ids=lambda f: f"{f.card}-{f.precision}-{f.network}")
def test_a_figure_predicts_itself(figure):
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


def stage(name, *needs):
    return Stage("teacher", name, {}, needs=needs)


def test_stages_beside_each_other_take_the_longest_path():
    stages = [stage("a"), stage("b"), stage("c", "a"), stage("d", "b", "c")]
    seconds = {"a": 3.0, "b": 10.0, "c": 4.0, "d": 1.0}
    assert time_together(stages, seconds, 1) == 18
    assert time_together(stages, seconds, 2) == time_together(stages, seconds, 9) == 11


def test_time_and_money_are_sums(tmp_path):
    profile = resolve("digits", ("iterate.rounds=1",))
    found = costs(profile, speed=Second(), price=3.6, jobs=1)
    trained = [row for row in found.rows if row.work]
    assert found.seconds == sum(row.seconds for row in found.rows) == sum(row.steps for row in trained)
    assert found.hours == found.seconds / 3600
    rows = cost_rows(found)
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    assert rows[-1]["stage"] == "in all" and float(rows[-1]["price"]) == pytest.approx(
        found.seconds / 1000, abs=0.01
    )
    assert "price" not in cost_rows(costs(profile, speed=Second()))[0]
    beside = costs(profile, speed=Second(), jobs=2)
    student = sum(row.steps for row in trained if row.stage == "round-1/student")
    assert beside.seconds == max(800 + student, next(r.steps for r in trained if r.stage == "control"))


def test_advice_makes_a_batch_fit_that_does_not(tmp_path):
    (tmp_path / "light.yaml").write_text(PAPER)
    light = [f"{s}.architecture=efficientnet-b0" for s in ("teacher", "student")]
    light += [
        "teacher.resolution=224",
        "student.resolution=224",
        "student.finetune_epochs=0",
        "iterate.rounds=1",
    ]
    profile = resolve(str(tmp_path / "light.yaml"), tuple(light))
    found = costs(profile, gpu="A100", count=8, price=2.0)
    row = next(row for row in found.rows if row.stage == "round-1/student")
    accumulate = accumulate_that_fits(row.work, found, "bfloat16")
    assert row.memory > 80e9
    said = [line for line in advice(found) if line.startswith("round-1/student: 3840 pictures at once")]
    assert accumulate > 1 and len(said) == 1 and f"accumulate={accumulate} " in said[0]
    fitting = costs(resolve_with(profile, accumulate), gpu="A100", count=8)
    assert next(r for r in fitting.rows if r.stage == "round-1/student").memory <= 0.9 * 80e9
    assert any("of the paper" in line or "paper's" in line for line in advice(found))
    assert any("one of the 8 devices" in line for line in advice(found))


def resolve_with(profile, accumulate):
    student = {**profile.groups["student"], "accumulate": accumulate}
    return replace(profile, groups={**profile.groups, "student": student})


def test_advice_names_a_batch_that_does_not_divide_and_what_bfloat16_saves():
    found = costs(resolve("digits"), speed=Second(), count=3)
    assert any(line.startswith("teacher") and "does not divide into" in line for line in advice(found))
    recipe = Recipe(architecture="resnet18", batch=64)
    big = work(recipe, NetworkAt("resnet18", 1, 10, 3, 64))
    tight = costs(resolve("digits"), speed=Second())
    half = work(replace(recipe, precision="bfloat16"), big.network)
    whole = [sum(training_memory(w, tight.counts).values()) for w in (big, half)]
    tight.speed.memory = sum(whole) / 2 / 0.9
    assert whole[1] < whole[0] and accumulate_that_fits(big, tight, "bfloat16") == 1
    assert accumulate_that_fits(big, tight, "float32") == 2
    tight.speed.memory = 10
    assert accumulate_that_fits(big, tight, "bfloat16") is None


def test_official_sets_are_counted_from_their_published_sizes(tmp_path):
    def counted(name, *settings):
        found = picture_counts(resolve(write(tmp_path, name), settings))
        return found.labeled, found.unlabeled, found.validation, found.test

    assert counted("cifar10") == (4000, 41_000, 5000, 10_000)
    assert counted("svhn") == (69_257, 531_131, 4000, 26_032)
    assert counted("svhn", "data.labeled=1000", "data.extra=false") == (1000, 68_257, 4000, 26_032)
    assert counted("stl10") == (4500, 100_000, 500, 8000)
    labeled, unlabeled, validation, _ = counted("imagenette")
    assert labeled + unlabeled + validation == 9469
    with pytest.raises(NsfastError, match="ask for fewer"):
        counted("cifar10", "data.labeled=45000")


def write(folder, name):
    path = folder / f"{name}.yaml"
    path.write_text(f"data: {{name: {name}}}\n")
    return str(path)


def test_a_folder_is_counted_by_listing_it_as_reading_it_counts(tmp_path):
    from nsfast.images.readers import READERS
    from nsfast.images.tiny import write_tiny

    made = write_tiny("folder", tmp_path / "mine")
    (tmp_path / "folder.yaml").write_text(f"data: {{name: folder, path: {made['path']}, size: 16}}\n")
    profile = resolve(str(tmp_path / "folder.yaml"))
    found, images = picture_counts(profile), READERS["folder"](**made)
    for name in ("labeled", "unlabeled", "validation", "test"):
        assert getattr(found, name) == len(getattr(images, name)), name
    assert (found.classes, found.size, found.channels) == (len(images.classes), images.size, images.channels)


def test_the_probe_measures_what_it_is_asked_once_and_leaves_the_random_numbers_as_they_were():
    machine, fit = Probe(seconds=0.1, batch=8), work(Recipe(size=1, batch=4, ratio=2, crop="inception"))
    state = torch.get_rng_state()
    step = machine.step(fit)
    assert step > machine.look(SMALL) > 0 and machine.epoch_end(fit) >= 0
    assert (
        machine.step(work(Recipe(size=1, batch=8, accumulate=2, ratio=2, crop="inception", seed=3)))
        == 2 * step
    )
    assert machine.step(work(Recipe(size=1, batch=8, ratio=2), processes=2)) == step
    assert torch.equal(state, torch.get_rng_state())
    assert sum(source.startswith("training") for source in machine.sources) == 1


def test_the_probe_takes_a_smaller_part_when_memory_runs_out(monkeypatch):
    tried, fit = [], probe._time_fit

    def short(learner, recipe, steps, device):
        tried.append(learner.dls.train.bs)
        if learner.dls.train.bs > 6:
            raise torch.OutOfMemoryError
        return fit(learner, recipe, 2, device)

    monkeypatch.setattr(probe, "_time_fit", short)
    machine = Probe(seconds=2, batch=8)
    assert machine.step(work(Recipe(size=1, batch=8, ratio=2))) > 0
    assert tried == [24, 12, 6, 6] and any("(the run: 24)" in source for source in machine.sources)


def test_the_probe_refuses_what_is_too_large_and_says_how_else():
    giant = NetworkAt("resnet50", 1, 1000, 3, 2000)
    with pytest.raises(NsfastError, match="too large to be tried.*--gpu: RTX 3090"):
        Probe(device=torch.device("cpu")).look(giant)
    assert state_bytes(giant) > 4 * 25.5e6


def test_numbers_are_written_with_their_units():
    assert [scaled(n) for n in (5, 1234, 480.3e6, 2.1e12, 4e15)] == ["5 ", "1.23 k", "480 M", "2.1 T", "4 P"]
    assert [duration(s) for s in (5, 600, 7200, 6 * 86400)] == ["5 s", "10 min", "2 h", "6 days"]
