"""Labeling that is killed anywhere, or finds the disk full, ends in the table that nobody disturbed, byte for byte."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from nsfast.errors import NsfastError
from nsfast.files import checksum
from nsfast.images import Split
from nsfast.labels import Origin, read_labels
from nsfast.labels.labeling.label import label

SERVER = """
import json, os, resource, signal, sys, tempfile, time
import numpy as np
import torch
from torch import nn
from nsfast.images import Split
from nsfast.labels import Origin
from nsfast.labels.labeling.label import label

class Slow(nn.Module):  # what it says of a picture is its first pixels; a batch takes 3 ms
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        time.sleep(0.003)
        return 4 * self.weight * x[:, 0, 0, :3]

def split(count):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 1), np.uint8)
    return Split(np.array([f"picture-{i}" for i in range(count)]), pixels)

def work(pictures, shard, folder, rank=0, processes=1, die="", moves=0, limit=0):
    '''Label as one of several processes; at a file's renaming die before it or after it, or have a limit from it on.'''
    rename, left = os.replace, [moves]
    def replace(a, b):
        left[0] -= 1
        if not left[0] and limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        if not left[0] and die == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        rename(a, b)
        if not left[0] and die == "after":
            os.kill(os.getpid(), signal.SIGKILL)
    os.replace = replace
    label(Slow(), split(pictures), Origin(("a", "b", "c"), "t", top=2), folder, batch=4, shard=shard,
          rank=rank, processes=processes)

with tempfile.TemporaryDirectory() as folder:  # what is done for the first time takes longer than all the rest
    out = os.dup(1)
    os.dup2(2, 1)
    work(8, 4, folder)
    os.dup2(out, 1)
for line in sys.stdin:
    command = json.loads(line)
    if "wait" in command:
        print(os.waitpid(command["wait"], 0)[1], flush=True)
        continue
    process = os.fork()
    if not process:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
        try:
            work(**command)
            code = 0
        except BaseException as error:
            print(type(error).__name__, error, file=sys.stderr, flush=True)
        os._exit(code)
    print(process, flush=True)
"""


class Server:
    """Starts processes that have imported everything: they are forked from one that has."""

    def __init__(self, stderr):
        self.errors = stderr
        with open(stderr, "wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )

    def ask(self, **command) -> int:
        print(json.dumps(command), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def start(self, folder, pictures=48, shard=8, **how) -> int:
        return self.ask(pictures=pictures, shard=shard, folder=str(folder), **how)

    def wait(self, process) -> int:
        return self.ask(wait=process)

    def run(self, folder, **how) -> int:
        return self.wait(self.start(folder, **how))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server") / "stderr")
    yield server
    server.process.stdin.close()
    assert server.process.wait(30) == 0
    server.process.stdout.close()


@pytest.fixture(scope="module")
def undisturbed(server, tmp_path_factory):
    """The files of the table that one process made, and the seconds that one and three take."""
    seconds = {}
    for count in (1, 3):
        folder = tmp_path_factory.mktemp("undisturbed")
        for _ in range(2):  # the first of all warms up
            for path in folder.iterdir():
                path.unlink()
            start = time.monotonic()
            for process in [server.start(folder, rank=rank, processes=count) for rank in range(count)]:
                assert server.wait(process) == 0
            seconds[count] = time.monotonic() - start
    return files(folder), seconds


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("seed", range(20))
def test_one_process_killed_at_a_random_moment_changes_no_byte(server, undisturbed, tmp_path, seed):
    expected, seconds = undisturbed
    process = server.start(tmp_path)
    time.sleep(random.Random(seed).uniform(0, 1.1 * seconds[1]))
    os.kill(process, signal.SIGKILL)
    server.wait(process)
    assert server.run(tmp_path) == 0
    assert files(tmp_path) == expected and len(read_labels(tmp_path)) == 48


@pytest.mark.parametrize("seed", range(20))
def test_any_of_three_processes_killed_at_a_random_moment_change_no_byte(server, undisturbed, tmp_path, seed):
    expected, seconds = undisturbed
    draw = random.Random(seed)
    processes = [server.start(tmp_path, rank=rank, processes=3) for rank in range(3)]
    killed = draw.sample(processes, 1 + seed % 3)
    for process in killed:
        time.sleep(draw.uniform(0, seconds[3] / len(killed)))
        os.kill(process, signal.SIGKILL)
    codes = {process: server.wait(process) for process in processes}
    assert all(code == 0 for process, code in codes.items() if process not in killed)
    if len(killed) == 3:
        assert server.run(tmp_path, rank=1, processes=3) == 0
    assert files(tmp_path) == expected


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_killed_at_any_file_s_renaming_changes_no_byte(server, tmp_path, when):
    assert server.run(tmp_path / "whole", pictures=10) == 0
    expected, moves = files(tmp_path / "whole"), 0
    assert len(expected) == 2 * 3 + 4  # each file is renamed to its name once
    for moves in range(1, len(expected) + 1):
        folder = tmp_path / str(moves)
        assert server.run(folder, pictures=10, die=when, moves=moves) == signal.SIGKILL
        assert (folder / "manifest.json").exists() == (when == "after" and moves == len(expected))
        assert server.run(folder, pictures=10) == 0
        assert files(folder) == expected
    assert server.run(tmp_path / "more", pictures=10, die=when, moves=moves + 1) == 0


# --- a full disk


class Teacher(nn.Module):
    """Counts the pictures that it is shown; what it says is their first pixels."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.ones(1)), 0

    def forward(self, x):
        self.seen += len(x)
        return 4 * self.weight * x[:, 0, 0, :3]


