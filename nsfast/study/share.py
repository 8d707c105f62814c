"""What arms of a seed have in common is made once: equal pictures and stages of equal fingerprint are linked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from nsfast.errors import NsfastError
from nsfast.files import write_json
from nsfast.pipeline.profile import Profile
from nsfast.pipeline.run_folder import images_stand, verify_images, write_profile
from nsfast.pipeline.stages import Records, Stage


def share_images(run: Path, profile: Profile, others: Iterable[Path]) -> bool:
    """Link into a run the pictures that another run has prepared for the very same parameters; whether one had them.

    Args:
        run: whose pictures are wanted; ones that stand are left.
        profile: of that run.
        others: runs that may have them; one whose files are damaged is passed over.
    """
    if images_stand(run, profile):
        return False
    for other in others:
        if other == run or not images_stand(other, profile):
            continue
        try:
            verify_images(other)
        except NsfastError:
            continue
        write_profile(run, profile)
        folder = other / "images"
        for path in sorted(
            folder.iterdir(), key=lambda path: path.name == "made_from.json"
        ):  # which says it is whole
            if path.is_file() and not path.name.startswith("."):
                _place(path, run / "images" / path.name)
        return True
    return False


def share_stages(run: Path, stages: Sequence[Stage], others: Iterable[Path]) -> list[str]:
    """Link into a run the stages that other runs have finished from the very same inputs; return their names.

    A stage is the same where its fingerprint is: parameters, code, and the contents of all that it reads. A linked
    teacher makes the labeling's fingerprint known, and so on down the run.

    Args:
        run: whose pictures are prepared.
        stages: of the run that are wanted, each after those it needs.
        others: runs that may have them; one that is damaged is passed over.
    """
    records, known, shared = Records(run), [Records(other) for other in others if other != run], []
    for stage in stages:
        if records.stands(stage, stages):
            continue
        wanted = records.fingerprint(stage, stages)
        for other in known:
            try:
                entry = other.entry(stage)
                if entry is None or entry["fingerprint"] != wanted:
                    continue
                other.verify(stage)
                _link(other.run, run, stage, entry["outputs"])
            except (NsfastError, OSError):
                continue
            folder = run / stage.folder
            write_json(folder / "stage.json", {**records.entries(stage), stage.kind: entry})
            shared.append(stage.name)
            break
    return shared


def _link(source: Path, run: Path, stage: Stage, outputs: Iterable[str]) -> None:
    """Link every file that a stage left, the shards that its manifests name, and its notebook."""
    paths = set(outputs) | {f"{stage.folder}/{stage.notebook}"}
    for manifest in [path for path in paths if path.endswith("/manifest.json")]:
        folder = (source / manifest).parent
        paths |= {path.relative_to(source).as_posix() for path in folder.iterdir() if path.is_file()}
    for path in sorted(paths):
        if (source / path).is_file():
            _place(source / path, run / path)


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)
