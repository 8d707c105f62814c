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
from nsfast.files import checksum, fingerprint, read_json, write_json, write_text
from nsfast.images import ImageSet, load_images, save_images
from nsfast.images.readers import READERS, listing
from nsfast.pipeline.profile import Profile, resolve


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
    found = FileLock(path, is_singleton=True)  # a cell may be run twice in one kernel
    try:
        found.acquire(timeout=wait)
    except Timeout:
        raise NsfastError(busy) from None
    return found


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of a process that was killed while it wrote into `folder`.

    Not those of label tables, on which other processes may be at work: labeling does that itself.
    """
    for leftover in folder.rglob(".*.tmp"):
        if leftover.parent == folder or leftover.parent.name not in ("labels", "validation"):
            leftover.unlink(missing_ok=True)


def _made_from(profile: Profile) -> str:
    """Fingerprint of what the image set is made from: parameters, seed, and the files of a folder."""
    data = profile.groups["data"]
    identity: dict[str, Any] = {"data": data, "seed": profile.seed, "version": nsfast.__version__}
    if files := listing(data["name"], data):
        identity["files"] = files
    return fingerprint(identity)


def _prepared(run: Path) -> dict:
    """What `made_from.json` of the prepared pictures says; empty where there are none."""
    path = run / "images" / "made_from.json"
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict) or (content and not isinstance(content.get("files"), dict)):
        raise NsfastError(f"{path} is damaged; delete {path.parent} to have it made again")
    return content


def images_stand(run: Path, profile: Profile) -> bool:
    """Whether the prepared pictures are of this profile and of the files that are there now."""
    prepared, data = _prepared(run), profile.groups["data"]
    same = prepared.get("data") == data and prepared.get("seed") == profile.seed
    gone = "path" in data and not Path(data["path"]).is_dir()
    if same and gone and not any((run / "images").glob("*.parquet")):
        print(f"{data['path']} is gone; going on with the pictures that were prepared from it")
        return True
    return same and prepared.get("made_from") == _made_from(profile)


def verify_images(run: Path) -> None:
    """Raise `NsfastError` when a prepared file is not what was written."""
    for name, expected in _prepared(run).get("files", {}).items():
        path = run / "images" / name
        if not path.is_file() or checksum(path) != expected:
            raise NsfastError(f"{path} is damaged or missing; delete {path.parent} to have it made again")


def prepare_images(run: Path, profile: Profile) -> ImageSet:
    """Return the run's image set, made anew only when what it is made from has changed.

    It lies in `images/` of the run; pictures that could not be read are in `images/left_out.csv`.
    """
    folder, data = run / "images", profile.groups["data"]
    held = lock(folder / ".lock", 600, f"{folder} is being prepared by another process; wait for it to end")
    try:
        if images_stand(run, profile):
            return load_images(folder)
        remove_leftovers(folder)
        made_from = _made_from(profile)
        arguments = {name: value for name, value in data.items() if name != "name"}
        images = READERS[data["name"]](**arguments, seed=profile.seed)
        (folder / "made_from.json").unlink(missing_ok=True)
        save_images(images, folder)
        files = {p.name: checksum(p) for p in sorted(folder.iterdir()) if p.is_file() and p.name[0] != "."}
        about = {"made_from": made_from, "data": data, "seed": profile.seed, "files": files}
        write_json(folder / "made_from.json", about)
        for note in images.notes:
            print(note)
        if images.left_out:
            print(f"{len(images.left_out)} file(s) left out, with the reason, in {folder / 'left_out.csv'}")
        return load_images(folder)
    finally:
        held.release(force=True)


def log(run: Path, stage: str, outcome: str, **facts: Any) -> None:
    """Append one line to `log.jsonl`: when, which stage, what came of it."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    line = {"when": now, "stage": stage, "outcome": outcome, "nsfast": nsfast.__version__}
    line |= {"python": platform.python_version(), **facts}
    with open(run / "log.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
