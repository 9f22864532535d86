"""A dossier as Markdown, for the UI; every text is escaped."""

from __future__ import annotations

import base64
import re

from trade_pipeline.core.dossier.page import (
    Bars,
    Block,
    Note,
    Page,
    Picture,
    Section,
    Table,
    printable,
)

# What Markdown reads as its own, and what HTML inside of it would be.
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")


def markdown_of(page: Page) -> dict[str, str]:
    """The page in parts by name, in order; what is folded is a part of its own, at the end."""
    parts = {one.title: _section(page, one) for one in page.sections}
    folded = [
        block for one in page.sections for block in one.blocks
        if isinstance(block, Table) and block.folded
    ]  # fmt: skip
    return parts | {table.title: _table(table) for table in folded}


def _section(page: Page, section: Section) -> str:
    head = f"**{_text(page.verdict)}**\n\n## {_text(section.title)}\n\n_{_text(section.intro)}_"
    shown = [one for one in section.blocks if not (isinstance(one, Table) and one.folded)]
    return "\n\n".join([head, *(_block(one) for one in shown)])


def _block(block: Block) -> str:
    if isinstance(block, Note):
        return f"> **Note:** {_text(block.text)}" if block.warns else _text(block.text)
    if isinstance(block, Bars):
        return _image(block.title, block.draw())
    if isinstance(block, Picture):
        return f"### {_text(block.title)}\n\n{_image(block.instead, block.draw())}"
    title = f"### {_text(block.title)}\n\n" if block.title else ""
    return title + _table(block)


def _table(table: Table) -> str:
    head = [_text(name) or " " for name in table.head]
    lines = [head, ["---"] * len(head), *([_text(cell) for cell in row] for row in table.rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _image(told: str, png: bytes) -> str:
    return f"![{_text(told)}](data:image/png;base64,{base64.b64encode(png).decode()})"


def _text(text: str) -> str:
    plain = printable(text).replace("\n", " ")
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", plain)
