"""Commands that files name, read by the very programs that would run them, without running them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import typer

from trade_pipeline_tests.deploy.composition import PROGRAMS


@cache
def _programs() -> dict[str, Any]:
    from celery.bin.celery import celery
    from dagster._cli import create_dagster_cli
    from dagster._daemon.cli import create_dagster_daemon_cli
    from dagster_webserver.cli import create_dagster_webserver_cli

    from trade_pipeline.cli import app

    return {
        "trade-pipeline": typer.main.get_command(app),
        "dagster": create_dagster_cli(),
        "dagster-daemon": create_dagster_daemon_cli(),
        "dagster-webserver": create_dagster_webserver_cli(),
        "celery": celery,
    }


def check_command(words: Sequence[str]) -> None:
    """Whether a program of this installation takes a command line, down to its last option.

    Raises:
        AssertionError: there is no such program or command.
        click.UsageError: an option or argument that it does not take.
    """
    program = Path(words[0]).name
    assert (PROGRAMS / program).is_file(), program
    command, rest = _programs()[program], list(words[1:])
    if program == "celery":
        # `-A` imports the app, which asks for a broker.
        assert rest[0] == "-A"
        rest = rest[2:]
    parent = None
    # Typer brings a Click of its own, so that a group is known by what it does.
    while hasattr(command, "get_command"):
        assert rest, f"{' '.join(words)}: names no command"
        parent = command.context_class(command, parent=parent)
        found = command.get_command(parent, rest[0])
        assert found is not None, f"{' '.join(words)}: no command {rest[0]!r}"
        command, rest = found, rest[1:]
    if command.name == "exec" and program == "trade-pipeline":
        check_command(rest)
        return
    if program == "celery":
        # It passes on options that it does not know, and its own want an app.
        known = {option for one in command.params for option in one.opts}
        unknown = [word for word in rest if word.startswith("-") and word not in known]
        assert unknown == [], f"{' '.join(words)}: no options {unknown}"
        return
    command.make_context(command.name, rest, parent=parent)
