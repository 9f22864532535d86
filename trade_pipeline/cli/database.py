"""Commands about the database."""

from __future__ import annotations

import os
import subprocess
from dataclasses import asdict
from typing import Annotated, Any

import typer

from trade_pipeline.cli.console import err, out, print_json, rows_progress
from trade_pipeline.cli.inputs import Json, read_settings
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.store.database import ROLES, Database
from trade_pipeline.core.store.migrations import migrate
from trade_pipeline.core.store.server import EmbeddedPostgres, binary
from trade_pipeline.core.store.store import Store

app = typer.Typer(help="The database: embedded, or any PostgreSQL by URL.", no_args_is_help=True)


@app.command("start")
def db_start() -> None:
    """Start the embedded server and keep it running until `db stop`."""
    server = _embedded()
    server.start(keep=True)
    Database.embedded(server.folder).close()
    _print_status(False)


@app.command("stop")
def db_stop() -> None:
    """Stop the embedded server, also under its users; the data stay."""
    _embedded().stop()
    out.print("stopped")


@app.command("status")
def db_status(as_json: Json = False) -> None:
    """What the database is and whether it answers."""
    _print_status(as_json)


@app.command("url")
def db_url() -> None:
    """Print the URL by which trade_writer logs in, its password inside."""
    settings = read_settings()
    if settings.database_url is not None:
        print(settings.database_url.get_secret_value())
    else:
        print(_embedded().url("trade_writer"))


@app.command("migrate")
def db_migrate(
    backup: Annotated[
        str | None, typer.Option(help="Folder or URL: make a backup there before.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Apply the migrations that the database lacks.

    A migration cannot be taken back: what takes it back is a backup.
    """
    settings = read_settings()
    if backup is not None:
        from trade_pipeline.core.backup.create import back_up

        made = back_up(settings, backup, stage=rows_progress)
        err.print(f"backup {made.manifest.name} of schema {made.manifest.schema:04}")
    url = settings.admin_database_url or settings.database_url
    if url is not None:
        applied = migrate(url.get_secret_value())
    else:
        with _embedded() as server:
            applied = migrate(server.url("postgres"))
    if as_json:
        print_json({"applied": applied})
    else:
        out.print("\n".join(applied) or "nothing to apply")


@app.command("shell")
def db_shell(
    role: Annotated[
        str, typer.Option(help="trade_reader, trade_writer or trade_admin.")
    ] = "trade_reader",
) -> None:
    """Open psql on the records."""

    if role not in ROLES:
        raise BadConfig(f"role={role!r}: expected one of {', '.join(ROLES)}")
    with Store.open(read_settings()) as store:
        # The URL goes by the environment: arguments can be seen by every user of the machine.
        environment = os.environ | store.database.environment(role)
        code = subprocess.run([str(binary("psql"))], env=environment, check=False).returncode
    raise typer.Exit(code)


def _embedded() -> EmbeddedPostgres:
    settings = read_settings()
    if settings.database_url is not None:
        raise BadConfig("TRADE_PIPELINE_DATABASE_URL is set: that server is not ours to manage")
    return EmbeddedPostgres(settings.home / "postgres")


def _print_status(as_json: bool) -> None:
    settings = read_settings()
    if settings.database_url is not None:
        with Database.at(settings.database_url.get_secret_value()) as database:
            facts: dict[str, Any] = {"running": True, "version": database.version()}
    else:
        facts = asdict(_embedded().status())
    if as_json:
        print_json(facts)
    else:
        for name, value in facts.items():
            out.print(f"{name.replace('_', ' '):>14}  {value}", highlight=False, soft_wrap=True)
