"""All ratios of training, noise, pictures and labels: prints the table, writes it into RESULTS.md, exits 1 if short.

    python benchmarks

Each is a script that also runs alone, as `python benchmarks/depth.py`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from table import RESULTS, show, write

SCRIPTS = (
    *("step", "timm_loop", "overhead", "average"),
    *("randaugment", "depth", "loading", "decode", "epoch", "labeling", "balance", "explore"),
)
WORDS = "Processor time of one thread."


def main(scripts: Sequence[str] = SCRIPTS, results: Path = RESULTS) -> int:
    """Run the scripts of these names; return the exit code."""
    # fastai's scripted activations, at import
    warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
    found, code = [], 0
    for name in scripts:
        ours = import_module(name).results()
        code |= show(ours)
        found += ours
    write(found, "## Ratios", "python benchmarks", WORDS, results)
    return code


if __name__ == "__main__":
    sys.exit(main())
