"""Commands about the ledger: is the history untouched, heads, and proofs for others."""

from __future__ import annotations

import getpass
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from trade_pipeline.cli.console import out, print_json, rows_progress
from trade_pipeline.cli.inputs import Json, read_settings

if TYPE_CHECKING:
    from trade_pipeline.core.ledger.report import LedgerReport
    from trade_pipeline.core.store.artifacts import ArtifactStore
    from trade_pipeline.core.store.head_files import HeadFiles

app = typer.Typer(help="Heads of the ledger, and proofs for others.", no_args_is_help=True)
Heads = Annotated[
    str | None, typer.Option("--heads", help="Folder or URL of the heads; unset: the settings'.")
]


def verify(
    as_json: Json = False,
    dump: Annotated[
        Path | None, typer.Option(help="A dump (pg_dump) to verify instead of the database.")
    ] = None,
    heads: Heads = None,
    artifacts: Annotated[
        bool, typer.Option("--artifacts", help="Read every artifact as well, and hash it.")
    ] = False,
) -> None:
    """Is the history untouched?  Every record against its hashes and the heads; exit code 1: no."""
    from trade_pipeline.core.ledger.dump import restored
    from trade_pipeline.core.store.head_files import HeadFiles
    from trade_pipeline.core.store.store import Store, artifacts_of

    settings = read_settings()
    with ExitStack() as opened:
        if dump is not None:
            store, url = artifacts_of(settings), opened.enter_context(restored(dump))
        else:
            database = opened.enter_context(Store.open(settings))
            store, url = database.artifacts, database.database.url("trade_reader")
        report = _verified(url, store.heads if heads is None else HeadFiles(heads))
        if artifacts:
            report = _with_artifacts(url, store, report)
    if as_json:
        print_json(asdict(report) | {"intact": report.intact, "verdict": report.verdict})
    else:
        _print(report)
    raise typer.Exit(0 if report.intact else 1)


@app.command("head")
def ledger_head(as_json: Json = False) -> None:
    """Write a head now: what is recorded so far can no longer be changed unseen."""
    from trade_pipeline.core.ledger.heads import write_heads
    from trade_pipeline.core.ledger.stamps import stamp_days
    from trade_pipeline.core.store.store import Store

    with (
        Store.open(read_settings()) as store,
        store.database.connect(autocommit=True) as connection,
    ):
        files = store.artifacts.heads
        written = write_heads(connection, files)
        stamped = stamp_days(files, store.timestamp_url)
    facts = [{"number": h.number, "records": h.count, "sha256": h.hash.hex()} for h in written]
    if as_json:
        print_json({"heads": facts, "stamped_days": stamped, "place": files.url})
        return
    for one in facts:
        out.print(f"head {one['number']}: {one['records']:,} records, SHA-256 {one['sha256']}",
                  highlight=False, soft_wrap=True)  # fmt: skip
    for day in stamped:
        out.print(f"day {day} is stamped", highlight=False)
    if not facts:
        out.print("every record is covered by a head already")


@app.command("proof")
def ledger_proof(
    uuid: Annotated[str, typer.Argument(help="A trade's UUID.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, JSON.")],
) -> None:
    """Prove a trade's records to somebody who has a head, but no database.

    They check it with the script `trade_pipeline/verify_proof.py`, which needs Python alone.
    """
    from trade_pipeline import verify_proof
    from trade_pipeline.core.ledger.proof import trade_proof
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.core.tracking import uuid_of

    with Store.open(read_settings()) as store, store.database.connect("trade_reader") as connection:
        proof = trade_proof(connection, store.artifacts.heads, uuid_of(uuid))
    output.write_bytes(orjson.dumps(proof, option=orjson.OPT_INDENT_2))
    numbers = ", ".join(proof["heads"])
    out.print(
        f"{output}: {len(proof['records'])} records under the heads {numbers}; check it with\n"
        f"python {verify_proof.__file__} {output} HEAD.json",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


@app.command("set-aside")
def ledger_set_aside(
    reason: Annotated[str, typer.Option(help="Why the database is older; it is kept with them.")],
    as_json: Json = False,
) -> None:
    """After a restore to an earlier moment: move the heads that reach beyond it into a folder.

    They stay beside the others, with a note of when, why and by whom.
    """
    from trade_pipeline.core.clock import SystemClock
    from trade_pipeline.core.ledger.set_aside import set_heads_aside
    from trade_pipeline.core.store.store import Store

    with Store.open(read_settings()) as store, rows_progress("reading the records") as progress:
        files = store.artifacts.heads
        behind, folder = set_heads_aside(
            store.database, files, SystemClock(),
            reason=reason, by=getpass.getuser(), progress=progress,
        )  # fmt: skip
    if as_json:
        print_json(asdict(behind) | {"place": f"{files.url}/{folder}"})
        return
    out.print(
        f"heads {behind.first} to {behind.last} are in {files.url}/{folder}; "
        f"{behind.missing:,} records that they cover are not in the database",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def _with_artifacts(url: str, artifacts: ArtifactStore, report: LedgerReport) -> LedgerReport:
    import psycopg

    from trade_pipeline.core.ledger.artifacts import check_artifacts

    with psycopg.connect(url) as connection, rows_progress("reading the artifacts") as progress:
        problems = check_artifacts(connection, artifacts, progress)
    return report.with_artifacts(problems)


def _verified(url: str, files: HeadFiles) -> LedgerReport:
    from trade_pipeline.core.ledger.verify import verify_url

    with rows_progress("reading the records") as progress:
        return verify_url(url, files, progress)


def _heads(report: LedgerReport) -> str:
    if not report.heads:
        return "none: `trade-pipeline ledger head` writes one"
    return f"{report.heads:,}, the newest {report.last_head} of {report.last_head_at}"


def _print(report: LedgerReport) -> None:
    colour = "green" if report.intact else "red"
    out.print(f"[bold {colour}]{'untouched' if report.intact else 'NOT UNTOUCHED'}[/]", end="  ")
    out.print(report.verdict, markup=False, highlight=False, soft_wrap=True)
    lines: list[tuple[str, Any]] = [
        ("records", f"{report.records:,} in {report.chains:,} chains, {report.seconds:.1f} s"),
        ("heads", _heads(report)),
        ("last that holds", report.last_holding),
        ("days", f"{report.days:,} closed, {report.stamped_days:,} with a time stamp"),
        ("not yet anchored", _unanchored(report)),
        *(("note", note) for note in report.notes),
        *((f"head {p.head}" if p.head is not None else "no head", p) for p in report.problems),
    ]
    if report.problem_count > len(report.problems):
        lines.append(("and", f"{report.problem_count - len(report.problems):,} problems more"))
    for name, what in lines:
        out.print(f"{name:>16}  {what}", markup=False, highlight=False, soft_wrap=True)


def _unanchored(report: LedgerReport) -> str:
    if not report.unanchored:
        return "nothing"
    age = ""
    if report.unanchored_since is not None:
        minutes = (datetime.now(UTC) - report.unanchored_since).total_seconds() / 60
        age = f", the oldest {minutes:,.1f} minutes old"
    return f"{report.unanchored:,} records{age}"
