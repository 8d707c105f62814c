"""From a profile to a run folder: stages, runner, report. Notebooks call `begin`."""

from nsfast.pipeline.begin import begin
from nsfast.pipeline.session import Session

__all__ = ["Session", "begin"]
