"""Commands of live sessions, and the kill switch."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from trade_pipeline.cli.console import out, print_json, print_table
from trade_pipeline.cli.inputs import (
    ConfigFile,
    Json,
    Seed,
    plain_settings,
    read_moment,
    read_settings,
)
from trade_pipeline.core.errors import BadConfig

app = typer.Typer(help="Trade an account as its market arrives.", no_args_is_help=True)
Account = Annotated[str, typer.Option(help="Name of the account.")]
Reason = Annotated[str, typer.Option(help="Why; it is stored.")]


@app.command()
def start(
    account: Account = "paper",
    mode: Annotated[str, typer.Option(help="paper or live.")] = "paper",
    market: Annotated[
        str | None, typer.Option(help="Replay this kind of market: uniswap-v2, spot-1h, simulated.")
    ] = None,
    begin: Annotated[
        str | None, typer.Option("--start", help="The replay's first day, or time with a zone.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="Day or time before which it ends.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the recording.")] = None,
    speed: Annotated[float, typer.Option(help="Times the wall's time; 0: without waits.")] = 60.0,
    seed: Seed = 7,
    config: ConfigFile = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="One setting, such as trading.amm.gas_usd=15."),
    ] = None,
    here: Annotated[
        bool, typer.Option(help="Trade in this process instead of a run of Dagster.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Ask for sessions of an account: `live_session_sensor` starts one, and replaces it.

    A real market is named in the settings (--config), a replay by --market.  With --here this
    process trades, until the session's window or the replay ends or Ctrl-C: then no other one is
    wanted.  Only where it is killed, a successor takes over its positions.
    """
    from trade_pipeline.core.alerts.now import teller
    from trade_pipeline.core.live.config import LiveConfig
    from trade_pipeline.core.live.open_market import NO_MARKET
    from trade_pipeline.core.live.requests import order_session
    from trade_pipeline.core.live.run import run_live
    from trade_pipeline.core.store.store import Store

    settings = read_settings()
    given = {"account": account, "mode": mode} | plain_settings(config, set_ or [])
    if market is not None:
        if begin is None or end is None:
            raise BadConfig(f"market={market!r}: a replay needs --start and --end")
        given["replay"] = {
            "market": market,
            "data": data,
            "start": read_moment("start", begin),
            "end": read_moment("end", end),
            "seed": seed,
            "speed": speed,
        } | given.get("replay", {})
    live = LiveConfig.parse(given)
    live.require_allowed(settings)
    if live.replay is None and live.market is None:
        raise BadConfig(NO_MARKET)
    with Store.open(settings) as store:
        if not here:
            with store.database.connect(autocommit=True) as connection:
                order_session(connection, live, by=getpass.getuser())
            out.print(f"account {account}: a session is wanted; `live status` shows it")
            return
        done = run_live(
            store, live, settings, holder="command line", asks=getpass.getuser(),
            tell=teller(settings.alert_urls),
        )  # fmt: skip
    facts: dict[str, Any] = asdict(done) | {"findings": [asdict(one) for one in done.findings]}
    if as_json:
        print_json(facts)
    else:
        facts["findings"] = len(done.findings)
        print_table("Session", [{"figure": k, "value": v} for k, v in facts.items()])


@app.command()
def stop(account: Account = "paper") -> None:
    """Ask for the end of an account's sessions; its positions stay open and are watched no more."""
    from trade_pipeline.core.live.requests import end_sessions
    from trade_pipeline.core.store.store import Store

    with (
        Store.open(read_settings()) as store,
        store.database.connect(autocommit=True) as connection,
    ):
        end_sessions(connection, account, by=getpass.getuser())
    out.print(f"account {account}: no session is wanted")


@app.command()
def status(as_json: Json = False) -> None:
    """Who trades which account, how far, and what stops it."""
    from trade_pipeline.core.live.status import live_status
    from trade_pipeline.core.store.store import Store

    with Store.open(read_settings()) as store, store.database.connect("trade_reader") as connection:
        rows = live_status(connection)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print_table(
            row["account"], [{"figure": name, "value": value} for name, value in row.items()]
        )


def halt(account: Account = "paper", reason: Reason = "by hand") -> None:
    """Stop all entries of an account within a second; exits go on."""
    _order(account, "halt", reason)


def flatten(account: Account = "paper", reason: Reason = "by hand") -> None:
    """Stop all entries of an account and sell what is open."""
    _order(account, "flatten", reason)


def resume(account: Account = "paper", reason: Reason = "by hand") -> None:
    """Allow entries again."""
    _order(account, "resume", reason)


def _order(account: str, action: Any, reason: str) -> None:
    from trade_pipeline.core.live.halts import order_halt
    from trade_pipeline.core.store.store import Store

    with (
        Store.open(read_settings()) as store,
        store.database.connect(autocommit=True) as connection,
    ):
        number = order_halt(connection, account, action, reason=reason, by=getpass.getuser())
    out.print(f"account {account}: {action} is event {number}")
