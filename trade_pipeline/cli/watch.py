"""How everything stands: once, as a document, or on the screen as it changes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from trade_pipeline.cli.console import out, print_json, text_of
from trade_pipeline.cli.inputs import Json, read_settings
from trade_pipeline.core.live.standing import standing
from trade_pipeline.core.store.database import loss_reported
from trade_pipeline.core.store.store import Store

Account = Annotated[str | None, typer.Option(help="Name of the only account to show.")]
_EACH_SECONDS = 1.0
# A holder beats five times in the time of its lease, which is ten seconds by default.
_LATE_SECONDS = 5.0


def status(account: Account = None, as_json: Json = False) -> None:
    """How accounts, positions, models, halts and incidents stand."""
    with Store.open(read_settings()) as store, store.database.connect("trade_reader") as connection:
        facts = _read(connection, account)
    if as_json:
        print_json(facts)
    else:
        out.print(frame(facts))


def watch(
    account: Account = None,
    once: Annotated[bool, typer.Option(help="Show one frame and end.")] = False,
) -> None:
    """Watch positions, results, decisions and health, each second; Ctrl-C ends it."""
    with (
        Store.open(read_settings()) as store,
        store.database.connect("trade_reader", autocommit=True) as connection,
    ):
        first = frame(_read(connection, account))
        if once:
            out.print(first)
            return
        try:
            with loss_reported(), Live(first, console=out, screen=True, auto_refresh=False) as live:
                while True:
                    time.sleep(_EACH_SECONDS)
                    live.update(frame(_read(connection, account)), refresh=True)
        except KeyboardInterrupt:
            return


def frame(facts: Mapping[str, Any]) -> RenderableType:
    """One picture of `standing`."""
    parts: list[RenderableType] = [_account(one) for one in facts["accounts"]]
    if facts["refuses_writes"]:
        stopped = "entries are stopped, exits go on"
        parts.insert(0, Text(f"{facts['refuses_writes']}: {stopped}", "bold red"))
    if not parts:
        parts.append(Text("no account is traded; see `trade-pipeline live start`"))
    if facts["incidents"]:
        parts.append(_table("Incidents", facts["incidents"]))
    if facts["models"]:
        parts.append(_table("Models", facts["models"]))
    if facts["halts"]:
        parts.append(_table("Newest halts", facts["halts"]))
    return Group(*parts)


def _read(connection: psycopg.Connection, account: str | None) -> dict[str, Any]:
    return standing(connection, datetime.now(UTC), account)


def _account(one: Mapping[str, Any]) -> Panel:
    positions = [
        {
            "instrument": row["instrument"],
            "stake_usd": row["stake_usd"],
            "entry_price": row["entry_price"],
            "newest_price": row["newest_price"],
            "of": row["price_at"],
            "unrealised": _money(row["unrealised_usd"]),
            "percent": _percent(row["unrealised_percent"]),
            "closing": row["closing"],
        }
        for row in one["positions"]
    ]
    decisions = [
        {name: row[name] for name in
         ("decided_at", "instrument", "decision", "reason", "confidence", "stake_usd")}
        for row in one["newest_decisions"]
    ]  # fmt: skip
    parts: list[RenderableType] = [_health(one), _results(one)]
    if positions:
        parts.append(_table("Positions", positions))
    if decisions:
        parts.append(_table("Newest decisions", decisions))
    return Panel(
        Group(*parts),
        title=f"{escape(one['account'])} ({one['mode'] or 'never traded'})",
        title_align="left",
    )


def _health(one: Mapping[str, Any]) -> Text:
    age, holder = one["heartbeat_age_seconds"], one["holder"]
    text = Text()
    if holder is not None:
        text.append(f"held by {holder}, epoch {one['epoch']}")
    else:
        text.append("nobody trades it" + (", and somebody should" if one["wanted"] else ""))
    if age is not None:
        late = holder is not None and age > _LATE_SECONDS
        text.append(f", heartbeat {age:.1f} s ago", "bold red" if late else "")
    market_time = one["market_time"]
    text.append(
        f"\nmarket time {'-' if market_time is None else f'{market_time:%Y-%m-%d %H:%M:%S}'}"
    )
    text.append(f", dropped looks {text_of(one['dropped_looks'])}, findings {one['findings']}")
    if one["unexplained"]:
        text.append(f", not explained {one['unexplained']}", "bold red")
    if one["no_entries"]:
        text.append(f"\nNO ENTRIES: {one['no_entries']}", "bold red")
    if one["halted"]:
        text.append(f"\nHALTED: {one['halted']}", "bold red")
    return text


def _results(one: Mapping[str, Any]) -> Text:
    text = Text(f"{one['day']}: realised ")
    text.append_text(_money(one["realised_today_usd"]))
    text.append(f" in {one['closed_today']} trades; unrealised ")
    text.append_text(_money(one["unrealised_usd"]))
    if one["positions_without_price"]:
        text.append(f", {one['positions_without_price']} without a price")
    return text.append(f"; cash of the session {text_of(one['cash_usd'])} USD")


def _money(value: float | None) -> Text:
    return Text("-") if value is None else Text(f"{value:+,.2f} USD", _colour(value))


def _percent(value: float | None) -> Text:
    return Text("-") if value is None else Text(f"{value:+.2f} %", _colour(value))


def _colour(value: float) -> str:
    return "green" if value > 0 else "red" if value < 0 else ""


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for number, name in enumerate(rows[0]):
        # Names and amounts are read as a whole or not at all.
        whole = number == 0 or any(isinstance(row[name], Text) for row in rows)
        table.add_column(name.replace("_", " "), no_wrap=whole)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    return table


def _cell(value: Any) -> RenderableType:
    if isinstance(value, Text):
        return value
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%m-%d %H:%M:%S}"
    return Text(text_of(value))
