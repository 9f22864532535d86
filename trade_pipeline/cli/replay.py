"""The command that computes stored trades again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from trade_pipeline.cli.console import (
    out,
    print_json,
    print_table,
    sessions_progress,
)
from trade_pipeline.cli.elsewhere import run_days, runs_elsewhere
from trade_pipeline.cli.inputs import Json, Mentions, read_settings
from trade_pipeline.core.errors import BadConfig

if TYPE_CHECKING:
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.settings import Settings

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

    Writes nothing.  Ends with code 1 when anything differs.  Where runs are executed elsewhere, by
    workers or a cluster, the sessions that begin on a day are a run, unless it is a single trade.
    """
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.core.tracking import uuid_of

    if (uuid is not None) + all_ + (session is not None) != 1:
        raise BadConfig("give one of: a trade's UUID, --session ID, --all")
    folders = tuple(data or ())
    trade = None if uuid is None else uuid_of(uuid)
    settings = read_settings()
    with Store.open(settings) as store:
        if trade is None and runs_elsewhere(settings):
            facts = _replay_elsewhere(store, settings, session, folders, mentions)
        else:
            facts = _replay_here(store, trade, session, folders, mentions) | {"failed": []}
    if as_json:
        print_json(facts)
    else:
        _print(facts)
    if facts["differs"] or facts["failed"]:
        raise typer.Exit(1)


def _replay_here(
    store: Store,
    trade: UUID | None,
    session: str | None,
    data: Sequence[Path],
    mentions: Path | None,
) -> dict[str, Any]:
    from trade_pipeline.core.replay import replay_all, replay_session, replay_trade

    with sessions_progress() as begins:
        if trade is not None:
            found = replay_trade(store, trade, data=data, mentions=mentions, begins=begins)
        elif session is not None:
            found = replay_session(store, session, data=data, mentions=mentions, begins=begins)
        else:
            found = replay_all(store, data=data, mentions=mentions, begins=begins)
    return found.facts()


def _replay_elsewhere(
    store: Store,
    settings: Settings,
    session: str | None,
    data: Sequence[Path],
    mentions: Path | None,
) -> dict[str, Any]:
    """The same by a run for each day on which sessions begin, whose results are put together."""
    from trade_pipeline.core.replay import joined, session_days
    from trade_pipeline.core.replay.markets import Markets
    from trade_pipeline.core.session.stored import read_session
    from trade_pipeline.defs.daily_runs import is_partition
    from trade_pipeline.defs.replays import FACTS

    # What is no recording is refused at once, and not by every run.
    Markets(data, mentions)
    with store.database.connect("trade_reader") as connection:
        begun = session_days(connection)
        if session is not None:
            begun = {session: begun[read_session(connection, session).session_id]}
    days = {name: moment.astimezone(UTC).date() for name, moment in begun.items()}
    config = {
        "data": [str(folder.resolve()) for folder in data],
        "mentions": None if mentions is None else str(mentions.resolve()),
        "session": session,
    }
    wanted = sorted({day for day in days.values() if is_partition(day)})
    made, failed = run_days(
        settings, "replay_job", "replayed_records", config, wanted, "days of sessions"
    )
    # Of today, and of what is older than any partition.
    left = [name for name, day in days.items() if not is_partition(day)]
    parts = [one[FACTS] for one in made]
    parts += [_replay_here(store, None, name, data, mentions) for name in left]
    return joined(parts, list(days)) | {"failed": failed}


def _print(facts: dict[str, Any]) -> None:
    sessions = facts["sessions"]
    rows = [
        {
            # --json tells the whole id, and more.
            "session": one["session_id"][:12],
            "mode": one["mode"],
            "computed from": one["source"],
            **{name: one[name] for name in ("trades", "identical", "different")},
        }
        for one in sessions
    ]
    print_table("Replay", rows)
    for one in sessions[:_TOLD]:
        _print_session(one)
    if (more := len(sessions) - _TOLD) > 0:
        out.print(f"and {more} sessions more; --json tells all of them")
    print_table("Runs that failed", facts["failed"])
    _print_verdict(facts)


def _print_session(one: dict[str, Any]) -> None:
    name = f"session {one['session_id']}"
    lines = list(one["notes"])
    lines += [
        f"not computed, of {count:,} trades: {what}" for what, count in one["uncomputed"].items()
    ]
    if one["code_text"] is not None:
        lines.append(one["code_text"])
    if one["before"] is not None:
        lines.append(f"something differs before this trade already: {one['before']['text']}")
    for line in lines:
        out.print(f"{name}: {line}", markup=False, highlight=False, soft_wrap=True)


def _print_verdict(facts: dict[str, Any]) -> None:
    first = facts["first_difference"]
    if first is not None:
        out.print(f"[bold red]{facts['found']:,} differences[/]; the first one: ", end="")
        out.print(first["text"], markup=False, highlight=False, soft_wrap=True)
    elif facts["failed"]:
        out.print("[bold red]not all was replayed[/]")
    elif facts["trades"] and facts["identical"] == facts["trades"]:
        out.print(
            f"[bold green]identical[/]: {facts['trades']:,} trades, {facts['records']:,} records"
        )
    else:
        out.print(
            f"[bold]no difference in what was computed[/]: {facts['identical']:,} trades are "
            f"identical, {facts['in_part']:,} were computed in part, "
            f"{facts['not_computed']:,} not at all"
        )
