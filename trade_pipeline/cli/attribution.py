"""The command that tells where results came from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from trade_pipeline.cli.console import out, print_json, print_table, text_of
from trade_pipeline.cli.inputs import Json, read_settings

# What is shown of a group in a terminal; --json tells all.
# --json tells the parts of each group, too.
_SHOWN = ("group", "spoke", "sample", "trades", "result_usd", "mean_usd", "low_usd", "high_usd")


def attribution(
    session: Annotated[str | None, typer.Option(help="One session; unset, all of them.")] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="model, arm, token, age, hour, signal, sentiment, reason, liquidity or session; "
            "again for more; unset: reason."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Where the results of closed trades came from: market, timing, impact, fees, gas, rugs.

    The parts sum to each trade's result exactly.
    """
    from trade_pipeline.core.attribution.experiment import EFFECT
    from trade_pipeline.core.attribution.groups import ASSOCIATION
    from trade_pipeline.core.attribution.report import attribution_report
    from trade_pipeline.core.attribution.settings import keep_settings
    from trade_pipeline.core.store.store import Store

    with Store.open(read_settings()) as store:
        with store.database.connect("trade_writer") as connection:
            gone = keep_settings(connection, store.artifacts)
        with store.database.connect("trade_reader") as connection:
            report = attribution_report(connection, session, by or ["reason"])
    report["settings_gone"] = gone
    if as_json:
        print_json(report | {"association": ASSOCIATION, "effect": EFFECT})
    else:
        _print(report, ASSOCIATION, EFFECT)


def _print(report: dict[str, Any], association: str, effect: str) -> None:
    for name in (
        "trades", "without_result", "without_settings", "unfilled_entries_usd", "result_usd",
    ):  # fmt: skip
        out.print(f"{name.replace('_', ' '):>22}  {text_of(report[name])}", markup=False)
    print_table("Parts of the result", report["parts"])
    for name, rows in report["by"].items():
        shown = [{key: row[key] for key in _SHOWN if key in row} for row in rows]
        print_table(f"By {name}", shown)
        if shown:
            out.print(association)
    if report["experiment"]:
        print_table("The canary's arm less production's", report["experiment"])
        out.print(effect)
