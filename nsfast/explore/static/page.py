"""The explorer as a page of HTML that needs neither a kernel nor a network, and as a part of a notebook."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from nsfast.analysis.figures.page import WIDTH
from nsfast.explore.core.labels import PseudoLabels
from nsfast.explore.core.preview import ThresholdPreview
from nsfast.explore.core.selection import Selection
from nsfast.explore.static.figure import SmallFigure
from nsfast.explore.static.panels import Panel, panels_of
from nsfast.explore.static.report import answer, counted, question
from nsfast.explore.static.sheet import Sheet, captions, sheet_of
from nsfast.explore.static.summary import classes_html

if TYPE_CHECKING:
    from nsfast.labels.decisions import Decisions, Verdict
    from nsfast.labels.quality.estimate import Validation

DECISIONS = 100
"""Decisions that are listed, the first."""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may do with the page: show it."""

STYLE = """
.nsf-report { max-width: 880px; font: 15px/1.5 system-ui, sans-serif; color: var(--jp-ui-font-color1, inherit) }
.nsf-report h2 { font-size: 1.3em; font-weight: bold; margin: .6em 0 .2em }
.nsf-report h3 { font-size: 1.05em; font-weight: bold; margin: 1.4em 0 .2em }
.nsf-report p { margin: .2em 0 .6em } .nsf-report code { overflow-wrap: anywhere }
.nsf-report .nsf-half { display: inline-block; vertical-align: top; width: 425px; max-width: 100% }
.nsf-report .nsf-half p { min-height: 3em }
.nsf-report img { max-width: 100%; height: auto; background: white; vertical-align: top }
.nsf-report .nsf-scroll { overflow-x: auto }
.nsf-report table { border-collapse: collapse; font-size: .88em; margin: .4em 0 }
.nsf-report th, .nsf-report td { padding: 1px 8px; border-bottom: 1px solid #8884 }
.nsf-report .nsf-decisions th, .nsf-report .nsf-decisions td { text-align: left }
.nsf-report .nsf-tiles { display: flex; flex-wrap: wrap; gap: 10px 8px }
.nsf-report .nsf-item { width: 102px; font-size: .8em; line-height: 1.3; overflow-wrap: anywhere }
.nsf-report .nsf-tile { box-sizing: border-box; display: flex; width: 102px; height: 102px; border: 3px solid #8886;
  align-items: center; justify-content: center; background: #c8c8c8; color: #222 }
.nsf-report .nsf-wrong { border-color: #D55E00 } .nsf-report .nsf-accept { border: 3px double #009E73 }
.nsf-report .nsf-reject { border: 3px dotted #D55E00 } .nsf-report .nsf-relabel { border: 3px dashed #CC79A7 }
"""

PAGE_STYLE = """
body { margin: 1.5em auto; max-width: 880px; padding: 0 1em; color: CanvasText; background: Canvas }
"""


def report_html(
    labels: PseudoLabels,
    preview: ThresholdPreview,
    threshold: float,
    selection: Selection,
    decisions: Decisions | None = None,
    validation: Validation | None = None,
    against: str | None = None,
    title: str = "",
) -> str:
    """Return what the explorer shows as one page of HTML: no script, and nothing that is fetched.

    Args:
        labels, preview, threshold, selection, decisions, validation, against: as for `report_figure`.
        title: what is explored, in a few words.
    """
    body = report_fragment(labels, preview, threshold, selection, decisions, validation, against)
    name = escape(title or "Pseudo-labels")
    head = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        "<meta name='color-scheme' content='light dark'>",
        f"<title>nsfast: {name}</title><style>{PAGE_STYLE}</style></head>",
        f"<body><h1>{name}</h1>",
    ]
    return "\n".join([*head, body, "</body></html>\n"])


def report_fragment(
    labels: PseudoLabels,
    preview: ThresholdPreview,
    threshold: float,
    selection: Selection,
    decisions: Decisions | None = None,
    validation: Validation | None = None,
    against: str | None = None,
    picture: bytes | None = None,
) -> str:
    """Return the same as a part of a page, such as the output of a notebook's cell.

    Args:
        labels, preview, threshold, selection, decisions, validation, against: as for `report_figure`.
        picture: what `report_figure` gives (PNG) where it is there already; it takes the place of figures and tiles,
            which take a second to be drawn anew.
    """
    heading = f"<h2>{escape(question(threshold))}</h2><p>{escape(answer(preview, threshold, decisions))}</p>"
    if picture is None:
        figures = [
            *map(_panel, panels_of(labels, preview, threshold, validation, against)),
            _sheet(sheet_of(selection, decisions)),
        ]
    else:
        heading, figures = _image("png", picture, answer(preview, threshold, decisions)), []
    parts = [
        heading,
        f'<div class="nsf-scroll">{classes_html(preview.at(threshold))}</div>',
        *figures,
        _decisions(decisions) if decisions is not None else "",
    ]
    kind = "nsf-report tex2jax_ignore mathjax_ignore"  # a name may hold two $
    return f'<div class="{kind}"><style>{STYLE}</style>\n' + "\n".join(filter(None, parts)) + "</div>"


