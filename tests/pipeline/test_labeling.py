"""Labeling and balancing without a run: any source, any number of processes, and what is refused."""

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from nsfast.errors import NsfastError
from nsfast.files import read_csv
from nsfast.labels import Balancing, read_labels, read_selection
from nsfast.labels.storage import read_targets
from nsfast.models import build_model
from nsfast.pipeline.after_labeling import find_leaks
from nsfast.pipeline.balancing import balance_table, decisions_of
from nsfast.pipeline.labeling import LabelingJob, run_labeling
from nsfast.training import Recipe
from nsfast.training.model_file import save_model
from nsfast.training.train import Trained

CLASSES, SIDE, N = ("ant", "bee", "cat"), 8, 90


def model(folder, seed=0, classes=CLASSES):
    """Write the model file of a network that was never trained."""
    torch.manual_seed(seed)
    network = build_model("small", len(classes), 1, 1).eval()
    save_model(folder, Trained(network, deepcopy(network), []), Recipe(size=1), classes, SIDE)
    return str(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, and the same pictures as an array, as a folder of PNG files and as a tar."""
    root = tmp_path_factory.mktemp("labeling")
    model(root / "teacher"), model(root / "other", 1)
    pixels = np.random.default_rng(0).integers(0, 256, (N, SIDE, SIDE, 1), np.uint8)
    np.save(root / "pictures.npy", pixels)
    (root / "pictures").mkdir()
    with tarfile.open(root / "pictures.tar", "w") as tar:
        for number, picture in enumerate(pixels):
            data = io.BytesIO()
            Image.fromarray(picture[..., 0]).save(data, "PNG")
            (root / "pictures" / f"{number:03}.png").write_bytes(data.getvalue())
            member = tarfile.TarInfo(f"{number:03}.png")
            member.size = len(data.getvalue())
            tar.addfile(member, io.BytesIO(data.getvalue()))
    return root


def job(place, out, source="pictures.npy", **changes) -> LabelingJob:
    given = {"models": (str(place / "teacher"),), "shard": 16, "batch": 8, **changes}
    return LabelingJob(folder=str(out), source=str(place / source), **given)


def bytes_of(folder) -> dict[str, bytes]:
    """What is in the files of a table, without locks."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_an_array_a_folder_and_a_tar_of_the_same_pictures_have_the_same_labels(place, tmp_path):
    tables = [
        job(place, tmp_path / name, name).label() for name in ("pictures.npy", "pictures", "pictures.tar")
    ]
    for table in tables[1:]:
        assert np.array_equal(table.vectors.probabilities, tables[0].vectors.probabilities)
    assert tables[0].names[:2].tolist() == ["0", "1"]
    assert tables[1].names[1].endswith("001.png") and "pictures.tar" in tables[2].names[1]


def test_several_processes_write_what_one_does_and_are_gone_afterwards(place, tmp_path, capfd):
    run_labeling(job(place, tmp_path / "one"))
    run_labeling(job(place, tmp_path / "three"), processes=3)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "three")
    assert "ended early" not in capfd.readouterr().out


@pytest.mark.slow
def test_a_command_that_is_killed_goes_on_and_ends_with_the_same_bytes(place, tmp_path):
    line = [
        sys.executable,
        "-m",
        "nsfast.cli",
        "label",
        place / "teacher",
        place / "pictures",
        tmp_path / "out",
    ]
    line += ["--shard-size", "4", "--batch-size", "2"]
    process = subprocess.Popen(list(map(str, line)), stdout=subprocess.DEVNULL)
    while not list((tmp_path / "out").glob("part-*.json")) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(NsfastError, match="is not finished; run it again"):
        read_labels(tmp_path / "out")
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True, check=True)
    assert f"{N} labels of {N} pictures" in done.stdout
    whole = job(place, tmp_path / "whole", "pictures", shard=4, batch=2)
    whole.label()
    made = bytes_of(tmp_path / "out")
    assert bytes_of(tmp_path / "whole").items() <= made.items()
    assert set(made) - set(bytes_of(tmp_path / "whole")) == {
        "held_out.parquet",
        "leaked.csv",
        "duplicates.csv",
    }


def test_the_average_of_two_models_is_their_mean(place, tmp_path):
    both = job(place, tmp_path / "both", models=(str(place / "teacher"), str(place / "other"))).label()
    one, two = (job(place, tmp_path / n, models=(str(place / n),)).label() for n in ("teacher", "other"))
    mean = (one.vectors.probabilities.astype(float) + two.vectors.probabilities.astype(float)) / 2
    assert np.abs(both.vectors.probabilities - mean).max() < 1e-3
    assert both.origin.teacher == f"{one.origin.teacher}+{two.origin.teacher}"


