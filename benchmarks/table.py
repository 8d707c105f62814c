"""The table of results: as lines in the terminal, and as one section of RESULTS.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from textwrap import fill

from timing import Result

from nsfast.files import atomic

RESULTS = Path(__file__).with_name("RESULTS.md")
PACKAGES = ("torch", "torchvision", "fastai", "timm", "pillow")


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _gate(result: Result) -> str:
    if result.at_least is not None:
        return f">= {result.at_least:g}"
    return "" if result.at_most is None else f"<= {result.at_most:g}"


def cells(result: Result) -> list[str]:
    """Return a line of the table: name, median, smallest to largest, gate, verdict."""
    median, low, high = map(_number, (result.value, min(result.rounds), max(result.rounds)))
    return [result.name, f"{median} {result.unit}", f"{low} to {high}", _gate(result), result.verdict]


def show(results: Sequence[Result]) -> int:
    """Print the lines; return the exit code, 1 if one is short of its gate."""
    for result in results:
        name, value, span, gate, verdict = cells(result)
        print(f"{name:58} {value:>9}  {span:>16}  {gate:>8}  {verdict}".rstrip(), flush=True)
    return int(any(result.verdict == "short" for result in results))


def machine() -> str:
    """Name processor, cores and versions; nothing that tells whose machine it is."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    processor = found[1].strip() if found else platform.machine()
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{processor}, {os.cpu_count()} cores; Python {platform.python_version()}, {packages}"


PROTOCOL = (
    "All sides take turns in one process; the median of the rounds after a warm-up, and the smallest and largest of "
    "them. The docstring of each script says what the sides are. A line without a gate only informs."
)


def section(results: Sequence[Result], command: str, words: str) -> str:
    """Return the body of a section: command, date, machine, what was measured and how, and the table.

    Args:
        words: what kind of time it is, as a sentence.
    """
    head = ["measured", "median", "rounds", "gate", ""]
    rows = [f"| {' | '.join(map(str.strip, row))} |" for row in (head, *map(cells, results))]
    rows.insert(1, "|---|---|---|---|---|")
    intro = f"`{command}`, {date.today().isoformat()}. {machine()}. {words} {PROTOCOL}"
    return "\n".join([fill(intro, 120, break_on_hyphens=False), "", *rows])


def replaced(text: str, heading: str, body: str, last: bool = False) -> str:
    """Return `text` with the section of that heading replaced, or added where there is none; the rest stays.

    Args:
        text: Markdown.
        heading: of the section, with its "## "; the section ends where the next one of that level begins.
        body: what comes below the heading.
        last: whether a section that is new comes after all others, not before them.
    """
    whole = f"{heading}\n\n{body}\n"
    starts = [match.start() for match in re.finditer(r"^## ", text, re.MULTILINE)] + [len(text)]
    for start, end in zip(starts, starts[1:], strict=False):
        if text[start:end].split("\n", 1)[0].rstrip() == heading:
            return text[:start] + whole + ("\n" if end < len(text) else "") + text[end:]
    place = len(text) if last else starts[0]
    before = text[:place]
    gap = "" if not before or before.endswith("\n\n") else "\n" if before.endswith("\n") else "\n\n"
    return before + gap + whole + ("\n" if place < len(text) else "") + text[place:]


def write(
    results: Sequence[Result],
    heading: str,
    command: str,
    words: str,
    path: Path = RESULTS,
    last: bool = False,
) -> None:
    """Put the table into its section of RESULTS.md; arguments as of `section` and `replaced`."""
    old = path.read_bytes().decode()
    new = replaced(old, heading, section(results, command, words), last)
    with atomic(path) as temporary:
        temporary.write_bytes(new.encode())
