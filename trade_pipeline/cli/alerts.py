"""Commands that tell people what happened."""

from __future__ import annotations

from dataclasses import asdict

import typer

from trade_pipeline.cli.console import out, print_json, print_table
from trade_pipeline.cli.inputs import Json, read_settings
from trade_pipeline.core.alerts.channels import Channel, channels_of
from trade_pipeline.core.errors import BadConfig

app = typer.Typer(
    help="Tell people by the channels of TRADE_PIPELINE_ALERT_URLS.", no_args_is_help=True
)


@app.command("test")
def send_test(as_json: Json = False) -> None:
    """Send a test message by every channel; ends with 1 when one fails."""
    rows = [
        {
            "channel": channel.label,
            "sent": channel.send("trade_pipeline: a test", "Alerts will come here."),
        }
        for channel in _channels()
    ]
    if as_json:
        print_json(rows)
    else:
        print_table("Test message", rows)
    if not all(row["sent"] for row in rows):
        raise typer.Exit(1)


@app.command()
def send(as_json: Json = False) -> None:
    """Deliver what waits, once, also by channels that failed; ends with 1 when one fails."""
    from trade_pipeline.core.alerts.deliver import deliver
    from trade_pipeline.core.store.store import Store

    channels = _channels()
    with Store.open(read_settings()) as store:
        found = deliver(store.database, channels)
    if as_json:
        print_json(None if found is None else [asdict(one) for one in found])
    elif found is None:
        out.print("another process tells people now")
    else:
        print_table("Alerts", [asdict(one) for one in found])
    if any(one.became == "failed" for one in found or ()):
        raise typer.Exit(1)


def _channels() -> list[Channel]:
    channels = channels_of(read_settings().alert_urls)
    if not channels:
        raise BadConfig("TRADE_PIPELINE_ALERT_URLS: not set, so there is no channel")
    return channels
