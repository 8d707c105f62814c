"""The studies as data: every arm is a profile that resolves, and comparisons are fair."""

import pytest

from nsfast.errors import NsfastError
from nsfast.pipeline.profile import resolve
from nsfast.study.design import MEASURES, Arm, Comparison, Point, Study
from nsfast.study.questions import STUDIES, study_of
from nsfast.study.sets import DATA

ALL = [(name, data, full) for name in STUDIES for data in DATA for full in (False, True)]
NOISE = ("dropout", "stochastic_depth", "randaugment_n", "randaugment_m", "randaugment_scale", "crop", "flip")


@pytest.mark.parametrize("name, data, full", ALL)
def test_every_arm_resolves_and_every_arm_is_compared(name, data, full):
    study = study_of(name, data, full)
    used = {point.arm for one in study.comparisons for point, _ in one.sides}
    assert used == {arm.name for arm in study.arms}
    for arm in study.arms:
        profile = resolve(study.profile, study.settings_of(arm), 0)
        rounds = [m for m, _ in study.points(arm.name) if m.startswith("round-")]
        assert all(int(model.split("-")[1]) <= profile.rounds for model in rounds)
        assert study.stages_of(arm.name)


@pytest.mark.parametrize("data", DATA)
def test_control_and_student_share_network_noise_optimizer_and_labeled_pictures(data):
    study = study_of("rq1", data)
    profile = resolve(study.profile, study.settings_of(study.arms[0]), 0)
    control, student = profile.control(), profile.student(3)
    shared = (*NOISE, "architecture", "size", "optimizer", "learning_rate", "schedule", "weight_decay", "ema")
    assert {name: control[name] for name in shared} == {name: student[name] for name in shared}
    seen = [one["epochs"] * one["steps_per_epoch"] * one["batch"] for one in (control, student)]
    assert seen[0] == seen[1] > 0


def test_no_claim_carries_a_figure_without_its_source():
    for name, data, full in ALL:
        for one in study_of(name, data, full).comparisons:
            assert one.paper is None or (one.source and one.of_paper)
            assert one.measure in MEASURES


def test_what_is_misspelt_is_said():
    with pytest.raises(NsfastError, match="did you mean 'findings'"):
        study_of("finding")
    with pytest.raises(NsfastError, match="set"):
        study_of("rq1", "digit")
    arms, claim = (Arm("a"),), Comparison("one", Point("a", "control"), Point("b", "control"))
    with pytest.raises(NsfastError, match="arm of 'one'"):
        Study("x", "?", "digits", "digits", arms, (claim,))
    with pytest.raises(NsfastError, match="two arms of one name"):
        Study("x", "?", "digits", "digits", (*arms, *arms), ())


@pytest.mark.parametrize("data", DATA)
def test_what_a_study_knows_of_an_image_set_is_what_its_profile_says(data):
    known, groups = DATA[data], resolve(DATA[data].profile).groups
    teacher, student = groups["teacher"], groups["student"]
    assert (teacher["size"], student["size"]) == known.sizes[:2]
    assert known.sizes[0] <= known.sizes[1] < known.sizes[2]
    assert (groups["balancing"]["threshold"], student["ratio"]) == (known.threshold, known.ratio)
    assert known.pool == groups["data"].get("unlabeled", 0) and groups["data"]["name"] == data
    fewer, more = known.counts
    assert fewer < groups["data"]["labeled_per_class"] < more


@pytest.mark.parametrize("data", DATA)
def test_the_noise_table_is_the_paper_s_noise_of_pseudo_labeled_pictures_alone(data):
    """Labeled pictures keep their noise, as in the paper's ablation (version 2)."""
    study = study_of("rq2", data)
    groups = {arm.name: resolve(study.profile, study.settings_of(arm), 0).groups for arm in study.arms}
    base = groups["base"]

    def changed(name: str) -> dict:
        return {
            f"{stage}.{key}": value
            for stage, values in groups[name].items()
            for key, value in values.items()
            if base[stage][key] != value
        }

    of_table = [one for one in study.comparisons if one.source.startswith("noise ablation")]
    assert [changed(one.second.arm) for one in of_table] == [
        {"student.pseudo_noise": "stochastic_depth,dropout"},
        {"student.pseudo_noise": "none"},
        {"labeling.noise": True},
    ]
    assert base["student"]["pseudo_noise"] == "all" and not base["labeling"]["noise"]
