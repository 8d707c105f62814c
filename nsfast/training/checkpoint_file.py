"""Reading a checkpoint's file: the newest that is whole, and only if it is of the same training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, safe_open

from nsfast.errors import NsfastError
from nsfast.files import fingerprint


def previous(path: Path) -> Path:
    """Return where the checkpoint before the one at `path` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def read_checkpoint(
    path: str | Path, identity: dict[str, Any] | None = None
) -> tuple[dict, dict[str, torch.Tensor]] | None:
    """Return what a checkpoint says and its tensors, None if there is none.

    Raises:
        NsfastError: it is of another training than `identity`, or damaged and so is the one before it.
    """
    path = Path(path)
    problems = []
    for file in (path, previous(path)):
        if not file.is_file():
            continue
        try:
            with safe_open(file, "pt") as opened:
                about = json.loads(opened.metadata()["nsfast"])
            tensors = load_file(file)
        except Exception as error:
            problems.append(f"checkpoint {file} is damaged ({' '.join(str(error).split())})")
            continue
        if identity is not None and fingerprint(about["identity"]) != fingerprint(identity):
            raise NsfastError(
                f"checkpoint {file} is of another training ({differences(about['identity'], identity)}); put that "
                "back to continue it, or delete the file to train anew"
            )
        if problems:
            print(f"{problems[0]}; going on from the one before it")
        return about, tensors
    if problems:
        raise NsfastError(f"{problems[0]}; delete it to train anew")
    return None


def differences(there: Any, here: Any, name: str = "") -> str:
    """Say in what plain data differ: "epochs is 10 there and 20 here, ..."."""
    if isinstance(there, dict) and isinstance(here, dict):
        parts = [
            differences(there.get(key), here.get(key), str(key))
            for key in sorted({*there, *here})
            if fingerprint(there.get(key)) != fingerprint(here.get(key))
        ]
        return ", ".join(parts[:5]) + (" and more" if len(parts) > 5 else "")
    return f"{name} is {_short(there)} there and {_short(here)} here"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
