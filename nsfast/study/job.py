"""Arms of a study, one after the other, a line of JSON on standard input each: python -m nsfast.study.job PARENT."""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from nsfast.errors import NsfastError
from nsfast.files import read_json, write_json
from nsfast.pipeline.execute_here import execute_here
from nsfast.pipeline.profile import Profile, resolve
from nsfast.pipeline.run_folder import images_stand
from nsfast.pipeline.runner import chosen_stages, run_profile
from nsfast.pipeline.stages import Records
from nsfast.study.score import score, score_key, scores_file
from nsfast.study.share import share_images, share_stages


def run_arm(
    run: Path, profile: Profile, last: Sequence[str], points: Sequence[tuple[str, str]]
) -> list[dict]:
    """Run an arm up to the stages that are needed, share what another arm has finished, and return the scores.

    Args:
        run: its folder, STUDIES/STUDY/SEED/ARM; arms of the same seed of this and of other studies are looked through.
        profile: its parameters.
        last: the stages up to which it runs.
        points: models and measures.
    """
    others = sorted(path.parent for path in run.parents[2].glob(f"*/{run.parent.name}/*/profile.yaml"))
    share_images(run, profile, others)
    run_profile(run, profile, until="images")
    for name in last:
        share_stages(run, chosen_stages(profile, name), others)
        run_profile(run, profile, until=name, executor=execute_here)
    return score(run, profile, points)


def standing_scores(
    run: Path, profile: Profile, last: Sequence[str], points: Sequence[tuple[str, str]]
) -> list[dict] | None:
    """Return the scores of an arm that is finished and whose stages stand, else None."""
    path = scores_file(run)
    if not path.is_file():
        return None
    try:
        if not images_stand(run, profile):
            return None
        records, kept = Records(run), read_json(path)
        stages = [stage for name in last for stage in chosen_stages(profile, name)]
        if all(records.stands(stage, stages) for stage in stages) and kept["key"] == score_key(run, points):
            return kept["rows"]
    except (NsfastError, OSError, KeyError, TypeError):
        return None
    return None


def main() -> int:
    """Run the jobs of `nsfast.study.workers`; what stopped one is written to its answer."""
    from nsfast.pipeline.execute import follow_parent

    follow_parent(int(sys.argv[1]))
    import matplotlib.pyplot as plt
    import torch

    with os.fdopen(os.dup(0), encoding="utf-8") as jobs, open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)  # what an arm starts must not read the next job
        for line in jobs:
            job, error = json.loads(line), None
            _print_to(job["log"])
            torch.set_num_threads(job["threads"])
            try:
                profile = resolve(job["profile"], tuple(job["settings"]), job["seed"])
                run_arm(Path(job["run"]), profile, job["last"], [tuple(point) for point in job["points"]])
            except Exception as caught:
                error = caught
            said, known = "", error is None or isinstance(error, NsfastError)
            if error is not None:
                said = (known and str(error)) or f"{type(error).__name__}: {error}"
                traceback.print_exception(error)
            error = None  # it holds on to what the arm had in memory
            plt.close("all")
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            _flush()
            # after an error that nobody foresaw, nobody knows what it left behind
            write_json(job["answer"], {"error": said, "spent": not known})
    return 0


def _print_to(log: str) -> None:
    """Have this process, and what it starts, print to the end of a file."""
    _flush()
    with open(log, "ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
