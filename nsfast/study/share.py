"""What arms of a seed have in common is trained once: a finished stage with the same fingerprint is linked, not run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from nsfast.errors import NsfastError
from nsfast.files import write_json
from nsfast.pipeline.stages import Records, Stage


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
        if not (source / path).is_file():
            continue
        target = run / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source / path, target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(source / path, target)
