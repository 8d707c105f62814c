"""Stages and their records: content decides what runs again, and damage is named."""

import json

import pytest

from nsfast.errors import NsfastError
from nsfast.files import write_json
from nsfast.labels.decisions import DecisionLog
from nsfast.pipeline.profile import resolve
from nsfast.pipeline.run_folder import _made_from
from nsfast.pipeline.runner import chosen_stages, plan
from nsfast.pipeline.stages import Records, matching, stages_of


@pytest.fixture
def profile():
    return resolve("digits", ("iterate.rounds=2",))


def names(stages):
    return [stage.name for stage in stages]


def pretend(run, profile, changed=()):
    """Leave what a finished run would, with made-up contents."""
    records = Records(run)
    (run / "images").mkdir(parents=True, exist_ok=True)
    for name in ("images.json", "labeled.npy", "unlabeled.npy", "validation.npy", "test.npy"):
        (run / "images" / name).write_text(name)
    about = {
        "made_from": _made_from(profile),
        "files": {},
        "data": profile.groups["data"],
        "seed": profile.seed,
    }
    write_json(run / "images" / "made_from.json", about)
    for stage in stages_of(profile):
        folder = run / stage.folder
        (folder / "labels").mkdir(parents=True, exist_ok=True)
        files = {
            "teacher": ["model.safetensors", "model.json", "history.csv", "metrics.json"],
            "student": ["model.safetensors", "model.json", "history.csv", "metrics.json"],
            "labeling": ["labels/part-00000.parquet", "labeling.json"],
            "balancing": ["selection.parquet", "selection.labels.npy", "balance.csv", "decisions.csv"],
            "iterate": ["rounds.csv"],
            "analysis": ["report.html"],
        }[stage.kind]
        for file in files:
            (folder / file).write_text(f"{stage.name} {file}")
        if stage.kind == "labeling":
            shard = {"file": "part-00000.parquet", "bytes": (folder / files[0]).stat().st_size}
            write_json(folder / "labels" / "manifest.json", {"teacher": stage.name, "shards": [shard]})
        records.finish(stage, records.fingerprint(stage, stages_of(profile)), 1.0)
    return Records(run)


def to_run(run, profile, **options):
    return [stage.name for stage, state in plan(run, profile, **options) if state == "runs"]


def test_stages_stand_in_the_order_of_their_needs(profile):
    stages, seen = stages_of(profile), set()
    for stage in stages:
        assert set(stage.needs) <= seen, stage.name
        seen.add(stage.name)
    assert names(stages)[-2:] == ["iterate", "analysis"]
    assert "round-2/student" in seen and "round-3/student" not in seen


def test_training_and_labeling_do_not_read_truth_and_nobody_the_labels_of_test(profile):
    """Balancing reads the truth to measure (see test_truth), labeling the test pictures to leave out what leaked."""
    for stage in stages_of(profile):
        if stage.kind in ("teacher", "labeling", "balancing", "student"):
            assert not any(p in ("images/*", "images/*.npy") or "test.labels" in p for p in stage.consumes), (
                stage
            )
        if stage.kind in ("teacher", "labeling", "student"):
            assert not any("truth" in p for p in stage.consumes), stage
        if stage.kind in ("teacher", "balancing", "student"):
            assert not any("images/test" in p for p in stage.consumes), stage


def test_until_takes_the_first_stage_of_that_name_and_what_it_needs(profile):
    assert names(chosen_stages(profile, "balancing")) == ["teacher", "round-1/labeling", "round-1/balancing"]
    assert names(chosen_stages(profile, "control")) == ["control"]
    assert names(chosen_stages(profile, "round-2/labeling"))[-1] == "round-2/labeling"
    assert names(chosen_stages(profile, None)) == names(stages_of(profile))


def test_a_stage_name_means_what_a_person_means(profile):
    stages = stages_of(profile)
    assert names(matching(stages, "student")) == ["round-1/student", "round-2/student"]
    assert names(matching(stages, "teacher")) == ["teacher"]
    assert names(matching(stages, "round-1")) == ["round-1/labeling", "round-1/balancing", "round-1/student"]
    with pytest.raises(NsfastError, match="unknown stage 'studnt'; did you mean 'student'"):
        matching(stages, "studnt")


