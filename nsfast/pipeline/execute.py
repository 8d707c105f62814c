"""Executes one notebook with papermill, in a process of its own: python -m nsfast.pipeline.execute JOB.json."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path


def follow_parent(parent: int) -> None:
    """End this process when the one that started it has ended, so that a killed run leaves nothing behind."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Execute the job: notebook, output, parameters. The error, if any, is written into the job's `error` file."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    follow_parent(job["parent"])
    import warnings

    warnings.filterwarnings("ignore", message="Kernel is running over TCP without encryption")
    from papermill import PapermillExecutionError, execute_notebook

    output = Path(job["output"])
    working = output.with_name(f".{output.name}")
    os.chdir(job["cwd"])
    try:
        execute_notebook(
            job["notebook"],
            str(working),
            parameters=job["parameters"],
            kernel_name="python3",
            progress_bar=False,
            store_widget_state=False,
        )
    except PapermillExecutionError as error:
        failed = output.with_suffix(".failed.ipynb")
        os.replace(working, failed)
        what = {"name": error.ename, "message": error.evalue, "notebook": str(failed)}
        Path(job["error"]).write_text(json.dumps(what), encoding="utf-8")
        return 1
    os.replace(working, output)
    output.with_suffix(".failed.ipynb").unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