def check_that_what_counts_is_whole(folder):
    """Every note is of a shard that is read to its end with its checksum; nothing half written lies about."""
    names = {path.name for path in folder.iterdir()}
    done = sorted(name for name in names if name.endswith(".json"))
    for name in done:
        note, part = json.loads((folder / name).read_text()), (folder / name).with_suffix(".parquet")
        assert checksum(part) == note["sha256"]
        assert len(pq.read_table(part, page_checksum_verification=True)) == note["rows"]
        assert len(pq.read_table(folder / part.name.replace("part", "contents"))) == note["rows"]
    assert not [name for name in names if name.endswith((".tmp", ".claim"))] and "manifest.json" not in names
    return [name.replace(".json", ".parquet") for name in done]


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no mount: {error}; the test with a limit on the size of files stands in for it")
    if mounted.returncode:
        pytest.skip(f"{mounted.stderr.strip()}; the test with a limit on the size of files stands in for it")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_labeling_goes_on_after_room_is_made(small_disk, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8000, 4, 4, 1), np.uint8)
    split, origin = Split(np.arange(8000).astype(str), pixels), Origin(("a", "b", "c"), "t")
    teacher = Teacher()
    with pytest.raises(
        NsfastError, match=r"No space left on device in .*/labels \(0\.\d+ MB free\)"
    ) as caught:
        label(teacher, split, origin, small_disk / "labels", shard=1000)
    done = check_that_what_counts_is_whole(small_disk / "labels")
    assert 0 < len(done) < 8
    assert f"{len(done)} of 8 shards are done; make room and run it again" in str(caught.value)
    assert "\n" not in str(caught.value)
    times = {name: (small_disk / "labels" / name).stat().st_mtime_ns for name in done}
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    teacher.seen = 0
    label(teacher, split, origin, small_disk / "labels", shard=1000)
    label(teacher, split, origin, tmp_path / "whole", shard=1000)
    assert teacher.seen == 8000 - 1000 * len(done) + 8000
    assert {name: (small_disk / "labels" / name).stat().st_mtime_ns for name in done} == times
    assert files(small_disk / "labels") == files(tmp_path / "whole")


def test_a_limit_on_the_size_of_files_is_one_line_and_labeling_goes_on_without_it(
    server, undisturbed, tmp_path
):
    moves = 1 + 3 * 3  # files.parquet, and three shards
    assert server.run(tmp_path, moves=moves, limit=500) == 256
    said = server.errors.read_text().splitlines()[-1]
    assert said.startswith(f"NsfastError File too large in {tmp_path}") and "3 of 6 shards are done" in said
    assert len(check_that_what_counts_is_whole(tmp_path)) == 3
    assert server.run(tmp_path) == 0
    assert files(tmp_path) == undisturbed[0]
