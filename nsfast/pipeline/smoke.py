"""A profile cut down to a few steps on tiny pictures in its data set's official layout: does every stage run?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nsfast.pipeline.profile import Profile, read_profile, resolve

SIDE, FINETUNE_SIDE = 32, 40


def smoke_profile(name_or_path: str, data: str | Path, settings: tuple[str, ...] = ()) -> Profile:
    """Return a profile with its recipe's every option, but few steps, a small network and tiny pictures.

    Args:
        name_or_path: of the profile.
        data: folder into which tiny pictures are written, unless the profile needs no files.
        settings: "stage.name=value" each; they win.
    """
    import yaml

    whole = resolve(name_or_path, (*settings, *_anywhere(name_or_path)))
    changes: dict[str, dict[str, Any]] = {"data": _tiny(whole, Path(data))}
    side = SIDE if "size" in whole.groups["data"] else 0
    for group in ("teacher", "student"):
        changes[group] = _few_steps(whole.groups[group], side)
    changes["control"] = {"epochs": 1, "steps_per_epoch": 2, "batch": 4}
    changes["iterate"] = {"rounds": 1, "architecture": [], "size": [], "ratio": [], "epochs": []}
    changes["labeling"] = {
        "allow_chance": True,
        "compile": False,
        "workers": 2,
        "num_processes": 1,
        "engine": "local",
    }
    changes["balancing"] = {"threshold": 0.0, "per_class": "largest"}
    changes["analysis"] = {"pictures": 12, "severities": [1], "epsilons": [4.0], "attacked": 4, "steps": 2}
    changes["analysis"] |= {
        "corruptions": ["contrast"],
        "perturbations": ["translate"],
        "sequences": 2,
        "sets": [],
    }
    cut = [
        f"{group}.{name}={yaml.safe_dump(value, default_flow_style=True).removesuffix('...' + chr(10)).strip()}"
        for group, values in changes.items()
        for name, value in values.items()
    ]
    # more threads than cores wait for each other
    return resolve(name_or_path, ("threads=1", *cut, *settings))


def _anywhere(name_or_path: str) -> tuple[str, ...]:
    """A place for the pictures of a profile that names none, so that it can be read at all."""
    _, content = read_profile(name_or_path)
    name = (content.get("data") or {}).get("name")
    return ("data.path=.",) if name == "folder" and not content["data"].get("path") else ()


def _tiny(profile: Profile, folder: Path) -> dict[str, Any]:
    from nsfast.images.tiny import WRITERS, write_tiny

    data = profile.groups["data"]
    if data["name"] == "letters":
        return {"labeled_per_class": 1, "unlabeled": 100, "validation": 62, "test": 62}
    if data["name"] not in WRITERS:
        return {}
    found = write_tiny(data["name"], folder)
    return found | ({"size": SIDE} if "size" in data else {})


def _few_steps(parameters: dict[str, Any], side: int) -> dict[str, Any]:
    changes = {"epochs": 1, "steps_per_epoch": 2, "batch": 4, "accumulate": 1, "num_processes": 1}
    changes |= {"engine": "local", "workers": min(1, parameters["workers"])}
    changes |= {"resolution": side and parameters["resolution"] and SIDE, "start": "scratch"}
    changes["precision"] = "float32"  # a CPU computes with bfloat16 many times slower
    changes["warmup_epochs"] = min(0.02, parameters["warmup_epochs"])
    if parameters["accumulate"] > 1:
        changes["accumulate"] = 2
    if parameters["finetune_epochs"]:
        changes |= {"finetune_epochs": 0.3, "finetune_resolution": FINETUNE_SIDE}
        changes["finetune_frozen"] = min(2, parameters["finetune_frozen"])
    if parameters["architecture"].startswith("efficientnet"):
        small = parameters["architecture"].endswith("-32px")
        changes["architecture"] = "efficientnet-b0-32px" if small else "efficientnet-b0"
    if "ratio" in parameters:
        changes |= {"ratio": min(3, parameters["ratio"]), "allow_smaller": True}
    return changes
