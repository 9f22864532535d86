"""How fast records are appended, beside a plain COPY of the same rows; `provenance.py` runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import psycopg
from provenance_rows import LASTS, SessionSpec, records_of, session_of
from psycopg import sql

from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.ledger.chain import LEDGER_COLUMNS, Chain
from trade_pipeline.core.ledger.journal import Journal
from trade_pipeline.core.records import Record
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION

INGEST_ROUNDS = 3
# Months over which trades are spread; these come after them.
MONTHS = 8
# Trades of a batch of the append path, some 4,000 records.
_INGESTED = 750
# Of a plain COPY's rate, what is asked for.
_INGEST = 0.5


def ingest_rates(
    server: EmbeddedPostgres, store: Store, trades: int, number: int
) -> dict[str, float]:
    """Records a second by the append paths, and by a plain COPY of the same rows.

    The appended ones are given records: `append_bulk` links and writes in turn, a session's journal
    links the next ones meanwhile.  The plain ones are given rows that were linked before, and write
    them into the same tables, into such with the keys, indexes and checks of these, but no foreign
    keys or triggers, and into such without anything.
    """
    spec, other, third = (
        SessionSpec(10**6 + 3 * number + n, MONTHS, trades, "sha256:" + "a" * 64, HEURISTIC_VERSION)
        for n in range(3)
    )
    # What belongs to one trade stays together, as a session writes it.
    batches = [
        list(records_of(spec, first, min(first + _INGESTED, trades)))
        for first in range(0, trades, _INGESTED)
    ]
    batches[0].insert(0, session_of(spec))
    records = [record for batch in batches for record in batch]
    chain = Chain(spec.session_id)
    linked = [chain.link(record) for record in records]
    kinds = [type(record) for record in records]

    def append() -> None:
        with store.database.connect(autocommit=True) as connection:
            for batch in batches:
                append_bulk(connection, spec.session_id, batch)

    journalled = [session_of(other), *records_of(other)]

    def journal() -> None:
        first, last = other.start, other.start + LASTS
        with (
            store.database.connect(autocommit=True) as connection,
            Journal(connection, other.session_id, first=first, last=last) as written,
        ):
            for record in journalled:
                written.append(record)

    def plain(prefix: str) -> Callable[[], None]:
        def copy() -> None:
            with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
                _copy_plain(connection, ("public", prefix), kinds, linked)

        return copy

    beside = [session_of(third), *records_of(third)]
    chain = Chain(third.session_id)
    beside_linked = [chain.link(record) for record in beside]

    def same() -> None:
        with store.database.connect(autocommit=True) as connection:
            _copy_plain(connection, ("trade", ""), [type(one) for one in beside], beside_linked)

    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        for kind in dict.fromkeys(kinds):
            for prefix, including in (("bare_", "INCLUDING DEFAULTS"), ("keyed_", "INCLUDING ALL")):
                connection.execute(
                    sql.SQL("CREATE TABLE IF NOT EXISTS {} (LIKE trade.{} {})").format(
                        sql.Identifier(f"{prefix}{kind.TABLE}"), sql.Identifier(kind.TABLE),
                        sql.SQL(including),
                    )
                )  # fmt: skip
    told: dict[str, float] = {}
    for name, write in (
        ("append", append), ("journal", journal), ("COPY", same),
        ("keyed COPY", plain("keyed_")), ("bare COPY", plain("bare_")),
    ):  # fmt: skip
        started = time.perf_counter()
        write()
        told[name] = len(records) / (time.perf_counter() - started)
        print(f"{name:<26} {told[name]:,.0f} records/s", flush=True)
    for path in ("append", "journal"):
        for copied in ("COPY", "keyed COPY", "bare COPY"):
            ratio = told[path] / told[copied]
            print(
                f"{path} / {copied:<16} {ratio:.2f} ({ratio / _INGEST:.2f} of what is asked for)",
                flush=True,
            )
    return told


def _copy_plain(
    connection: psycopg.Connection,
    place: tuple[str, str],
    kinds: Sequence[type[Record]],
    linked: Sequence[tuple[object, ...]],
) -> None:
    """Write linked rows into the tables of a schema with a prefix, one transaction."""
    schema, prefix = place
    with connection.transaction(), connection.cursor() as cursor:
        for kind in dict.fromkeys(kinds):
            names = map(sql.Identifier, LEDGER_COLUMNS + kind.COLUMNS)
            statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
                sql.Identifier(schema, f"{prefix}{kind.TABLE}"), sql.SQL(", ").join(names)
            )
            with cursor.copy(statement) as copy:
                for row, its in zip(linked, kinds, strict=True):
                    if its is kind:
                        copy.write_row(row)
