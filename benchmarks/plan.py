"""How far the predicted time of a run of the digits is from the measured one; at most a quarter.

    python benchmarks/plan.py [--rounds 1]

Predicted: `costs` of the profile, with its probe of this machine, in a process of its own, before the run starts.
Measured: `nsfast run digits` in an empty folder, from the start of the command to its end. A round takes some minutes
and needs a machine that does nothing else; it is said when something else is running.

For information: both in seconds, and for each kind of stage the predicted time over that of the run's log.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from table import show, write
from timing import Result

WITHIN = 0.25
PREDICT = """
import json
from nsfast.pipeline.cost.costs import costs
from nsfast.pipeline.profile import resolve
found = costs(resolve("digits"))
rows = [{"stage": row.stage.split(":")[0], "seconds": row.seconds} for row in found.rows]
print(json.dumps({"seconds": found.seconds, "rows": rows}))
"""


def kind(stage: str) -> str:
    """Return a stage's name without its round."""
    return stage.split("/")[-1]


def by_kind(rows: list[dict]) -> dict[str, float]:
    """Add up the seconds of all stages of a kind."""
    seconds: dict[str, float] = {}
    for row in rows:
        seconds[kind(row["stage"])] = seconds.get(kind(row["stage"]), 0.0) + row["seconds"]
    return seconds


def predicted() -> dict:
    """Return the predicted seconds of the run and of its stages."""
    command = [sys.executable, "-W", "ignore", "-c", PREDICT]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def measured() -> dict:
    """Return the same of a run, as the clock has it."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "nsfast.cli", "run", "digits", "--run", str(run)]
        begun = perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = perf_counter() - begun
        lines = map(json.loads, (run / "log.jsonl").read_text(encoding="utf-8").splitlines())
        return {"seconds": seconds, "rows": [line for line in lines if line["outcome"] == "finished"]}


def results(rounds: int = 1) -> list[Result]:
    """Measure; return the lines of the table."""
    pairs = []
    for _ in range(rounds):
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        if load > 0.5:
            print(
                f"load {load:.1f}: something else is running, the ratios are of a busy machine",
                file=sys.stderr,
            )
        pairs.append((predicted(), measured()))
    ratio = [ours["seconds"] / real["seconds"] for ours, real in pairs]
    lines = [
        Result(
            "time of the digits, share that the prediction is off",
            [abs(r - 1) for r in ratio],
            "",
            at_most=WITHIN,
        ),
        Result("  predicted / measured", ratio),
        Result("  predicted", [ours["seconds"] for ours, _ in pairs], "s"),
        Result("  measured", [real["seconds"] for _, real in pairs], "s"),
    ]
    stages = [(by_kind(ours["rows"]), by_kind(real["rows"])) for ours, real in pairs]
    for name in stages[0][1]:
        lines.append(
            Result(f"  {name}, predicted / measured", [ours[name] / real[name] for ours, real in stages])
        )
    return lines


def main() -> int:
    """Measure, print and write the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    found = results(parser.parse_args().rounds)
    write(found, "## Plan", "python benchmarks/plan.py", "Wall time of a quiet machine.", last=True)
    return show(found)


if __name__ == "__main__":
    sys.exit(main())
