"""The fonts that matplotlib ships, from which pictures are drawn."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def font_folder() -> Path:
    """Return the folder of their .ttf files."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"
