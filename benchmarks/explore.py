"""The explorer on a million labels: opening, filter and sort, the threshold, a page of pictures, a decision; memory.

    python benchmarks/explore.py

Tables: a million labels of 100 classes, with the whole distributions, and of 1000 classes, with the likeliest ten; with
each the table of the round before, and the truth. The pictures are a `.npy` of 32 x 32 x 3, or JPEGs of 256 x 256, 200
of them that are there again and again.

Each table is opened in a process of its own, whose processor time is taken: to the first page (labels, all scores, the
selection, what is said of 24 pictures, tiles, PNG); a folder of pictures instead of the `.npy` looks up a million
names. Of several filters and sorts the slowest counts, once each sort has been asked for; of 20 thresholds the slowest
beside the first, with all that the panel then shows; of several pages the slowest. A decision is written to its file,
and the preview counted again. Memory is the peak of that process (VmHWM) up to then, with the panel's widgets, and with
a second table of the same labels whose pictures are in a folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np

COUNT, SHARD, JPEGS, PAGE, TILE = 1_000_000, 65536, 200, 24, 96
TABLES = {100: 0, 1000: 10}
"""How many of the likeliest classes are kept (0 for all) of how many."""
ROUNDS = 3


def picture_name(number: int) -> str:
    """The name of a picture, as that of a file in one of a hundred folders."""
    return f"part-{number % 100:02}/{number:07}.jpg"


def write_table(folder: Path, classes: int, top: int, round: int, count: int = COUNT) -> None:
    """Write a label table, a shard at a time; sure and unsure labels, of which each round draws its own."""
    import torch

    from nsfast.images.index import write_names
    from nsfast.labels import Origin
    from nsfast.labels.shards import rows_of, shard_name, write_shard
    from nsfast.labels.table import finish_table

    origin = Origin(tuple(f"class {number}" for number in range(classes)), f"teacher {round}", round, top=top)
    write_names(folder, map(picture_name, range(count)))
    for number, start in enumerate(range(0, count, SHARD)):
        random = torch.Generator().manual_seed(1000 * round + number)
        ids = np.arange(start, min(start + SHARD, count))
        logits = 2 * torch.randn(len(ids), classes, generator=random)
        likely = torch.randint(classes, (len(ids), 1), generator=random)
        logits.scatter_(1, likely, 2 + 8 * torch.rand(len(ids), 1, generator=random))
        write_shard(folder / shard_name(number), origin, rows_of(ids, logits.softmax(1), top))
    finish_table(folder, origin, count, -(-count // SHARD))


def write_pictures(folder: Path, count: int = COUNT) -> None:
    """Write `pictures.npy` and a folder `jpegs`; coarse noise, which neither PNG nor JPEG makes small."""
    from PIL import Image

    random = np.random.default_rng(0)
    block = random.integers(0, 256, (1000, 8, 8, 3), np.uint8).repeat(4, 1).repeat(4, 2)
    pixels = np.lib.format.open_memmap(folder / "pictures.npy", "w+", np.uint8, (count, 32, 32, 3))
    for start in range(0, count, len(block)):
        pixels[start : start + len(block)] = block[: count - start]
    (folder / "jpegs").mkdir()
    for number in range(JPEGS):
        picture = random.integers(0, 256, (32, 32, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(picture).save(folder / "jpegs" / f"{number}.jpg", quality=90)


def milliseconds(work: Callable[[], object]) -> float:
    """Return the processor time that a piece of work takes."""
    start = process_time()
    work()
    return 1000 * (process_time() - start)


def measure(folder: Path, classes: int) -> dict[str, float]:
    """Open a table here and work with it; return milliseconds of each, and the peak of memory in GB."""
    from nsfast.explore.core.page import items_of
    from nsfast.explore.core.pictures import sprite_of, tiles_of
    from nsfast.explore.core.preview import ThresholdPreview
    from nsfast.explore.core.selection import Filter, select
    from nsfast.explore.core.table import open_table
    from nsfast.explore.live.panel import ThresholdPanel
    from nsfast.images import PictureFiles
    from nsfast.labels import Balancing
    from nsfast.labels.decisions import DecisionLog

    count = len(np.lib.format.open_memmap(folder / "pictures.npy", "r"))
    truth = np.random.default_rng(0).integers(-1, classes, count)
    log, how, found = DecisionLog(folder / "decisions.jsonl"), Balancing(per_class="auto"), {}

    def opened(images):
        return open_table(folder / f"{classes}-2", images, truth, {"round 1": folder / f"{classes}-1"})

    def page(labels, rows):
        tiles, problems = tiles_of(labels.pictures, rows, TILE)
        return items_of(labels, rows, log.decisions, problems), sprite_of(tiles)

    started = process_time()
    labels = opened(folder / "pictures.npy")
    found["open"] = 1000 * (process_time() - started)
    page(labels, select(labels).page(0, PAGE))
    found["open, to the first page"] = 1000 * (process_time() - started)

    found["first sort by margin"] = milliseconds(lambda: select(labels, Filter(sort="margin")))
    some = Filter(confidence=(0.5, 1), predicted="class 7", changed_since_round=1, wrong=True)
    filters = [
        *(Filter(sort=sort) for sort in ("confidence", "margin", "entropy", "quality", "flips")),
        *(Filter((0.3, 0.9), sort="margin"), Filter(changed_since_round=1, sort="entropy"), some),
        *(Filter(seen_as={"round 1": ("class 1", "class 2")}), Filter(wrong=True, decision="undecided")),
        *(Filter(truth="class 3", sort="flips"), Filter(pictures=tuple(labels.names(np.arange(PAGE))))),
    ]
    for filter in filters:  # the columns that are sorted by are made
        select(labels, filter, log.decisions)
    found["filter and sort"] = max(
        milliseconds(lambda f=f: select(labels, f, log.decisions)) for f in filters
    )

    previews = []
    found["first preview"] = milliseconds(lambda: previews.append(ThresholdPreview.of_labels(labels, how)))
    panel = ThresholdPanel(previews[0], how)
    shown = panel.widget, panel.classes
    steps = np.linspace(0.02, 0.98, 20)
    found["drag"] = max(milliseconds(lambda step=step: panel.set_trait("threshold", step)) for step in steps)
    assert f"{panel.table.kept.sum():,} of" in shown[0].children[-1].value

    def decide():
        log.reject(picture_name(12345 % count), confidence=0.5)
        panel.preview = ThresholdPreview.of_labels(labels, how, log.decisions)

    decide()
    found["a decision, and the preview after it"] = milliseconds(decide)

    pages = np.random.default_rng(1).integers(0, count, (10, PAGE))
    found["details of a picture"] = max(
        milliseconds(lambda row=row: labels.distributions(row[:1])) for row in pages
    )
    found["open, a folder of pictures"] = milliseconds(lambda: opened(folder / "jpegs"))
    found["memory"] = peak()  # before pages, around which the system keeps much more of the file in memory
    found["page of 24, .npy"] = max(milliseconds(lambda rows=rows: page(labels, rows)) for rows in pages)
    paths = [f"{number % JPEGS}.jpg" for number in range(count)]
    labels.pictures = PictureFiles(folder / "jpegs", paths, 2 * TILE, whole=True)
    found["page of 24, JPEG 256 x 256"] = max(
        milliseconds(lambda rows=rows: page(labels, rows)) for rows in pages
    )
    return found


def peak() -> float:
    """The most memory in GB that this process has held; rusage would also count the one that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024 / 1e9