def _panel(panel: Panel) -> str:
    width = WIDTH if panel.wide else WIDTH / 2
    figure = SmallFigure(panel.height, width, dpi=150)
    panel.draw(figure)
    image = _image("png", figure.png(), f"{panel.title}: {panel.answer}", f' width="{100 * width:.0f}"')
    kind = f"nsf-panel nsf-{panel.name}" + ("" if panel.wide else " nsf-half")
    return f'<section class="{kind}"><h3>{escape(panel.title)}</h3><p>{escape(panel.answer)}</p>{image}</section>'


def _sheet(sheet: Sheet) -> str:
    tiles = "".join(_tile(sheet, place) for place in range(len(sheet.items)))
    note = f": {escape(sheet.note)}" if sheet.note else ""
    return (
        f'<section class="nsf-pictures"><h3>{escape(sheet.title)}</h3><p><code>{escape(sheet.selection)}</code>{note}'
        f'</p><div class="nsf-tiles" role="list">{tiles}</div></section>'
    )


def _tile(sheet: Sheet, place: int) -> str:
    """A picture with what is known of it below, as text."""
    item = sheet.items[place]
    image = "missing"
    if not item["problem"]:
        image = _image(*_smallest(sheet.tiles[place]), f"picture {item['name']}")
    marks = f" nsf-{item['decision']}" if item["decision"] else " nsf-wrong" if item["right"] is False else ""
    lines = [
        f"<div>{f'<b>{escape(text)}</b>' if kind in ('class', 'decision') else escape(text)}</div>"
        for kind, text in captions(item, None)
    ]
    if item["second"] is not None:
        lines.insert(2, f"<div>or {escape(item['second'])}</div>")
    lines.append(f"<div><small>{escape(item['name'])}</small></div>")
    if item["problem"] != sheet.note:
        lines.append(f"<div><small>{escape(item['problem'])}</small></div>")
    lines.insert(0, f'<div class="nsf-tile{marks}">{image}</div>')
    return f'<div class="nsf-item" role="listitem">{"".join(lines)}</div>'


def _decisions(decisions: Decisions) -> str:
    if not len(decisions):
        return '<section class="nsf-decisions"><h3>Decisions</h3><p>None yet.</p></section>'
    heads = ("picture", "was", "decision", "who", "when", "why")
    rows = [_row("th", heads)]
    shown = list(decisions.verdicts.items())[:DECISIONS]
    for name, verdict in shown:
        differing = [_said(one) for one in decisions.conflicts.get(name, ())]
        what = _said(verdict, who=False) + (f" (people differ: {', '.join(differing)})" if differing else "")
        rows.append(_row("td", (name, verdict.was, what, verdict.who, verdict.ts, verdict.why)))
    more = len(decisions.verdicts) - len(shown)
    rest = f"<p>and {more:,} more</p>" if more else ""
    return (
        f'<section class="nsf-decisions"><h3>Decisions</h3><p>{escape(counted(decisions))}</p>'
        f'<div class="nsf-scroll"><table>{"".join(rows)}</table></div>{rest}</section>'
    )


def _said(verdict: Verdict, who: bool = True) -> str:
    what = f"relabel to {verdict.to}" if verdict.action == "relabel" else verdict.action
    return f"{verdict.who} says {what}" if who else what


def _row(tag: str, cells: Iterable[object]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(str(cell or ''))}</{tag}>" for cell in cells) + "</tr>"


def _image(kind: str, data: bytes, alt: str, size: str = "") -> str:
    return f'<img alt="{escape(alt)}"{size} src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def _smallest(tile: np.ndarray) -> tuple[str, bytes]:
    """A picture as PNG, or as JPEG where that is smaller, as it is for photographs."""
    written = []
    for kind in ("png", "jpeg"):
        buffer = io.BytesIO()
        Image.fromarray(tile).save(buffer, kind, optimize=True, quality=85)
        written.append((kind, buffer.getvalue()))
    return min(written, key=lambda one: len(one[1]))
