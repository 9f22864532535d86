"""The command that computes stored trades again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trade_pipeline.cli.console import out, print_json, print_table, sessions_progress
from trade_pipeline.cli.inputs import Json, Mentions, read_settings
from trade_pipeline.core.errors import BadConfig

if TYPE_CHECKING:
    from trade_pipeline.core.replay import Replay, SessionReplay

# Sessions whose differences and reasons are told one by one.
_TOLD = 20


def replay(
    uuid: Annotated[str | None, typer.Argument(help="A trade's UUID.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every session that is stored.")] = False,
    session: Annotated[
        str | None, typer.Option(help="Every trade of a session, skipped candidates included.")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of a recording that sessions ran on; may be given several times."
        ),
    ] = None,
    mentions: Mentions = None,
    as_json: Json = False,
) -> None:
    """Compute stored trades again from stored inputs, and compare them bit for bit.

    Writes nothing.  Ends with code 1 when anything differs.
    """
    from trade_pipeline.core.replay import replay_all, replay_session, replay_trade
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.core.tracking import uuid_of

    if (uuid is not None) + all_ + (session is not None) != 1:
        raise BadConfig("give one of: a trade's UUID, --session ID, --all")
    folders = tuple(data or ())
    trade = None if uuid is None else uuid_of(uuid)
    with Store.open(read_settings()) as store, sessions_progress() as begins:
        if trade is not None:
            found = replay_trade(store, trade, data=folders, mentions=mentions, begins=begins)
        elif session is not None:
            found = replay_session(store, session, data=folders, mentions=mentions, begins=begins)
        else:
            found = replay_all(store, data=folders, mentions=mentions, begins=begins)
    if as_json:
        print_json(found.facts())
    else:
        _print(found)
    if found.differs:
        raise typer.Exit(1)


def _print(found: Replay) -> None:
    rows = [
        {
            # --json tells the whole id, and more.
            "session": one.session.session_id[:12],
            "mode": one.session.mode,
            "computed from": one.source,
            "trades": one.trades,
            "identical": one.identical,
            "different": one.different,
        }
        for one in found.sessions
    ]
    print_table("Replay", rows)
    for one in found.sessions[:_TOLD]:
        _print_session(one)
    if (more := len(found.sessions) - _TOLD) > 0:
        out.print(f"and {more} sessions more; --json tells all of them")
    _print_verdict(found)


def _print_session(one: SessionReplay) -> None:
    name = f"session {one.session.session_id}"
    lines = list(one.notes)
    lines += [
        f"not computed, of {count:,} trades: {what}" for what, count in one.uncomputed.items()
    ]
    if one.code_text is not None:
        lines.append(one.code_text)
    if one.before is not None:
        lines.append(f"something differs before this trade already: {one.before.text}")
    for line in lines:
        out.print(f"{name}: {line}", markup=False, highlight=False, soft_wrap=True)


def _print_verdict(found: Replay) -> None:
    totals = found.totals
    first = found.first
    if first is not None:
        out.print(f"[bold red]{totals['found']:,} differences[/]; the first one: ", end="")
        out.print(first.text, markup=False, highlight=False, soft_wrap=True)
    elif totals["trades"] and totals["identical"] == totals["trades"]:
        out.print(
            f"[bold green]identical[/]: {totals['trades']:,} trades, {totals['records']:,} records"
        )
    else:
        out.print(
            f"[bold]no difference in what was computed[/]: {totals['identical']:,} trades are "
            f"identical, {totals['in_part']:,} were computed in part, "
            f"{totals['not_computed']:,} not at all"
        )
