"""The table of costs, and the advice below it."""

from dataclasses import replace

import pytest

from nsfast.pipeline.cost.costs import costs
from nsfast.pipeline.cost.footprint import training_memory
from nsfast.pipeline.cost.table import accumulate_that_fits, advice, cost_rows, duration, scaled
from nsfast.pipeline.cost.work import NetworkAt
from nsfast.pipeline.profile import resolve
from nsfast.training import Recipe


def test_advice_makes_a_batch_fit_that_does_not(paper_file):
    light = [f"{s}.architecture=efficientnet-b0" for s in ("teacher", "student")]
    light += [
        "teacher.resolution=224",
        "student.resolution=224",
        "student.finetune_epochs=0",
        "iterate.rounds=1",
    ]
    profile = resolve(str(paper_file), tuple(light))
    found = costs(profile, gpu="A100", count=8, price=2.0)
    row = next(row for row in found.rows if row.stage == "round-1/student")
    accumulate = accumulate_that_fits(row.work, found, "bfloat16")
    assert row.memory > 80e9
    said = [line for line in advice(found) if line.startswith("round-1/student: 3840 pictures at once")]
    assert accumulate > 1 and len(said) == 1 and f"accumulate={accumulate} " in said[0]
    fitting = costs(resolve_with(profile, accumulate), gpu="A100", count=8)
    assert next(r for r in fitting.rows if r.stage == "round-1/student").memory <= 0.9 * 80e9
    assert any("of the paper" in line or "paper's" in line for line in advice(found))
    assert any("labeling uses 1 of the 8 devices" in line for line in advice(found))


def resolve_with(profile, accumulate):
    student = {**profile.groups["student"], "accumulate": accumulate}
    return replace(profile, groups={**profile.groups, "student": student})


def test_advice_names_a_batch_that_does_not_divide_and_what_bfloat16_saves(work, second):
    found = costs(resolve("digits"), speed=second(), count=3)
    assert any(line.startswith("teacher") and "does not divide into" in line for line in advice(found))
    recipe = Recipe(architecture="resnet18", batch=64)
    big = work(recipe, NetworkAt("resnet18", 1, 10, 3, 64))
    tight = costs(resolve("digits"), speed=second())
    half = work(replace(recipe, precision="bfloat16"), big.network)
    whole = [sum(training_memory(w, tight.counts).values()) for w in (big, half)]
    tight.speed.memory = sum(whole) / 2 / 0.9
    assert whole[1] < whole[0] and accumulate_that_fits(big, tight, "bfloat16") == 1
    assert accumulate_that_fits(big, tight, "float32") == 2
    tight.speed.memory = 10
    assert accumulate_that_fits(big, tight, "bfloat16") is None


def test_numbers_are_written_with_their_units():
    assert [scaled(n) for n in (5, 1234, 480.3e6, 2.1e12, 4e15)] == ["5 ", "1.23 k", "480 M", "2.1 T", "4 P"]
    assert [duration(s) for s in (5, 600, 7200, 6 * 86400)] == ["5 s", "10 min", "2 h", "6 days"]


def test_of_pictures_kept_as_files_it_says_how_many_cores_decode_them(paper_file, second):
    light = [
        f"{s}.{what}" for s in ("teacher", "student") for what in ("architecture=resnet18", "resolution=64")
    ]
    profile = resolve(str(paper_file), (*light, "student.finetune_epochs=0"))
    found = costs(profile, speed=second(), count=8)
    said = advice(found)
    assert any(
        "labeling decodes JPEG with 2 threads (labeling.workers), about 734 pictures" in s for s in said
    )
    assert any("which 162 core(s) decode" in s for s in said)
    assert not any("decode" in line for line in advice(costs(resolve("digits"), speed=second())))


def test_hours_are_those_of_all_devices(second):
    found = costs(resolve("digits"), speed=second(), count=2, price=1.0)
    row = cost_rows(found)[-1]
    assert float(row["price"].replace(",", "")) == pytest.approx(2 * found.seconds / 3600, abs=0.01)
    assert float(row["device-hours"]) == pytest.approx(found.hours, rel=0.05)