GATES = {
    "open": 3000,
    "open, to the first page": 3000,
    "open, a folder of pictures": 3000,
    "first sort by margin": None,
    "filter and sort": 300,
    "first preview": None,
    "drag": 100,
    "page of 24, .npy": 300,
    "page of 24, JPEG 256 x 256": 300,
    "details of a picture": None,
    "a decision, and the preview after it": None,
    "memory": 1,
}
"""What must not be exceeded, in milliseconds; of the memory in GB."""


def results(count: int = COUNT, rounds: int = ROUNDS) -> list:
    """Measure both tables in processes of their own; return the lines of the table."""
    from timing import Result

    lines, environment = [], {**os.environ, "OMP_NUM_THREADS": "1"}
    with TemporaryDirectory() as place:
        folder = Path(place)
        write_pictures(folder, count)
        for classes, top in TABLES.items():
            for round in (1, 2):
                write_table(folder / f"{classes}-{round}", classes, top, round, count)
            command = [sys.executable, __file__, str(folder), str(classes)]
            measured = []
            for _ in range(rounds):
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
                measured.append(json.loads(done.stdout.splitlines()[-1]))
            for name, gate in GATES.items():
                values = [each[name] for each in measured]
                unit = "GB" if name == "memory" else "ms"
                lines.append(Result(f"explorer, {classes} classes, {name}", values, unit, at_most=gate))
    return lines


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]))))
        sys.exit()
    from table import show

    sys.exit(show(results()))