def test_a_finished_run_stands(tmp_path, profile):
    pretend(tmp_path, profile)
    assert to_run(tmp_path, profile) == []


def test_a_changed_threshold_runs_from_balancing(tmp_path, profile):
    pretend(tmp_path, profile)
    changed = resolve("digits", ("iterate.rounds=2", "balancing.threshold=0.77"))
    runs = to_run(tmp_path, changed)
    assert runs == ["round-1/balancing", "round-2/balancing"]
    states = dict((stage.name, state) for stage, state in plan(tmp_path, changed))
    assert states["round-1/student"] == "runs if what it reads changes"
    assert states["teacher"] == states["round-1/labeling"] == states["control"] == "stands"


def test_the_seed_changes_every_stage_that_draws(tmp_path, profile):
    pretend(tmp_path, profile)
    other = resolve("digits", ("iterate.rounds=2",), seed=1)
    assert {"teacher", "control", "round-1/balancing", "round-1/student"} <= set(to_run(tmp_path, other))


def test_force_runs_what_it_names(tmp_path, profile):
    pretend(tmp_path, profile)
    assert to_run(tmp_path, profile, force=("student",)) == ["round-1/student", "round-2/student"]


def test_other_pictures_run_what_reads_them(tmp_path, profile):
    pretend(tmp_path, profile)
    fewer = resolve("digits", ("iterate.rounds=2", "data.labeled_per_class=3"))
    assert {"teacher", "control", "round-1/labeling", "round-1/student"} <= set(to_run(tmp_path, fewer))


def test_equal_content_keeps_what_is_behind_it(tmp_path, profile):
    records = pretend(tmp_path, profile)
    path = tmp_path / "round-1" / "selection.parquet"
    path.write_text(path.read_text())  # written again, the same bytes
    assert to_run(tmp_path, profile) == []
    path.write_text("another selection")
    student = matching(stages_of(profile), "round-1/student")[0]
    assert not records.stands(student, stages_of(profile))


def test_a_missing_output_runs_its_stage_again(tmp_path, profile):
    pretend(tmp_path, profile)
    (tmp_path / "round-1" / "balance.csv").unlink()
    assert "round-1/balancing" in to_run(tmp_path, profile)


def test_a_changed_output_is_damage_and_is_named(tmp_path, profile):
    records = pretend(tmp_path, profile)
    path = tmp_path / "round-1" / "labels" / "part-00000.parquet"
    path.write_text("short")
    stage = matching(stages_of(profile), "round-1/labeling")[0]
    with pytest.raises(NsfastError, match=r"part-00000\.parquet is damaged"):
        records.verify(stage)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"teacher": 3}', '{"teacher": {}}', '{"teacher": {"outputs": {}}}', "\x00\xff"]
)
def test_a_damaged_record_is_named(tmp_path, profile, content):
    records = pretend(tmp_path, profile)
    path = tmp_path / "teacher" / "stage.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(NsfastError, match=r"teacher/stage\.json is damaged"):
        records.stands(stages_of(profile)[0], stages_of(profile))


def test_records_of_one_folder_live_side_by_side(tmp_path, profile):
    pretend(tmp_path, profile)
    entries = json.loads((tmp_path / "round-1" / "stage.json").read_text())
    assert set(entries) == {"labeling", "balancing", "student"}
    Records(tmp_path).forget(matching(stages_of(profile), "round-1/student")[0])
    assert to_run(tmp_path, profile)[0] == "round-1/student"


def test_rounds_left_over_from_a_longer_run_do_not_count(tmp_path, profile):
    pretend(tmp_path, profile)
    (tmp_path / "round-9" / "labels").mkdir(parents=True)
    (tmp_path / "round-9" / "model.safetensors").write_text("old")
    assert to_run(tmp_path, profile) == []


BALANCING = ["round-1/balancing", "round-2/balancing"]


@pytest.fixture
def log(tmp_path, profile):
    """The decisions of a finished run."""
    pretend(tmp_path, profile)

    def of_round(number=None, who="ann"):
        return DecisionLog(tmp_path / "decisions.jsonl", who, round=number)

    return of_round


