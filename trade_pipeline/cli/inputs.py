"""What the user typed, read strictly."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from trade_pipeline.core.config import read_file
from trade_pipeline.core.errors import BadConfig, NaiveDatetime
from trade_pipeline.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")]
Seed = Annotated[int, typer.Option(help="Decides whatever is drawn.")]
Mentions = Annotated[
    Path | None, typer.Option(help="Folder with hourly mention counts, for spot-1h.")
]
Start = Annotated[str, typer.Option(help="First day (UTC), or a time with a zone.")]
End = Annotated[str, typer.Option(help="The day (UTC) or time before which decisions end.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="Settings of strategy, venues and simulator, TOML or JSON."),
]


def read_settings() -> Settings:
    """The settings from the environment.

    Raises:
        BadConfig: a setting that cannot be read; its value is not shown.
    """
    try:
        return Settings()
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        name = "TRADE_PIPELINE_" + "_".join(map(str, problem["loc"])).upper()
        raise BadConfig(f"{name}: {problem['msg']}") from None


def read_moment(name: str, text: str) -> datetime:
    """A UTC day, or a time with a zone.

    Raises:
        BadConfig: neither.
        NaiveDatetime: a time without a zone.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        pass
    else:
        return datetime(day.year, day.month, day.day, tzinfo=UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadConfig(
            f"{name}={text!r}: expected a day such as 2021-09-03, or a time with a zone"
        ) from None
    if moment.utcoffset() is None:
        raise NaiveDatetime(name, text, "a time with a zone, such as 2021-09-03T12:00Z")
    return moment.astimezone(UTC)


def plain_settings(file: Path | None, pairs: list[str]) -> dict[str, Any]:
    """Plain settings from a file and from NAME=VALUE pairs, the pairs last."""
    given = {} if file is None else read_file(file)
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise BadConfig(f"--set {pair!r}: expected NAME=VALUE")
        *groups, last = name.split(".")
        place = given
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return given
