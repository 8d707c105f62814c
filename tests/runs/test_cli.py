"""The command line end to end: a run, what it leaves, what stands, and one line for everything that is wrong."""

import csv
import hashlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml

from nsfast.labels import read_labels

RUN = "runs/digits"


def bytes_of(folder):
    """Checksum of every file below a folder, logs and locks aside."""
    paths = (p for p in folder.rglob("*") if p.is_file() and p.name not in ("log.jsonl", ".lock"))
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def test_a_run_ends_with_the_table_and_the_paths(finished):
    home, done = finished
    lines = done.stdout.splitlines()
    header = next(line for line in lines if line.startswith("model "))
    assert "test accuracy" in header and "points above control" in header
    assert [line.split("  ")[0] for line in lines[lines.index(header) + 1 :][:3]] == [
        "control",
        "teacher",
        "student 1",
    ]
    assert any(line.startswith("report:") and line.endswith("report.html") for line in lines)
    assert "round-1/labeling: finished" in done.stdout
    assert re.search(r"(teacher|control|student): epoch \d/[34]", done.stdout)


def test_a_run_leaves_the_folder_that_the_design_promises(finished):
    run = finished[0] / RUN
    for folder in ("control", "teacher", "round-1"):
        for file in ("model.safetensors", "model.json", "history.csv", "metrics.json", "stage.json"):
            assert (run / folder / file).is_file(), (folder, file)
    for path in (
        "profile.yaml",
        "log.jsonl",
        "teacher/01_teacher.ipynb",
        "control/01_teacher.ipynb",
        "round-1/02_labeling.ipynb",
        "round-1/03_balancing.ipynb",
        "round-1/04_student.ipynb",
        "round-1/labels/part-00000.parquet",
        "round-1/selection.parquet",
        "round-1/balance.csv",
        "iterate/05_iterate.ipynb",
        "analysis/06_analysis.ipynb",
        "analysis/report.html",
    ):
        assert (run / path).is_file(), path
    assert not list(run.rglob("*.tmp")) and not list(run.rglob("checkpoint*"))
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in log} == {"teacher", "control", "iterate", "analysis"} | {
        f"round-1/{kind}" for kind in ("labeling", "balancing", "student")
    }
    assert (
        [line["outcome"] for line in log].count("finished")
        == [line["outcome"] for line in log].count("started")
        == 7
    )


def test_executed_notebooks_are_small_hold_no_widget_state_and_no_noise(finished):
    for path in (finished[0] / RUN).rglob("*.ipynb"):
        assert path.stat().st_size < 1_000_000, path
        notebook = json.loads(path.read_text())
        assert "widgets" not in notebook["metadata"], path
        outputs = [o for cell in notebook["cells"] for o in cell.get("outputs", ())]
        assert not [o for o in outputs if o.get("name") == "stderr"], path
        assert any("image/png" in o.get("data", {}) for o in outputs), path


