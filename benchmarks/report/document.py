"""A page of headings, paragraphs, tables and pictures, as Markdown and as HTML."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
       color: #1d2430; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #d5dae1; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e6e9ee;
         vertical-align: top; }
th { background: #f3f5f8; } td:nth-child(2) { white-space: nowrap; font-weight: 600; }
img { max-width: 100%; } .kept { color: #12733a; } .not { color: #b3261e; font-weight: 600; }
"""


@dataclass(frozen=True, slots=True)
class Heading:
    """The title (level 1) or a section's."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell that says whether something holds; None: a cell like any other."""

    text: str
    holds: bool | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A head and rows of cells as many."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG, the name of its file, and what it shows."""

    name: str
    svg: bytes
    caption: str


Block = Heading | Paragraph | Table | Picture


def markdown(blocks: Sequence[Block]) -> str:
    """For GitHub; pictures are files in the folder ``pictures`` beside it."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_plain(block.text)}"
    if isinstance(block, Paragraph):
        return _plain(block.text)
    if isinstance(block, Picture):
        return f"![{_plain(block.caption)}](pictures/{block.name}.svg)"
    rows = [block.head, ["---"] * len(block.head)]
    rows += [[_bold(cell) for cell in row] for row in block.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _bold(cell: Cell) -> str:
    text = _plain(cell.text)
    return f"**{text}**" if cell.holds is False and text else text


def _plain(text: str) -> str:
    """The text with nothing that Markdown or the HTML within it would take for its own."""
    for sign in "\\`*_{}[]|#":
        text = text.replace(sign, f"\\{sign}")
    return html.escape(text, quote=False).replace("\n", " ")


def page(title: str, blocks: Sequence[Block]) -> str:
    """One HTML file that needs no other."""
    body = "\n".join(_html(block) for block in blocks)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f"<p>{html.escape(block.text)}</p>"
    if isinstance(block, Picture):
        data = base64.b64encode(block.svg).decode()
        caption = html.escape(block.caption)
        return (
            f'<figure><img alt="{caption}" src="data:image/svg+xml;base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    head = "".join(f"<th>{html.escape(name)}</th>" for name in block.head)
    rows = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in block.rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>"


def _cell(cell: Cell) -> str:
    kind = {None: "", True: ' class="kept"', False: ' class="not"'}[cell.holds]
    return f"<td{kind}>{html.escape(cell.text)}</td>"
