"""Whether the explorer is shown live, or as a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping

from nsfast.errors import choice

FRONT_ENDS = ("JPY_SESSION_NAME", "VOILA_KERNEL_ID", "VSCODE_PID")
"""Variables that JupyterLab and Notebook, Voila and VS Code set for their kernels; papermill sets none."""


def display_mode(environment: Mapping[str, str] | None = None) -> str:
    """Return "live" or "static".

    `NSFAST_DISPLAY` decides when it is "live" or "static"; with "auto", or unset, the kernel is live when a
    front-end has left one of `FRONT_ENDS` in the environment.

    Args:
        environment: `os.environ` when left out.

    Raises:
        NsfastError: another value of NSFAST_DISPLAY.
    """
    environment = os.environ if environment is None else environment
    asked = choice("NSFAST_DISPLAY", environment.get("NSFAST_DISPLAY", "auto"), ("auto", "live", "static"))
    if asked != "auto":
        return asked
    return "live" if any(environment.get(name) for name in FRONT_ENDS) else "static"