def test_the_tables_carry_n_and_intervals_and_the_control(finished):
    tables = finished[0] / RUN / "analysis" / "tables"
    with open(tables / "models.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["control", "teacher", "student 1"]
    for row in rows:
        assert row["n"] == "60" and float(row["low"]) <= float(row["accuracy"]) <= float(row["high"])
    assert float(rows[0]["minus_control"]) == 0
    assert {p.stem for p in tables.glob("*.csv")} == {
        "models",
        "labels",
        "reliability",
        *("corruptions", "corruption_scores", "line", "flips", "natural", "attacks", "checks"),
        *("calibration", "headline", "robustness", "warnings", "deviations"),
    }


def test_the_report_is_one_file_that_needs_no_network(finished):
    text = (finished[0] / RUN / "analysis" / "report.html").read_text()
    links = re.findall(r"(?:src|href)=[\"']([^\"']{0,30})", text)
    assert links and all(link.startswith("data:image/png;base64,") for link in links)
    assert text.count("<img") == 11
    assert "supervised control" in text and "points" in text


def test_the_student_is_trained_on_soft_labels_of_the_recorded_teacher(finished):
    run = finished[0] / RUN
    teacher = json.loads((run / "teacher" / "model.json").read_text())["fingerprint"]
    assert json.loads((run / "round-1" / "model.json").read_text())["teacher"] == teacher
    assert json.loads((run / "round-1" / "labeling.json").read_text())["teacher"] == teacher


def test_a_second_run_does_nothing_and_loses_nothing(finished, command, quick):
    home, _ = finished
    before = bytes_of(home / RUN)
    done = command("run", "digits", *quick, cwd=home)
    assert "nothing to do" in done.stdout and "student 1" in done.stdout
    assert bytes_of(home / RUN) == before


def test_status_and_dry_run_list_every_stage(finished, command, quick):
    home, _ = finished
    listed = command("status", RUN, cwd=home).stdout
    assert listed.count("stands") == 7 and "round-1/student" in listed
    changed = [*quick, "--set", "balancing.threshold=0.9"]
    before = bytes_of(home / RUN)
    dry = command("run", "digits", *changed, "--dry-run", cwd=home).stdout
    state = {line.split()[0]: line for line in dry.splitlines()[1:]}
    assert "stands" in state["round-1/labeling"] and state["round-1/balancing"].endswith("runs")
    assert "if what it reads changes" in state["round-1/student"]
    assert bytes_of(home / RUN) == before


def test_report_is_written_anew_from_what_is_there(copy_of_finished, command):
    path = copy_of_finished / RUN / "analysis" / "report.html"
    before = path.read_text()
    path.unlink()
    done = command("report", RUN, cwd=copy_of_finished)
    assert done.stdout.strip() == str(path.resolve()) and path.read_text() == before


def test_a_threshold_that_selects_the_same_pictures_trains_no_student(copy_of_finished, command_here, quick):
    run = copy_of_finished / RUN
    before = {p: (run / p).read_bytes() for p in ("round-1/selection.parquet", "round-1/model.safetensors")}
    labels = read_labels(run / "round-1" / "labels")
    threshold = float(labels.confidence[labels.confidence >= np.float16(0.3)].min())
    assert threshold > 0.3
    done = command_here(
        "run", "digits", *quick, "--set", f"balancing.threshold={threshold!r}", cwd=copy_of_finished
    )
    assert "round-1/balancing: finished" in done.stdout
    assert "student: started" not in done.stdout and "labeling: started" not in done.stdout
    assert {p: (run / p).read_bytes() for p in before} == before


def test_profiles_and_params_say_what_may_be_set(command, tmp_path):
    listed = command("profiles", cwd=tmp_path).stdout
    assert "digits" in listed and "folder" in listed
    shown = command("params", "balancing", cwd=tmp_path).stdout
    line = next(line for line in shown.splitlines() if line.startswith("balancing.threshold"))
    assert "float" in line and "0..1" in line
    assert "data.path" in command("params", "data", "--data", "folder", cwd=tmp_path).stdout


def one_line(done):
    """The single line on standard error."""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("nsfast: "), done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "digits", "--set", "balancing.thresold=0.5"], "did you mean 'threshold'"),
        (
            ["run", "digits", "--set", "student.epochs=many"],
            "student.epochs is 'many'; it must be of type int",
        ),
        (["run", "digits", "--set", "balancing.threshold=2"], "between 0 and 1"),
        (["run", "digits", "--until", "balancin"], "did you mean 'balancing'"),
        (["run", "digit"], "did you mean 'digits'"),
        (["run", "folder", "--set", "data.path=nowhere"], "nowhere"),
        (["run", "digits", "--seed", "-3"], "seed is -3"),
        (["run", "digits", "--sedd", "3"], "--sedd"),
        (["status", "nowhere"], "no run in"),
        (["params", "studnt"], "did you mean 'student'"),
        (["run", "digits", "--set", "data.labeled_per_class=500"], "ask for fewer"),
        (["run", "digits", "--set", "balancing.thresholds={10: 0.5}"], "unknown class '10'"),
        (["run", "digits", "--set", "teacher.architecture=resnet18x"], "did you mean 'resnet18"),
    ],
)
def test_what_is_wrong_is_one_line_before_any_training(command_here, tmp_path, arguments, words):
    done = command_here(*arguments, cwd=tmp_path, expect=2)
    assert words in one_line(done)
    assert not list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob("*.ipynb"))


def test_what_is_wrong_is_the_only_line_of_a_process_that_imports_all_libraries(command, tmp_path):
    """Some of them warn at import, and only once in a process."""
    done = command(
        "run", "digits", "--set", "student.size=1", "--set", "teacher.size=2", cwd=tmp_path, expect=2
    )
    assert "allow_smaller" in one_line(done) and not list(tmp_path.rglob("*.ipynb"))


def test_a_round_may_be_labeled_by_other_machines_before_the_run_goes_on(
    copy_of_finished, command_here, quick
):
    labels = copy_of_finished / RUN / "round-1" / "labels"
    before = {path.name: path.read_bytes() for path in labels.glob("*.parquet")}
    shutil.rmtree(labels)
    command_here("label-round", RUN, 1, "--processes", 2, cwd=copy_of_finished)
    after = {path.name: path.read_bytes() for path in labels.glob("*.parquet")}
    assert after.items() <= before.items() and set(before) - set(after) == {"held_out.parquet"}
    done = command_here("run", "digits", *quick, cwd=copy_of_finished)
    assert "round-1/labeling: finished" in done.stdout and "student: started" not in done.stdout
    assert {path.name: path.read_bytes() for path in labels.glob("*.parquet")} == before


