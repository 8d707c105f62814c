"""The run folder: its profile, its prepared pictures, its log and its locks."""

from __future__ import annotations

import datetime
import json
import platform
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import nsfast
from nsfast.errors import NsfastError
from nsfast.files import fingerprint, read_json, write_json, write_text
from nsfast.images import ImageSet, load_images, save_images
from nsfast.pipeline.profile import Profile, readers, resolve


def find_run(run: str | Path) -> Path:
    """Return a run folder's path; from inside the notebooks' folder a relative one is beside that folder."""
    path = Path(run)
    if not path.is_absolute() and not path.exists() and Path("01_teacher.ipynb").is_file():
        path = Path("..") / path
    return path.resolve()


def check_run(run: Path, profile: Profile) -> None:
    """Raise `NsfastError` when the folder holds a run of another profile, or files that are no run."""
    path = run / "profile.yaml"
    if path.is_file():
        made_by = str(_read(path).get("profile"))
        if made_by != profile.name:
            raise NsfastError(
                f"{run} was made by profile {made_by!r}, not {profile.name!r}; give another folder with --run"
            )
    elif run.exists() and (not run.is_dir() or any(p for p in run.iterdir() if not p.name.startswith("."))):
        raise NsfastError(
            f"{run} exists but is no run folder (profile.yaml is missing); give another folder with --run"
        )


def write_profile(run: Path, profile: Profile) -> None:
    """Write `profile.yaml` of a run, if it says something else than before; see `check_run` for what is refused."""
    import yaml

    check_run(run, profile)
    path = run / "profile.yaml"
    text = yaml.safe_dump(
        profile.to_dict(), sort_keys=False, allow_unicode=True, default_flow_style=None, width=110
    )
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        content = None
    if not isinstance(content, dict):
        raise NsfastError(
            f"{path} is damaged (no YAML mapping); restore it, or give another folder with --run"
        )
    return content


def read_run(run: Path) -> Profile:
    """Return the profile of an existing run, checked like any other.

    Raises:
        NsfastError: no run there, or a damaged profile.
    """
    path = run / "profile.yaml"
    if not path.is_file():
        raise NsfastError(
            f"no run in {run} (profile.yaml is missing); start one with: nsfast run digits --run {run}"
        )
    _read(path)
    return resolve(str(path))


def lock(path: Path, wait: float, busy: str) -> FileLock:
    """Return a lock, held until `release()` or the end of the process; raise `NsfastError(busy)` after `wait` s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = FileLock(path)
    try:
        found.acquire(timeout=wait)
    except Timeout:
        raise NsfastError(busy) from None
    return found


def prepare_images(run: Path, profile: Profile) -> ImageSet:
    """Return the run's image set, made anew only when what it is made from has changed.

    It lies in `images/` of the run; pictures that could not be read are in `images/left_out.csv`.
    """
    folder, data = run / "images", profile.groups["data"]
    arguments = {name: value for name, value in data.items() if name != "name"}
    identity: dict[str, Any] = {"data": data, "seed": profile.seed, "version": nsfast.__version__}
    if data["name"] == "folder":
        from nsfast.images.folder import list_folder

        identity["files"] = list_folder(arguments["path"])
    made_from = fingerprint(identity)
    with lock(folder / ".lock", 600, f"{folder} is being prepared by another process; wait for it to end"):
        if (folder / "made_from.json").is_file() and read_json(folder / "made_from.json") == made_from:
            return load_images(folder)
        images = readers()[data["name"]](**arguments, seed=profile.seed)
        (folder / "made_from.json").unlink(missing_ok=True)
        save_images(images, folder)
        write_json(folder / "made_from.json", made_from)
    for note in images.notes:
        print(note)
    if images.left_out:
        print(f"{len(images.left_out)} file(s) left out, with the reason, in {folder / 'left_out.csv'}")
    return load_images(folder)


def log(run: Path, stage: str, outcome: str, **facts: Any) -> None:
    """Append one line to `log.jsonl`: when, which stage, what came of it."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    line = {"when": now, "stage": stage, "outcome": outcome, "nsfast": nsfast.__version__}
    line |= {"python": platform.python_version(), **facts}
    with open(run / "log.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
