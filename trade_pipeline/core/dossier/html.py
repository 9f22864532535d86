"""A dossier as one HTML file: no scripts, nothing from elsewhere, every text escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from trade_pipeline.core.dossier.page import Bars, Block, Note, Page, Picture, Table, printable

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #252b37; background: #f4f6f9; margin: 0; }
main { max-width: 66rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
header, section { background: #fff; border: 1px solid #dde2ea; border-radius: 8px;
  padding: 1rem 1.4rem 1.2rem; margin-bottom: 1.1rem; }
header { border-left: 8px solid #8a93a5; }
header.good { border-left-color: #2a9d8f; }
header.bad { border-left-color: #d1495b; }
h1 { font-size: 1.35rem; line-height: 1.35; margin: .2rem 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 .2rem; }
h3 { font-size: .95rem; margin: 1.3rem 0 .3rem; }
p { margin: .35rem 0; }
.intro, .small { color: #5b6474; }
.small { font-size: .85rem; overflow-wrap: anywhere; }
.warns { background: #fff6e0; border-left: 4px solid #d9a21b; padding: .4rem .7rem; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { text-align: left; vertical-align: top; padding: .28rem .7rem .28rem 0;
  border-bottom: 1px solid #e7ebf1; overflow-wrap: anywhere; }
th { color: #5b6474; font-weight: 600; overflow-wrap: normal; }
td.short { white-space: nowrap; }
tr.good td:last-child { color: #1c7a6f; }
tr.bad td:last-child { color: #b3303f; font-weight: 600; }
img { max-width: 100%; height: auto; display: block; margin: .6rem 0; }
summary { cursor: pointer; margin-top: 1.3rem; font-weight: 600; font-size: .95rem; }
nav a { margin-right: 1.1rem; color: #3a5a98; font-size: .88rem; }
"""
# Cells up to this length stay on one line.
_SHORT = 26


def html_of(page: Page) -> str:
    """The whole file; pictures are inside."""
    links = "".join(
        f'<a href="#s{n}">{_text(one.title)}</a>' for n, one in enumerate(page.sections)
    )
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        # Nothing of this page may load or run anything.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Trade {_text(page.uuid)}</title><style>{_STYLE}</style></head><body><main>",
        f'<header class="{page.tone}"><h1>{_text(page.verdict)}</h1>',
        f"<p>{_text(page.subtitle)}</p>",
        f'<p class="small">Trade {_text(page.uuid)}</p><nav>{links}</nav></header>',
    ]
    for number, section in enumerate(page.sections):
        parts.append(f'<section id="s{number}"><h2>{_text(section.title)}</h2>')
        parts.append(f'<p class="intro">{_text(section.intro)}</p>')
        parts += [_block(one) for one in section.blocks]
        parts.append("</section>")
    parts.append("</main></body></html>\n")
    return "\n".join(parts)


def _block(block: Block) -> str:
    if isinstance(block, Note):
        return f'<p class="warns">{_text(block.text)}</p>' if block.warns else (
            f"<p>{_text(block.text)}</p>"
        )  # fmt: skip
    if isinstance(block, Bars):
        told = ", ".join(f"{name} {value:+.3f}" for name, value in block.rows)
        return _image(block.draw(), f"{block.title}: {told}")
    if isinstance(block, Picture):
        return f"<h3>{_text(block.title)}</h3>{_image(block.draw(), block.instead)}"
    if block.folded:
        return f"<details><summary>{_text(block.title)}</summary>{_table(block)}</details>"
    title = f"<h3>{_text(block.title)}</h3>" if block.title else ""
    return title + _table(block)


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in table.head)
    marks: Sequence[str] = table.marks or [""] * len(table.rows)
    body = "".join(
        f'<tr class="{mark}">{"".join(_cell(value) for value in row)}</tr>'
        for row, mark in zip(table.rows, marks, strict=True)
    )
    return f"<table>{f'<tr>{head}</tr>' if any(table.head) else ''}{body}</table>"


def _cell(value: str) -> str:
    kind = ' class="short"' if len(value) <= _SHORT else ""
    return f"<td{kind}>{_text(value)}</td>"


def _image(png: bytes, told: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<img alt="{_text(told)}" src="data:image/png;base64,{data}">'


def _text(text: str) -> str:
    return escape(printable(text), quote=True)
