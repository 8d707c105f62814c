"""One of the processes that label together: python -m nsfast.pipeline.label_process JOB.json."""

from __future__ import annotations

import os
import sys
import warnings

from nsfast.errors import NsfastError
from nsfast.files import read_json


def main() -> int:
    """Label until every shard is done by someone; what is wrong is a line on standard error."""
    from nsfast.pipeline.execute import follow_parent
    from nsfast.pipeline.labeling import LabelingJob
    from nsfast.pipeline.train_process import follow_input

    follow_parent(os.getppid())
    follow_input()
    warnings.filterwarnings(
        "ignore", "`torch.jit.script` is deprecated", FutureWarning
    )  # fastai's, at import
    job = LabelingJob.from_json(read_json(sys.argv[1]))
    rank, processes = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    try:
        job.label(rank, processes)
    except NsfastError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
