"""Commands that make backups and bring them back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trade_pipeline.cli.console import out, print_json, print_table, rows_progress
from trade_pipeline.cli.inputs import Json, read_settings

if TYPE_CHECKING:
    from trade_pipeline.core.backup.restore import Restored

PlaceOf = Annotated[
    str, typer.Argument(metavar="FOLDER_OR_URL", help="Place of backups: a folder, s3://... .")
]
WithDagster = Annotated[
    bool, typer.Option("--with-dagster", help="Dagster's own storage, too: runs, events, ticks.")
]


def backup(
    place: PlaceOf,
    with_dagster: WithDagster = False,
    keep: Annotated[
        int | None, typer.Option(help="How many backups stay there, the new one included.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Only tell what would be copied.")] = False,
    as_json: Json = False,
) -> None:
    """Back up database, artifacts and heads; sessions may go on trading.

    Artifacts that the place holds already are not copied again.  Exit code 1: something that the
    database refers to was missing or damaged in the store; the rest is backed up.
    """
    from trade_pipeline.core.backup.create import back_up, plan

    settings = read_settings()
    if dry_run:
        facts = asdict(plan(settings, place))
        if as_json:
            print_json(facts)
        else:
            print_table("would be backed up", [facts])
        return
    made = back_up(settings, place, with_dagster=with_dagster, keep=keep, stage=rows_progress)
    manifest = made.manifest
    if as_json:
        print_json(asdict(made))
    else:
        print_table(f"backup {manifest.name}", [_summary(manifest)])
        for name in made.removed:
            out.print(f"removed: {name}", highlight=False)
        for problem in manifest.incomplete:
            out.print(f"not in it: {problem}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1 if manifest.incomplete else 0)


def backups(
    place: PlaceOf,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file of every backup and check its hash.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the backups of a place, the oldest first; exit code 1: one is damaged or unfinished."""
    from trade_pipeline.core.backup.check import check_backup
    from trade_pipeline.core.backup.errors import BadBackup
    from trade_pipeline.core.backup.manifest import read_manifest
    from trade_pipeline.core.backup.place import Place

    found = Place(place)
    rows: list[dict[str, Any]] = []
    wrong: dict[str, str] = dict.fromkeys(found.unfinished(), "was never finished")
    for name in found.whole():
        try:
            manifest = read_manifest(found, name)
            rows.append(_summary(manifest))
            if verify:
                check_backup(found, manifest, rows_progress)
        except BadBackup as bad:
            wrong[name] = str(bad)
    if as_json:
        print_json({"backups": rows, "wrong": wrong})
    else:
        print_table(f"backups in {place}", rows)
        for name, why in wrong.items():
            out.print(f"{name}: {why}", markup=False, highlight=False, soft_wrap=True)
        if not rows and not wrong:
            out.print("none")
    raise typer.Exit(1 if wrong else 0)


def restore(
    place: PlaceOf,
    name: Annotated[
        str | None, typer.Option("--backup", help="Name of a backup; unset: the newest.")
    ] = None,
    with_dagster: WithDagster = False,
    dry_run: Annotated[
        bool, typer.Option(help="Read and check everything, and write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring a backup back into an empty database, and what of artifacts and heads is missing.

    Everything is checked before anything is written, and verified afterwards; exit code 1: the
    verification found something.  Run it again after it was stopped.
    """
    from trade_pipeline.core.backup.restore import restore as bring_back

    done = bring_back(
        read_settings(), place, name=name, with_dagster=with_dagster, dry_run=dry_run,
        stage=rows_progress,
    )  # fmt: skip
    report = done.report
    if as_json:
        verdict = None if report is None else report.verdict
        intact = None if report is None else report.intact
        print_json(asdict(done) | {"intact": intact, "verdict": verdict})
    else:
        _print(done)
    raise typer.Exit(0 if report is None or report.intact else 1)


def _summary(manifest: Any) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "schema": manifest.schema,
        "rows": manifest.rows,
        "megabytes": round(sum(file.size for file in manifest.files.values()) / 1e6, 2),
        "artifacts": manifest.artifacts,
        "of them new": manifest.new_artifacts,
        "new megabytes": round(manifest.new_bytes / 1e6, 2),
        "heads": manifest.heads.last + 1,
        "seconds": round((manifest.finished_at - manifest.taken_at).total_seconds(), 1),
        "dagster": manifest.dagster is not None,
        "missing": len(manifest.incomplete),
    }


def _print(done: Restored) -> None:
    would = "" if done.report is not None else "would be "
    print_table(
        f"backup {done.manifest.name} of {done.manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC",
        [
            {
                "database": f"{would}restored" if done.database else "holds it already",
                "artifacts": done.artifacts,
                "kept": done.kept,
                "heads": done.heads,
                "later heads": done.later_heads,
                "migrations": len(done.migrations),
            }
        ],
    )
    for problem in done.manifest.incomplete:
        out.print(f"not in it: {problem}", markup=False, highlight=False, soft_wrap=True)
    if done.halted:
        out.print(
            f"halted, because their venue has not gone back: {', '.join(done.halted)}; look "
            "through its orders and holdings, then `trade-pipeline resume`",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    if done.report is not None:
        colour, word = ("green", "verified") if done.report.intact else ("red", "NOT VERIFIED")
        out.print(f"[bold {colour}]{word}[/]", end="  ")
        out.print(done.report.verdict, markup=False, highlight=False, soft_wrap=True)
        for found in done.report.problems[:20]:
            out.print(str(found), markup=False, highlight=False, soft_wrap=True)
