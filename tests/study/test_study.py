"""A tiny study from end to end: shared teachers, kills, failures, and the same tables whatever happened."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from nsfast.files import checksum, read_csv, read_json
from nsfast.pipeline.stages import Records, stages_of
from nsfast.study.design import Arm, Comparison, Point, Study
from nsfast.study.estimate import summary
from nsfast.study.execute import run_units, seconds_of, units_of
from nsfast.study.results import about_study, comparison_rows, point_rows, write_results
from tests.runs.conftest import TINY

TESTED = [setting for setting in TINY if not setting.startswith(("analysis", "teacher.epochs"))]
BASE, HARD, BROKEN = Point("base", "round-1"), Point("hard", "round-1"), Point("broken", "round-1")
STUDY = Study(
    "tiny",
    "Are soft labels better?",
    "digits",
    "digits",
    (
        Arm("base"),
        Arm("hard", ("student.targets=hard",)),
        Arm("broken", ("balancing.thresholds={'3': 1.0}", "balancing.empty=error")),
    ),
    (
        Comparison("soft > hard", BASE, HARD, paper=1.8, source="there"),
        Comparison("student > control", BASE, Point("base", "control"), source="there"),
        Comparison("labels", BASE, BROKEN),
        Comparison("average > raw", BASE, BASE, second_measure="raw_accuracy"),
    ),
    (*TESTED, "teacher.epochs=3"),
)


WHOLE = replace(
    STUDY,
    arms=STUDY.arms[:2],
    comparisons=tuple(one for one in STUDY.comparisons if BROKEN not in (one.first, one.second)),
)
"""The study without the arm that fails."""


def write(folder: Path, study: Study = STUDY, jobs: int = 2) -> list[str]:
    """Run the study as the command does; return what it said."""
    said: list[str] = []
    units = units_of(study, folder, (0, 1))
    scores, errors = run_units(study, units, folder, jobs, said.append)
    about = about_study(study, (0, 1), seconds_of(units), "nsfast study tiny")
    write_results(folder, point_rows(study, scores), comparison_rows(study, scores, errors), about)
    return said


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies") / "tiny"
    return folder, write(folder)


def test_the_pictures_and_the_teacher_of_a_seed_serve_every_arm(finished):
    folder, _ = finished
    for seed in (0, 1):
        runs = [folder / f"seed-{seed}" / arm.name for arm in STUDY.arms]
        images = ("images/unlabeled.npy", "images/truth.npy", "images/made_from.json")
        made = ("teacher/model.safetensors", "teacher/model.json", "round-1/labels/manifest.json")
        for path in (*images, *made):
            assert len({checksum(run / path) for run in runs}) == 1, path
            assert len({(run / path).stat().st_ino for run in runs}) == 1, f"{path} was made twice"
        assert checksum(runs[0] / "round-1/model.safetensors") != checksum(
            runs[1] / "round-1/model.safetensors"
        )
    teachers = {checksum(folder / f"seed-{seed}" / "base/teacher/model.safetensors") for seed in (0, 1)}
    assert len(teachers) == 2


def test_the_truth_is_no_input_of_what_trains_or_labels(finished):
    folder, _ = finished
    for unit in units_of(STUDY, folder, (0, 1)):
        for stage in stages_of(unit.profile):
            if stage.kind in ("teacher", "labeling", "student"):
                assert not [path for path in Records(unit.run).contents(stage.consumes) if "truth" in path]


def test_a_failed_arm_is_reported_and_the_others_stand(finished):
    folder, said = finished
    failed = [line for line in said if "FAILED" in line]
    assert len(failed) == 2 and all("broken" in line and "is confident enough" in line for line in failed)
    rows = {row["comparison"]: row for row in read_csv(folder / "comparisons.csv")}
    assert (
        rows["labels"]["verdict"] == "not measured" and "broken failed with seed 0" in rows["labels"]["note"]
    )
    assert rows["soft > hard"]["seeds"] == rows["student > control"]["seeds"] == 2
    points = read_csv(folder / "points.csv")
    assert {(row["seed"], row["arm"]) for row in points} == {(s, a) for s in (0, 1) for a in ("base", "hard")}
    about = read_json(folder / "study.json")
    assert about["seeds"] == [0, 1] and about["hours_of_stages"] >= 0 and (folder / "figure.png").is_file()


def test_points_are_the_accuracy_of_the_models_that_were_trained(finished):
    import numpy as np

    from nsfast.images import load_images
    from nsfast.labels.predict import predict
    from nsfast.training.model_file import load_model

    folder, _ = finished
    run = folder / "seed-1" / "base"
    test = load_images(run / "images").test
    wanted = np.mean(predict(load_model(run / "round-1"), test.pixels).argmax(1).numpy() == test.labels)
    rows = [row for row in read_csv(folder / "points.csv") if (row["seed"], row["arm"]) == (1, "base")]
    values = {(row["model"], row["measure"]): (row["value"], row["n"]) for row in rows}
    assert values["round-1", "accuracy"] == (pytest.approx(wanted), len(test))
    assert ("control", "accuracy") in values and ("round-1", "raw_accuracy") in values


@pytest.mark.slow
def test_what_is_killed_and_continued_ends_with_the_same_tables(finished, tmp_path):
    folder = tmp_path / "tiny"
    code = "from tests.study.test_study import WHOLE, write; from pathlib import Path; "
    code += f"write(Path({str(folder)!r}), WHOLE)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 120
    while not list(folder.glob("seed-*/base/teacher/stage.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "comparisons.csv").exists()
    time.sleep(1)  # its jobs end with it
    # the other seed is not what is tested
    shutil.copytree(finished[0] / "seed-1", folder / "seed-1", dirs_exist_ok=True)
    write(folder, WHOLE, jobs=1)  # one process for all arms, where two had made them before
    assert read_csv(folder / "points.csv") == read_csv(finished[0] / "points.csv")
    names = [one.name for one in WHOLE.comparisons]
    adjusted = ("p_holm", "smallest", "verdict")  # over another number of claims
    wanted, found = (
        [
            {name: value for name, value in row.items() if name not in adjusted}
            for row in read_csv(home / "comparisons.csv")
            if row["comparison"] in names
        ]
        for home in (finished[0], folder)
    )
    assert found == wanted and len(found) == len(names)


@pytest.mark.slow
def test_a_process_that_is_killed_fails_its_arm_alone(tmp_path):
    """As the kernel does when memory is short; another takes the arms after it."""
    said: list[str] = []

    def jobs() -> list[psutil.Process]:
        return [p for p in psutil.Process().children() if "nsfast.study.job" in p.cmdline()]

    def kill() -> None:
        deadline = time.monotonic() + 120
        logs = [tmp_path / "logs" / f"seed-{seed}-base.log" for seed in (0, 1)]
        while not all(log.is_file() and "control: started" in log.read_text() for log in logs):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        jobs()[0].kill()

    control = Point("base", "control")
    claims = (Comparison("average > raw", control, control, second_measure="raw_accuracy"),)
    study = replace(STUDY, arms=STUDY.arms[:1], comparisons=claims)
    units = units_of(study, tmp_path, (0, 1, 2, 3))
    killer = threading.Thread(target=kill)
    killer.start()
    scores, errors = run_units(study, units, tmp_path, 2, said.append)
    killer.join()
    ((key, why),) = errors.items()
    assert key[0] in (0, 1) and why.startswith("it ended with -9; see ") and len(scores) == 3
    assert sum("FAILED" in line for line in said) == 1 and len(said) == 4
    assert not jobs()


def test_what_stands_is_not_run_again(finished):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.glob("seed-*/*/*/model.safetensors")}
    comparisons = (folder / "comparisons.csv").read_text()
    assert write(folder, WHOLE) == ["4 of 4 arms stand"]
    (folder / "comparisons.csv").write_text(comparisons)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_summary_counts_what_is_shared_once(tmp_path):
    said = summary(STUDY, units_of(STUDY, tmp_path, (0, 1)))
    assert "3 arms x 2 seeds" in said
    assert "4 teacher" in said and "2 labeling" in said and "4 balancing" in said and "6 student" in said
