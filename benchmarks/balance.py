"""Balancing a label table, Parquet in and selection out, against one duckdb query that does the same.

    python benchmarks/balance.py [--rows 10000000 100000000]

The labels are of 1000 classes whose sizes fall with the power 0.8 of their rank (Zipf); the confidences are sigmoids of
normal numbers, in float16, so that there are ties everywhere. N is the paper's, scaled. Ours makes all its passes: no
histogram has been counted before. duckdb ranks by confidence and hash, keeps N of each class, and copies random ones
where there are fewer; its result need not be in the order of the ids, which ours is. Each is a process of its own with
one thread, and the time is its processor time from start to end. It is checked that both keep and copy as many of each
class.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

SIDES = ("ours", "duckdb")
CLASSES = 1000
SHARD = 1 << 20
ROUNDS = 3
MOST = 10_000_000
"""Labels up to which half a gigabyte must do; beyond them 1.2."""

QUERY = """
COPY (
    WITH ranked AS (
        SELECT id, class, row_number() OVER (PARTITION BY class ORDER BY confidence DESC, hash(id)) AS place
        FROM read_parquet('{labels}') WHERE confidence >= {threshold}),
    kept AS (
        SELECT id, class, count(*) OVER (PARTITION BY class) AS kept,
            row_number() OVER (PARTITION BY class ORDER BY hash(id + 1)) AS draw
        FROM ranked WHERE place <= {number})
    SELECT id, class, ({number} // kept + (draw <= {number} % kept)::INT)::UINTEGER AS copies FROM kept
) TO '{out}' (FORMAT parquet, COMPRESSION zstd)"""


def write_table(folder: Path, rows: int) -> None:
    """Write a label table without distributions and without a histogram, a shard at a time."""
    import pyarrow as pa

    from nsfast.files import write_json
    from nsfast.labels.origin import Origin
    from nsfast.labels.shards import SCHEMA_VERSION, shard_name, write_parquet

    shares = np.cumsum(np.arange(1, CLASSES + 1) ** -0.8)
    notes = []
    for number, first in enumerate(range(0, rows, SHARD)):
        random, count = np.random.default_rng(number), min(SHARD, rows - first)
        columns = {"id": np.arange(first, first + count)}
        columns["class"] = np.searchsorted(shares, random.random(count) * shares[-1]).astype(np.uint16)
        columns["confidence"] = (1 / (1 + np.exp(-random.normal(0.5, 2, count)))).astype(np.float16)
        path = folder / shard_name(number)
        write_parquet(path, pa.table(columns))
        note = {"file": path.name, "rows": count, "bytes": path.stat().st_size, "quarantined": []}
        notes.append(note | {"first": first, "last": first + count - 1})
    origin = Origin(tuple(f"class {number}" for number in range(CLASSES)), "benchmark").to_dict()
    manifest = {"schema": SCHEMA_VERSION, "origin": origin, "pictures": rows, "rows": rows, "shards": notes}
    write_json(folder / "manifest.json", manifest)


def ours(folder: Path) -> None:
    """Balance the table in `folder` with nsfast."""
    from nsfast.labels.balancing.balance import Balancing, balance
    from nsfast.labels.table import read_labels

    balance(read_labels(folder), Balancing(), folder / "ours")


def theirs(folder: Path, rows: int) -> None:
    """Balance it with one query."""
    import duckdb

    (folder / "duckdb").mkdir(exist_ok=True)
    number = max(round(13 * rows / (30 * CLASSES)), 1)
    places = {"labels": folder / "part-*.parquet", "out": folder / "duckdb" / "selection.parquet"}
    with duckdb.connect() as database:
        database.execute(f"SET threads = 1; SET temp_directory = '{folder / 'duckdb' / 'spilled'}'")
        database.execute(QUERY.format(**places, threshold=float(np.float16(0.3)), number=number))


def run(side: str, folder: Path, rows: int) -> tuple[float, float]:
    """Let a side do its work in a process of its own; return its processor seconds and its peak memory in GB."""
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder), "--rows", str(rows)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{side} ended with exit code {process.returncode}")
    return used.ru_utime + used.ru_stime, int(said) * 1024 / 1e9


def peak() -> int:
    """The most memory, in KiB, that this process has held; rusage would also count the one that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def check(folder: Path) -> None:
    """Stop when both sides do not keep and copy as many of each class."""
    import duckdb

    count = "SELECT class, count(*), sum(copies) FROM '{}' GROUP BY class ORDER BY class"
    with duckdb.connect() as database:
        found = [
            database.execute(count.format(folder / side / "selection.parquet")).fetchall() for side in SIDES
        ]
    if found[0] != found[1] or len(found[0]) != CLASSES:
        raise SystemExit("the two sides select different numbers of pictures")


def measured(rows: int, rounds: int = ROUNDS) -> tuple[list, list[float]]:
    """Return the lines of the table for so many labels, and the seconds of ours."""
    from timing import Result, interleaved, ratios

    with TemporaryDirectory() as folder:
        write_table(Path(folder), rows)
        peaks: dict[str, list[float]] = {side: [] for side in SIDES}

        def work(side: str) -> float:
            seconds, most = run(side, Path(folder), rows)
            peaks[side].append(most)
            return seconds

        seconds = interleaved(*(lambda side=side: work(side) for side in SIDES), rounds=rounds)
        check(Path(folder))
    name = f"balancing {rows / 1e6:g} M labels"
    lines = [Result(f"{name} / one duckdb query", ratios(*seconds), at_most=1.2)]
    lines.append(Result(f"{name}, peak memory", peaks["ours"], "GB", at_most=0.5 if rows <= MOST else 1.2))
    lines.append(Result(f"{name}, peak memory of duckdb", peaks["duckdb"], "GB"))
    lines.append(Result(f"{name}, time", seconds[0], "s"))
    return lines, seconds[0]


def results(rows: tuple[int, ...] = (MOST,)) -> list:
    """Measure; of several numbers of labels also whether the time grows as they do."""
    from timing import Result, ratios

    lines, seconds = [], []
    for count in rows:
        found, taken = measured(count)
        lines += found
        seconds.append(taken)
    pairs = list(zip(rows, seconds, strict=True))
    for (few, short), (many, long) in zip(pairs, pairs[1:], strict=False):
        name = f"balancing, time of a label, {many / 1e6:g} M / {few / 1e6:g} M"
        lines.append(Result(name, ratios(long, short, few / many), at_most=1.2))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[MOST])
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        ours(arguments.folder) if arguments.side == "ours" else theirs(arguments.folder, arguments.rows[0])
        print(peak())
        return 0
    from table import show

    return show(results(tuple(arguments.rows)))


if __name__ == "__main__":
    sys.exit(main())
