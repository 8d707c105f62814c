"""Pictures corrupted a second, over those of imagecorruptions-imaug; at least 3 at 32 pixels.

    python benchmarks/corruptions.py

nsfast: `corrupt`, the 15 corruptions of ImageNet-C at all 5 severities, table `imagenet`, the only one of the package.
All pictures are given at once, as a run does.

Alternative: imagecorruptions-imaug's `corrupt`, a picture at a time, the only way it has. It needs 32 pixels and three
channels. It reads its photograph of frost anew for each picture; a line leaves frost out on both sides.

The pictures are crops of scikit-learn's two photographs, reduced to 32. Without the package (434 MB; in no extra of
nsfast) there is nothing to compare with, and the script says so.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
from randaugment import photographs
from table import show
from timing import Result, interleaved, ratios, timed

from nsfast.robustness.corruptions import CORRUPTIONS, FAMILIES, corrupt

COUNT, PIXELS, ROUNDS = 16, 32, 5
PACKAGE = "imagecorruptions"


def results() -> list[Result]:
    """Measure; return the lines of the table, none where the package is missing."""
    if find_spec(PACKAGE) is None:
        print(f"{PACKAGE}-imaug is not installed: corruptions are not compared", file=sys.stderr)
        return []
    from imagecorruptions import corrupt as corrupt_one

    pictures = np.stack([np.asarray(image) for image in photographs(COUNT, PIXELS)])

    def ours(name: str) -> None:
        for severity in range(1, 6):
            corrupt(pictures, name, severity, table="imagenet")

    def theirs(name: str) -> None:
        for severity in range(1, 6):
            for picture in pictures:
                corrupt_one(picture, severity, name)

    sides = [
        timed(lambda name=name, side=side: side(name)) for side in (theirs, ours) for name in CORRUPTIONS
    ]
    seconds = np.array(interleaved(*sides, rounds=ROUNDS)).reshape(2, len(CORRUPTIONS), ROUNDS)

    def line(words: str, names: tuple[str, ...], gate: float | None = None) -> Result:
        theirs, ours = seconds[:, [CORRUPTIONS.index(name) for name in names]].sum(1)
        return Result(f"{words} / {PACKAGE}-imaug", ratios(theirs, ours), at_least=gate)

    name = f"corruptions of {PIXELS} x {PIXELS}"
    found = [line(name, CORRUPTIONS, gate=3)]
    found += [line("  without frost", tuple(name for name in CORRUPTIONS if name != "frost"))]
    found += [line(f"  {family}", names) for family, names in FAMILIES.items() if family != "extra"]
    made = COUNT * 5 * len(CORRUPTIONS)
    return [*found, Result(f"  {name}", [made / each for each in seconds[1].sum(0)], "/s")]


if __name__ == "__main__":
    sys.exit(show(results()))
