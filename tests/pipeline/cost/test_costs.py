"""What a run costs: rows, their sums, and stages beside each other."""

import inspect

import pytest

from nsfast.images.files import PictureFiles
from nsfast.pipeline.cost.costs import DECODING_THREADS, costs, time_together
from nsfast.pipeline.cost.footprint import state_bytes
from nsfast.pipeline.cost.picture_counts import picture_counts
from nsfast.pipeline.cost.table import cost_rows
from nsfast.pipeline.profile import resolve
from nsfast.pipeline.stages import Stage, stages_of


def test_every_fit_of_the_digits_has_the_steps_of_its_recipe(second):
    profile = resolve("digits")
    counts, found = picture_counts(profile), costs(profile, speed=second())
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


def stage(name, *needs):
    return Stage("teacher", name, {}, needs=needs)


def test_stages_beside_each_other_take_the_longest_path():
    stages = [stage("a"), stage("b"), stage("c", "a"), stage("d", "b", "c")]
    seconds = {"a": 3.0, "b": 10.0, "c": 4.0, "d": 1.0}
    assert time_together(stages, seconds, 1) == 18
    assert time_together(stages, seconds, 2) == time_together(stages, seconds, 9) == 11


def test_time_and_money_are_sums(second):
    profile = resolve("digits", ("iterate.rounds=1",))
    found = costs(profile, speed=second(), price=3.6, jobs=1)
    trained = [row for row in found.rows if row.work]
    assert found.seconds == sum(row.seconds for row in found.rows) == sum(row.steps for row in trained)
    assert found.hours == found.seconds / 3600
    rows = cost_rows(found)
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    assert rows[-1]["stage"] == "in all" and float(rows[-1]["price"]) == pytest.approx(
        found.seconds / 1000, abs=0.01
    )
    assert "price" not in cost_rows(costs(profile, speed=second()))[0]
    beside = costs(profile, speed=second(), jobs=2)
    student = sum(row.steps for row in trained if row.stage == "round-1/student")
    assert beside.seconds == max(800 + student, next(r.steps for r in trained if r.stage == "control"))


def test_labeling_takes_the_slower_of_network_and_decoding(tmp_path, second):
    def seconds(name, each):
        class Looks(second):
            def look(self, network, precision="float32"):
                return each

        (tmp_path / "it.yaml").write_text(f"data: {{name: {name}}}\n")
        found = costs(resolve(str(tmp_path / "it.yaml"), ("iterate.rounds=1",)), speed=Looks())
        row = next(row for row in found.rows if row.stage.endswith("labeling"))
        return row.seconds / (found.counts.unlabeled + 2 * found.counts.validation)

    assert seconds("imagenette", 0.0) == pytest.approx(1 / (2 * 367))
    assert seconds("imagenette", 1.0) == pytest.approx(1.0)
    assert seconds("cifar10", 0.0) == 0.0


def test_two_threads_decode_where_nobody_says():
    assert inspect.signature(PictureFiles).parameters["workers"].default == DECODING_THREADS


def test_labeling_needs_half_the_activations_with_a_teacher_in_bfloat16(second):
    def memory(*settings):
        found = costs(resolve("digits", ("iterate.rounds=2", *settings)), speed=second())
        return {row.stage: (row.memory, row.network) for row in found.rows if row.stage.endswith("labeling")}

    plain = memory()
    for who, stage in (("teacher", "round-1/labeling"), ("student", "round-2/labeling")):
        half = memory(f"{who}.precision=bfloat16")
        assert [name for name in plain if half[name][0] < plain[name][0]] == [stage]
        weights = state_bytes(plain[stage][1])
        assert 2 * (half[stage][0] - weights) == plain[stage][0] - weights


def test_the_row_of_the_pictures_keeps_their_bytes(second):
    found = costs(resolve("digits"), speed=second())
    assert found.rows[0].kept == found.counts.prepared_bytes > 0
    assert found.disk >= found.counts.prepared_bytes
