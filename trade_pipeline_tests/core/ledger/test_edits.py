"""A superuser edits records that heads cover, in every way and at random places: all are found."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from report.record import counted

from trade_pipeline.core.ledger.verify import verify
from trade_pipeline.core.store.head_files import HeadFiles
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline_tests.conftest import KILLS, create_database
from trade_pipeline_tests.core.ledger.edits import EDITS, Superuser
from trade_pipeline_tests.core.ledger.every_kind import fill_ledger

SHORT, FULL = 104, 10_000
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def edited(
    server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[psycopg.Connection, HeadFiles]]:
    """A connection of a superuser to a ledger of its own, and the ledger's heads."""
    files = HeadFiles(str(tmp_path_factory.mktemp("heads")))
    with create_database(server) as database:
        with database.connect() as connection:
            name = connection.info.dbname
        with psycopg.connect(server.url("postgres", name), autocommit=True) as superuser:
            stored = fill_ledger(superuser, files, NOW)
            report = verify(superuser, files)
            assert report.intact, report.verdict
            assert (report.records, report.unanchored) == (stored, 0)
            yield superuser, files


def find_all(superuser: psycopg.Connection, files: HeadFiles, count: int) -> Counter[str]:
    """Make edits, each on the untouched ledger, and look for each; gives how many of which kind."""
    rng = random.Random(7)
    editor = Superuser(superuser, rng)
    made: Counter[str] = Counter()
    for number in range(count):
        kind = list(EDITS)[number % len(EDITS)]
        with superuser.transaction(force_rollback=True):
            what = EDITS[kind](editor)
            report = verify(superuser, files)
        assert not report.intact, f"edit {number}, {kind}: {what}: not found"
        assert (
            report.last_holding is None
            or report.last_holding < report.heads - 1
            or kind in ("the end of a chain", "a row added")
        ), f"edit {number}, {kind}: {what}: every head still holds: {report.problems}"
        made[kind] += 1
        if number % 500 == 499:
            superuser.execute("VACUUM")
    untouched = verify(superuser, files)
    assert untouched.intact, untouched.verdict
    return made


def test_every_kind_of_edit_is_found(edited: tuple[psycopg.Connection, HeadFiles]) -> None:
    assert find_all(*edited, SHORT) == dict.fromkeys(EDITS, SHORT // len(EDITS))


@pytest.mark.reliability
@pytest.mark.skipif(KILLS < 50, reason="minutes: make reliability runs it")
def test_ten_thousand_edits_are_found(edited: tuple[psycopg.Connection, HeadFiles]) -> None:
    made = find_all(*edited, FULL)
    for kind, count in made.items():
        print(f"{kind:28} {count:6,} of {count:,} found")
    assert made.total() == FULL
    counted("ledger.edits_found", made.total(), FULL, size=f"{len(made)} kinds of edits")