def test_damage_is_named_before_anything_runs_and_nothing_is_lost(copy_of_finished, command_here, quick):
    run = copy_of_finished / RUN
    record = run / "teacher" / "stage.json"
    whole = record.read_bytes()
    record.write_bytes(whole[: len(whole) // 2])
    before = bytes_of(run)
    assert "teacher/stage.json is damaged" in one_line(
        command_here("run", "digits", *quick, cwd=copy_of_finished, expect=2)
    )
    assert bytes_of(run) == before
    record.write_bytes(whole)
    labels = run / "round-1" / "labels" / "part-00000.parquet"
    content = labels.read_bytes()
    labels.write_bytes(content[:-100])
    before = bytes_of(run)
    assert "part-00000.parquet is damaged" in one_line(
        command_here("run", "digits", *quick, cwd=copy_of_finished, expect=2)
    )
    assert bytes_of(run) == before
    labels.write_bytes(content)
    assert "nothing to do" in command_here("run", "digits", *quick, cwd=copy_of_finished).stdout


def test_a_run_of_another_profile_is_left_alone(copy_of_finished, command):
    other = copy_of_finished / "other.yaml"
    other.write_text("seed: 1\n")
    before = bytes_of(copy_of_finished / RUN)
    done = command("run", other, "--run", RUN, cwd=copy_of_finished, expect=2)
    assert "made by profile 'digits', not 'other'" in one_line(done)
    assert bytes_of(copy_of_finished / RUN) == before


def test_a_teacher_at_chance_stops_the_run_before_labeling_unless_it_is_allowed(
    command, command_here, quick, tmp_path
):
    untrained = [*quick, "--set", "teacher.learning_rate=1e-12", "--set", "teacher.epochs=1"]
    command_here("run", "digits", *untrained, "--until", "teacher", cwd=tmp_path)
    assert list(tmp_path.rglob("teacher/model.safetensors"))
    labeling = ["run", "digits", *untrained, "--until", "labeling"]
    done = command(*labeling, cwd=tmp_path, expect=2)
    assert "no better than chance" in one_line(done) and "allow_chance" in one_line(done)
    assert "teacher: started" not in done.stdout and not list(tmp_path.rglob("*.parquet"))
    command_here(*labeling, "--set", "labeling.allow_chance=true", cwd=tmp_path)
    assert list(tmp_path.rglob("*.parquet"))


def test_own_pictures_go_from_folder_to_report(command_here, quick, tmp_path):
    from PIL import Image

    from nsfast.images.digits import digits

    images = digits(labeled_per_class=12, validation=20, test=20, seed=1)
    names = {0: "Null ö", 1: "<b>one", 2: "two"}
    pools = {
        "labeled": (images.labeled.pixels, images.labeled.labels),
        "unlabeled": (images.unlabeled.pixels, images.truth),
    }
    for split, (pixels, labels) in pools.items():
        for number in np.flatnonzero(np.isin(labels, list(names)) | (split == "unlabeled")):
            folder = tmp_path / "pictures" / split / (names[labels[number]] if split == "labeled" else "some")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.array(pixels[number, :, :, 0])).save(folder / f"{number}.png")
    (tmp_path / "pictures" / "unlabeled" / "empty.png").touch()
    settings = [s for s in quick if not s.startswith(("data.", "--set"))]
    flags = [part for setting in settings for part in ("--set", setting)]
    flags += ["--set", "data.path=pictures", "--set", "data.size=16", "--set", "student.randaugment_fill=0.0"]
    done = command_here("run", "folder", *flags, "--run", "runs/mine", cwd=tmp_path)
    assert "left out" in done.stdout and "student 1" in done.stdout
    left = (tmp_path / "runs/mine/images/left_out.csv").read_text()
    assert "unlabeled/empty.png" in left
    report = (tmp_path / "runs/mine/analysis/report.html").read_text()
    assert "<b>one" not in report and "unlabeled/empty.png" in report
    profile = yaml.safe_load((tmp_path / "runs/mine/profile.yaml").read_text())
    assert profile["data"]["name"] == "folder"


def test_a_run_on_a_terminal_shows_progress_and_ends(quick, plain_environment, tmp_path):
    read, write = pty.openpty()
    line = [sys.executable, "-m", "nsfast.cli", "run", "digits", *quick, "--until", "teacher"]
    process = subprocess.Popen(
        line, cwd=tmp_path, env={**plain_environment, "TERM": "xterm"}, stdout=write, stderr=write
    )
    os.close(write)
    shown = b""
    try:
        while block := os.read(read, 4096):
            shown += block
    except OSError:  # the other end is closed
        pass
    os.close(read)
    assert process.wait(60) == 0
    assert b"epoch" in shown and b"teacher: finished" in shown and b"1 stage(s) ran" in shown


@pytest.mark.slow
def test_labels_of_a_noised_teacher_go_on_to_a_student(command_here, quick, tmp_path):
    line = ["run", "digits", *quick, "--set", "labeling.noise=true", "--until", "student"]
    command_here(*line, cwd=tmp_path)
    about = json.loads((tmp_path / RUN / "round-1/labels/manifest.json").read_text())
    assert about["origin"]["preprocessing"]["noise"][0]["randaugment_n"] == 2
    assert (tmp_path / RUN / "round-1/model.safetensors").is_file()