def test_a_decision_runs_balancing_from_its_round_on_and_an_undo_brings_the_old_state_back(
    log, tmp_path, profile
):
    every, second = log(), log(2)
    every.reject("a")
    assert to_run(tmp_path, profile) == BALANCING
    every.undo()
    assert to_run(tmp_path, profile) == []
    second.relabel("a", "cat")
    assert to_run(tmp_path, profile) == BALANCING[1:]
    log(3).reject("a")
    second.undo()
    assert to_run(tmp_path, profile) == []  # there is no round 3
    states = dict(
        (stage.name, state) for stage, state in plan(tmp_path, profile, force=("round-1/balancing",))
    )
    assert states["round-1/labeling"] == "stands" and states["analysis"] == "runs if what it reads changes"


def test_who_decided_when_and_why_does_not_matter_but_what_does(log, tmp_path, profile):
    log().reject("a", why="blurred")
    log(None, "bob").accept("b", predicted="cat")

    def fingerprints():
        records, stages = Records(tmp_path), stages_of(profile)
        return [records.fingerprint(stage, stages) for stage in matching(stages, "balancing")]

    before = fingerprints()
    assert len({*before}) == 2
    (tmp_path / "decisions.jsonl").unlink()
    log(1, "cem").reject("c"), log(1, "cem").undo()
    log(1, "cem").accept("b", predicted="cat", confidence=0.4, selection="sort='margin'")
    log(1, "dan").reject("a")
    assert fingerprints() == before
    log(1, "dan").relabel("a", "cat")
    assert fingerprints()[0] != before[0]
    log(1, "dan").undo()
    log(1, "cem").accept("b", predicted="dog")  # another class was accepted
    assert fingerprints()[0] != before[0] and fingerprints()[1] != before[1]


def test_no_file_an_empty_one_and_one_without_effect_are_the_same(log, tmp_path, profile):
    path = tmp_path / "decisions.jsonl"
    path.write_text("")
    assert to_run(tmp_path, profile) == []
    assert to_run(tmp_path, resolve("digits", ("iterate.rounds=2", "balancing.decisions=''"))) == []
    log().reject("a")
    path.write_bytes(path.read_bytes()[:-9])  # torn
    assert to_run(tmp_path, profile) == []
    elsewhere = path.rename(tmp_path / "elsewhere.jsonl")
    log().reject("b"), log().undo()
    assert to_run(tmp_path, profile) == []
    elsewhere.write_bytes(path.read_bytes())
    assert to_run(tmp_path, resolve("digits", ("iterate.rounds=2", f"balancing.decisions={elsewhere}"))) == []


def test_decisions_that_cannot_be_read_are_named(log, tmp_path, profile):
    (tmp_path / "decisions.jsonl").write_text("{}\n")
    with pytest.raises(NsfastError, match="decisions.jsonl, line 1: no 'action'"):
        to_run(tmp_path, profile)
    with pytest.raises(NsfastError, match="balancing.decisions is 'nowhere', but there is no such file"):
        to_run(tmp_path, resolve("digits", ("iterate.rounds=2", "balancing.decisions=nowhere")))


def test_the_analysis_reads_what_was_heeded(log, tmp_path, profile):
    (tmp_path / "round-1" / "decisions.csv").write_text("other decisions")
    records, stages = Records(tmp_path), stages_of(profile)
    assert not records.stands(stages[-1], stages) and records.stands(stages[-2], stages)
    with pytest.raises(NsfastError, match=r"decisions\.csv is damaged"):
        records.verify(matching(stages, "round-1/balancing")[0])


def test_a_file_is_parsed_once_for_all_rounds(log, tmp_path, profile, monkeypatch):
    from nsfast.labels import decisions

    log().reject("a")
    read, records, stages = [], Records(tmp_path), stages_of(profile)
    parse = decisions.read_lines
    monkeypatch.setattr(decisions, "read_lines", lambda path: read.append(path) or parse(path))
    for stage in matching(stages, "balancing") * 2:
        records.fingerprint(stage, stages)
    assert len(read) == 1
    log().reject("b")
    records.fingerprint(matching(stages, "balancing")[0], stages)
    assert len(read) == 2
