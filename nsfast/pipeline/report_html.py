"""Pieces of a report's HTML: one file, readable offline, in which every text from outside is escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 880px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.7em; margin-bottom: 0 } h2 { font-size: 1.25em; margin-top: 2.2em }
img { max-width: 100%; display: block } .note { color: #666; font-size: .92em } .scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .9em; margin: 1em 0 }
th { text-align: left; border-bottom: 2px solid #ccc }
th, td { padding: .3em .8em .3em 0; border-bottom: 1px solid #eee; font-variant-numeric: tabular-nums }
td { white-space: nowrap }
summary { cursor: pointer } .answer { font-size: 1.1em }
small { color: #666 } .robust { font-size: .74em } .robust td, .robust th { vertical-align: top; padding-right: .4em }
.robust td:first-child, .robust .paper { white-space: normal } .robust td:first-child { min-width: 7.5em }
.robust small { font-size: .82em } .paper { color: #666; max-width: 7em }
"""


def document(title: str, parts: Sequence[str]) -> str:
    """Return a whole page from its parts; empty ones are left out."""
    head = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
    ]
    return "\n".join([*head, *(part for part in parts if part), "</html>"])


def table_html(rows: list[dict]) -> str:
    """Return rows as an HTML table; every text is escaped."""
    head = "".join(f"<th>{escape(str(name))}</th>" for name in rows[0])
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(v))}</td>' for v in row.values())}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def figure_html(path: Path) -> str:
    """Return a PNG file as an embedded image; empty where there is none."""
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(path.stem.replace("_", " "))}" src="data:image/png;base64,{data}">'


def section_html(title: str, figure: Path, text: str = "", after: str = "") -> str:
    """Return a section of a page; empty where its figure does not exist.

    Args:
        title: plain text. text, after: HTML, above and below the figure.
    """
    image = figure_html(figure)
    return f"<h2>{escape(title)}</h2>{f'<p>{text}</p>' if text else ''}{image}{after}" if image else ""
