"""Makes the README's pictures of results: python docs/draw_results.py [RUN]; RUN is a finished digits run."""

import shutil
import sys
from pathlib import Path

PICTURES = {"result.png": "accuracy.png", "robustness.png": "corruption_scores.png"}


def main(run: Path) -> None:
    """Copy the figures of a run's analysis to where the README shows them."""
    for name, figure in PICTURES.items():
        shutil.copyfile(run / "analysis" / "figures" / figure, Path(__file__).with_name(name))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/digits"))
