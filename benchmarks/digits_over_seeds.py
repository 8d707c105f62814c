"""Does the third student beat the control, over seeds? Runs the digits with several seeds and two kinds of labels.

    python benchmarks/digits_over_seeds.py [--seeds 5] [--folder runs/seeds] [--jobs 2]

Every run goes through the same command as any other, so it can be killed and continued; a second call only prints the
table. The seeds 0 to 4 are reported; the recipe was chosen on validation with seeds 10 to 12.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nsfast.analysis.comparisons import seed_interval
from nsfast.files import read_csv

KINDS = ("soft", "hard")


def run(folder: Path, kind: str, seed: int) -> Path:
    """Run the digits with a seed and a kind of label, one stage at a time; return the run folder."""
    target = folder / f"{kind}-{seed}"
    line = [sys.executable, "-m", "nsfast.cli", "run", "digits", "--seed", str(seed), "--run", str(target)]
    subprocess.run(
        [*line, "--jobs", "1", "--set", f"student.targets={kind}"], check=True, stdout=subprocess.DEVNULL
    )
    print(f"{target.name} is finished", file=sys.stderr, flush=True)
    return target


def share(values: list[float]) -> str:
    """Mean over seeds with its 95 % interval, in per cent."""
    found = seed_interval(values)
    return f"{100 * found.mean:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def table(runs: list[Path]) -> list[str]:
    """Markdown lines: test accuracy and label precision of each seed, and their means."""
    models = [{row["model"]: row for row in read_csv(r / "analysis" / "tables" / "models.csv")} for r in runs]
    labels = [{row["round"]: row for row in read_csv(r / "analysis" / "tables" / "labels.csv")} for r in runs]
    names, last = list(models[0]), max(labels[0])
    student = f"student {last}"
    rounds = sorted(labels[0])
    head = [
        "seed",
        *names,
        f"{student} − control",
        *(f"precision {r}" for r in rounds),
        *(f"coverage {r}" for r in rounds),
    ]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    columns: list[list[float]] = []
    for found, label in zip(models, labels, strict=True):
        row = [found[name]["accuracy"] for name in names]
        row += [found[student]["accuracy"] - found["control"]["accuracy"]]
        row += [label[r]["precision"] for r in rounds] + [label[r]["coverage"] for r in rounds]
        columns.append(row)
    for path, row in zip(runs, columns, strict=True):
        lines.append(f"| {path.name.split('-')[1]} | {' | '.join(f'{100 * value:.1f}' for value in row)} |")
    lines.append(f"| mean [95 %] | {' | '.join(share(list(c)) for c in zip(*columns, strict=True))} |")
    for measure, words in (
        ("precision", "Precision at the threshold"),
        ("in_class_accuracy", "Labels right among all pictures that have a class"),
    ):
        rise = [label[last][measure] - label[1][measure] for label in labels]
        lines += ["", f"{words}, round {last} minus round 1: {share(rise)} points."]
    return lines


def main() -> None:
    """Run everything and print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--folder", type=Path, default=Path("runs/seeds"))
    arguments.add_argument("--jobs", type=int, default=2)
    given = arguments.parse_args()
    jobs = [(given.folder, kind, seed) for kind in KINDS for seed in range(given.seeds)]
    with ThreadPoolExecutor(given.jobs) as pool:
        finished = list(pool.map(lambda job: run(*job), jobs))
    for number, kind in enumerate(KINDS):
        runs = finished[number * given.seeds : (number + 1) * given.seeds]
        print(f"\n### {kind} pseudo-labels, test accuracy in per cent, {given.seeds} seeds\n")
        print("\n".join(table(runs)))


if __name__ == "__main__":
    main()
