"""The dossier of one trade, in the terminal, as JSON or as an HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from trade_pipeline.cli.console import err, out, print_json
from trade_pipeline.cli.inputs import Json, Mentions, read_settings
from trade_pipeline.core.errors import BadConfig

if TYPE_CHECKING:
    from trade_pipeline.core.dossier.page import Bars, Block, Page, Table

_BAR = 30
_COLOURS = {"good": "green", "bad": "red", "": ""}


def trace(
    uuid: Annotated[str, typer.Argument(help="A trade's UUID.")],
    html: Annotated[
        Path | None, typer.Option(help="File to write, with pictures of the market.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the recording that the session ran on.")
    ] = None,
    mentions: Mentions = None,
    as_json: Json = False,
) -> None:
    """Everything about one trade: known, decided, done, what came of it, where it went.

    Live sessions and simulated markets need no --data for the pictures.
    """
    from trade_pipeline.core.dossier.document import document_of
    from trade_pipeline.core.dossier.gather import gather
    from trade_pipeline.core.dossier.html import html_of
    from trade_pipeline.core.dossier.market import around
    from trade_pipeline.core.dossier.sections import page_of
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.core.tracking import uuid_of

    key = uuid_of(uuid)
    with Store.open(read_settings()) as store, store.database.connect("trade_reader") as connection:
        dossier = gather(connection, store.artifacts, key)
        if html is not None or data is not None:
            dossier = around(dossier, connection, store.artifacts, data=data, mentions=mentions)
    page = page_of(dossier)
    if html is not None:
        try:
            html.write_text(html_of(page), encoding="utf-8")
        except OSError as error:
            raise BadConfig(f"html={str(html)!r}: {error.strerror}") from error
        err.print(f"wrote {html}", markup=False, soft_wrap=True)
    if as_json:
        print_json(document_of(dossier))
    elif html is None:
        _print(page)


def _print(page: Page) -> None:
    from trade_pipeline.core.dossier.page import printable

    out.print(Text(printable(page.verdict), style=f"bold {_COLOURS[page.tone]}".strip()))
    out.print(Text(printable(page.subtitle)))
    for section in page.sections:
        out.print()
        out.rule(f"[bold]{escape(section.title)}", align="left")
        out.print(Text(section.intro, style="dim"))
        for block in section.blocks:
            _print_block(block)


def _print_block(block: Block) -> None:
    from trade_pipeline.core.dossier.page import Bars, Note, Table, printable

    if isinstance(block, Note):
        out.print(Text(printable(block.text), style="yellow" if block.warns else ""))
    elif isinstance(block, Bars):
        _print_bars(block)
    elif isinstance(block, Table) and not block.folded:
        _print_table(block)


def _print_table(table: Table) -> None:
    from trade_pipeline.core.dossier.page import printable

    shown = RichTable(
        title=Text(table.title) if table.title else None,
        title_justify="left", title_style="bold", show_header=any(table.head),
    )  # fmt: skip
    for name in table.head:
        # An address that is cut is no address.
        shown.add_column(Text(name), overflow="fold")
    marks = table.marks or [""] * len(table.rows)
    for row, mark in zip(table.rows, marks, strict=True):
        cells = [Text(printable(cell)) for cell in row]
        cells[-1].stylize(_COLOURS[mark])
        shown.add_row(*cells)
    out.print(shown)


def _print_bars(bars: Bars) -> None:
    shown = RichTable(title=Text(bars.title), title_justify="left", title_style="bold")
    for name in ("feature", bars.unit, ""):
        shown.add_column(Text(name))
    most = max((abs(value) for _, value in bars.rows), default=1.0) or 1.0
    for name, value in bars.rows:
        length = round(_BAR * abs(value) / most)
        style = "green" if value >= 0 else "red"
        shown.add_row(Text(name), Text(f"{value:+.3f}"), Text("\u2588" * length, style=style))
    out.print(shown)
