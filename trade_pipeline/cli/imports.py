"""The command that brings in the trades of an older bot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from trade_pipeline.cli.console import out, print_json, print_table, text_of
from trade_pipeline.cli.inputs import Json, read_settings
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.records import TerminationReason


def import_(
    file: Annotated[Path, typer.Argument(help="CSV, JSON, or freqtrade's zipped backtest.")],
    format_: Annotated[
        Literal["auto", "legacy", "freqtrade"], typer.Option("--format", help="Whose file it is.")
    ] = "auto",
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", help="FIELD=COLUMN: what the file calls a field."),
    ] = None,
    reason: Annotated[
        list[str] | None,
        typer.Option(help="OLD=NEW: what the bot's word for the end of a trade means."),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Of times without a zone, such as UTC or Europe/Berlin.")
    ] = None,
    quote_usd: Annotated[
        list[str] | None,
        typer.Option(help="NAME=USD: price of a currency that is no dollar, such as BTC=40000."),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Which one, of a freqtrade backtest with several.")
    ] = None,
    skip_known: Annotated[
        bool, typer.Option("--skip-known", help="Leave out what another import brought in.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would come in.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring in the trades of an older bot, whole or not at all.

    They are a session of mode `imported`, which metrics and datasets leave out unless they are
    asked with --include-imported. The same file again adds nothing.
    """
    from trade_pipeline.core.clock import SystemClock, now
    from trade_pipeline.core.imports.importing import ImportSettings, import_trades
    from trade_pipeline.core.store.store import Store

    settings = ImportSettings(
        format=format_,
        strategy=strategy,
        columns=dict(_pairs("map", map_)),
        reasons={old: _reason(new) for old, new in _pairs("reason", reason)},
        timezone=timezone,
        quote_usd={name: _price(name, usd) for name, usd in _pairs("quote-usd", quote_usd)},
    )
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadConfig(f"file={str(file)!r}: {error.strerror}") from None
    with Store.open(read_settings()) as store:
        done = import_trades(
            store.database, store.artifacts, str(file), data, settings,
            now=now(SystemClock()), skip_known=skip_known, dry_run=dry_run,
        )  # fmt: skip
    facts = asdict(done)
    reasons = [
        {"in_the_file": old, "recorded_as": new, "trades": trades}
        for old, new, trades in facts.pop("by_reason")
    ]
    if as_json:
        print_json(facts | {"by_reason": reasons})
        return
    out.print("[bold]would be imported[/]" if dry_run else "[bold]imported[/]")
    for name, value in facts.items():
        out.print(f"{name.replace('_', ' '):>12}  {text_of(value)}", soft_wrap=True, markup=False)
    print_table("Why they ended", reasons)
    if not done.new and not dry_run:
        out.print("nothing new: every trade is stored already")


def _pairs(option: str, given: Iterable[str] | None) -> list[tuple[str, str]]:
    pairs = []
    for text in given or ():
        name, equals, value = text.rpartition("=")
        if not equals or not name or not value:
            raise BadConfig(f"--{option} {text!r}: expected NAME=VALUE")
        pairs.append((name, value))
    return pairs


def _reason(text: str) -> TerminationReason:
    allowed = [one for one in TerminationReason if one is not TerminationReason.NOT_FILLED]
    if text not in allowed:
        raise BadConfig(f"--reason ...={text}: expected one of {', '.join(allowed)}")
    return TerminationReason(text)


def _price(name: str, text: str) -> float:
    try:
        price = float(text)
    except ValueError:
        price = 0.0
    if not 0 < price < 1e12:
        raise BadConfig(f"--quote-usd {name}={text}: expected a price in USD")
    return price