def test_a_noised_teacher_says_other_things_the_same_in_any_order_and_the_table_says_so(place, tmp_path):
    plain = job(place, tmp_path / "plain").label()
    noised = job(place, tmp_path / "noised", noise=True).label()
    again = job(place, tmp_path / "again", noise=True)
    (again.label(1, 2), again.label(0, 2))  # two processes, the second one first
    assert bytes_of(tmp_path / "noised") == bytes_of(tmp_path / "again")
    columns = [
        np.concatenate([b["confidence"] for b in t.batches(["confidence"], 64)]) for t in (plain, noised)
    ]
    assert (columns[0] != columns[1]).mean() > 0.5
    said = noised.origin.preprocessing["noise"][0]
    assert said["randaugment_n"] == 2 and said["dropout"] == 0.5 and "noise" not in plain.origin.preprocessing
    with pytest.raises(NsfastError, match="noise"):
        job(place, tmp_path / "plain", noise=True).label()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ("nowhere",)}, "no model in nowhere"),
        ({"source": "nowhere"}, "no pictures: .*nowhere does not exist"),
        ({"top": 4}, "top is 4; keep 1 to 3 classes"),
        ({"shard": 0}, "shard_size is 0"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(place, tmp_path, changes, words):
    with pytest.raises(NsfastError, match=words):
        run_labeling(job(place, tmp_path / "out", **changes))
    assert not list(tmp_path.rglob("part-*"))


def test_models_of_other_classes_do_not_label_together(place, tmp_path):
    model(tmp_path / "stranger", 2, ("ant", "bee", "dog"))
    with pytest.raises(NsfastError, match="the classes of .*stranger are not those of .*teacher"):
        run_labeling(
            job(place, tmp_path / "out", models=(str(place / "teacher"), str(tmp_path / "stranger")))
        )


def test_another_teacher_does_not_label_into_a_finished_table(place, tmp_path):
    job(place, tmp_path / "out").label()
    before = bytes_of(tmp_path / "out")
    with pytest.raises(NsfastError, match="is another: teacher is .* instead of .*; give another folder"):
        job(place, tmp_path / "out", models=(str(place / "other"),)).label()
    assert bytes_of(tmp_path / "out") == before


def test_another_teacher_does_not_go_on_with_a_table_that_was_begun(place, tmp_path):
    job(place, tmp_path / "out").label()
    (tmp_path / "out" / "manifest.json").unlink()
    (tmp_path / "out" / "part-00003.json").unlink()
    before = bytes_of(tmp_path / "out")
    with pytest.raises(NsfastError, match="unfinished label table that is another: teacher is .*; delete it"):
        job(place, tmp_path / "out", models=(str(place / "other"),)).label()
    assert bytes_of(tmp_path / "out") == before
    assert len(job(place, tmp_path / "out").label()) == N


def test_other_pictures_do_not_go_into_a_table_that_was_begun(place, tmp_path):
    job(place, tmp_path / "out", "pictures").label()
    for source in ("pictures.npy", "pictures.tar"):
        with pytest.raises(
            NsfastError, match="was begun with other pictures than .* holds now; give another folder"
        ):
            job(place, tmp_path / "out", source).label()


def test_pictures_that_change_are_noticed_and_before_the_first_label_taken_in(place, tmp_path):
    pictures = tmp_path / "pictures"
    shutil.copytree(place / "pictures", pictures)
    made = replace(job(place, tmp_path / "out"), source=str(pictures))
    made._pictures()  # the index is there, and no label yet
    (pictures / "000.png").unlink()
    assert len(made.label()) == N - 1
    (pictures / "001.png").unlink()
    with pytest.raises(NsfastError, match="was begun with other pictures"):
        made.label()


def test_half_the_precision_is_nearly_the_same_and_said(place, tmp_path):
    whole, half = (job(place, tmp_path / p, precision=p).label() for p in ("float32", "bfloat16"))
    assert [t.origin.preprocessing["precision"] for t in (whole, half)] == ["float32", "bfloat16"]
    difference = np.abs(whole.vectors.dense() - half.vectors.dense())
    assert 0 < difference.max() < 0.05
    with pytest.raises(NsfastError, match="unknown precision 'float16'"):
        run_labeling(job(place, tmp_path / "out", precision="float16"))


def test_a_picture_that_is_held_out_is_found_again_and_not_selected(place, tmp_path):
    (tmp_path / "tested").mkdir()
    for number in (5, 77):
        picture = np.load(place / "pictures.npy")[number, ..., 0]
        Image.fromarray(picture).save(tmp_path / "tested" / f"{number}.bmp")
    (tmp_path / "tested" / "notes.txt").write_text("no picture")
    made = job(place, tmp_path / "out", "pictures", held_out=(str(tmp_path / "tested"),))
    labels = made.label()
    assert find_leaks(labels, made.held_out_pictures()) == 2
    rows = read_csv(labels.folder / "leaked.csv")
    assert [row["id"] for row in rows] == [5, 77] and rows[0]["name"].endswith("005.png")
    how = Balancing(threshold=0.0, per_class="largest", method="none")
    balanced = balance_table(labels, tmp_path / "selected", how, decisions_of(labels))
    assert set(balanced.selection.ids) == set(range(N)) - {5, 77}
    (tmp_path / "tested" / "5.bmp").unlink()  # looked at anew each time
    assert find_leaks(labels, made.held_out_pictures()) == 1


def test_duplicates_go_where_that_is_asked_for_and_their_list_must_be_there(place, tmp_path):
    pixels = np.load(place / "pictures.npy")
    np.save(tmp_path / "twice.npy", np.concatenate([pixels, pixels[:3]]))
    labels = replace(job(place, tmp_path / "out"), source=str(tmp_path / "twice.npy")).label()
    with pytest.raises(NsfastError, match="no .*duplicates.csv, so no picture is known to be there twice"):
        decisions_of(labels, duplicates=False)
    find_leaks(labels, {})
    assert decisions_of(labels, duplicates=False).dropped.tolist() == [N, N + 1, N + 2]
    assert not len(decisions_of(labels).dropped)


def test_commands_label_and_balance_and_leave_what_training_reads(place, tmp_path):
    def nsfast(*arguments):
        line = [sys.executable, "-m", "nsfast.cli", *map(str, arguments)]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)

    done = nsfast("label", place / "teacher", place / "pictures", "labels", "--top", 2)
    assert done.returncode == 0 and f"{N} labels of {N} pictures" in done.stdout, done.stderr
    done = nsfast(
        "balance", "labels", "out", "--threshold", 0.1, "--per-class", 20, "--class-threshold", "ant=0.2"
    )
    assert done.returncode == 0 and "20 pictures of each class, as asked for" in done.stdout, done.stderr
    selection = read_selection(tmp_path / "out/selection.parquet")
    targets = read_targets(tmp_path / "out/selection.labels.npy", 3)
    assert len(selection) == len(targets) and targets.top == 2
    labels = read_labels(tmp_path / "labels")
    rows = np.searchsorted(labels.ids, selection.ids)
    assert np.array_equal(targets.probabilities, labels.vectors.probabilities[rows])
    done = nsfast("balance", "labels", "out", "--class-threshold", "antt=0.2")
    assert done.returncode == 2 and done.stderr == "nsfast: unknown class 'antt'; did you mean 'ant'?\n"
    done = nsfast("balance", "labels", "out", "--per-class", "most")
    assert done.returncode == 2 and "unknown per_class 'most'" in done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_data_writes_what_one_process_does(place, tmp_path):
    pytest.importorskip("ray.data")
    run_labeling(job(place, tmp_path / "one"))
    run_labeling(job(place, tmp_path / "ray"), processes=2, engine="ray")
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "ray")


def test_ray_that_is_not_installed_is_named(place, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NsfastError, match=r"Ray is not installed .*; pip install 'nsfast\[ray\]'"):
        run_labeling(job(place, tmp_path / "out"), engine="ray")


def test_a_process_that_is_killed_does_no_harm(place, tmp_path):
    """A process that claimed a shard and was killed: the next one takes the shard over at once."""
    code = "import os, sys; from nsfast.labels.labeling.claims import Claims\n"
    code += "claims = Claims(sys.argv[1], sys.argv[2]).__enter__(); claims.take('part-00002'); os.kill(os.getpid(), 9)"
    from nsfast.labels.labeling.unfinished import UnfinishedTable

    made = job(place, tmp_path / "out")
    networks = made.networks()
    pictures = made._pictures()
    work = UnfinishedTable(tmp_path / "out", made.origin(networks, pictures), N, 16).claims.work
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out"), work])
    assert killed.returncode == -signal.SIGKILL and (tmp_path / "out/part-00002.claim").is_file()
    assert len(made.label()) == N and not list((tmp_path / "out").glob("*.claim"))
    assert os.path.isfile(tmp_path / "out" / "manifest.json")
