"""Raw artifacts whose time is over: what goes, what stays, and what a kill in between leaves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import psycopg
import pytest

from trade_pipeline.core.canonical import address_of
from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.errors import BadConfig, InvalidRecord
from trade_pipeline.core.ids import micros
from trade_pipeline.core.records import ResearchDocument
from trade_pipeline.core.retention import artifacts as retention
from trade_pipeline.core.retention.artifacts import Removal, erase, remove_expired
from trade_pipeline.core.store.artifacts import (
    ArtifactRemoved,
    ArtifactStore,
    read_artifact,
    record_artifact,
    record_settings,
)
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.tracking import TradeTrackingSystem

NOW = datetime(2026, 6, 1, tzinfo=UTC)
YESTERDAY, TOMORROW = NOW - timedelta(days=1), NOW + timedelta(days=1)
OLD = b'{"old": "answer"}'


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def store(fresh_database: Database, artifacts: ArtifactStore) -> Store:
    return Store(fresh_database, artifacts)


def put(store: Store, data: bytes, expires_at: datetime | None, alias: str | None = None) -> str:
    with store.database.connect(autocommit=True) as connection:
        return record_artifact(
            connection, store.artifacts, data,
            media_type="application/json", expires_at=expires_at, alias=alias,
        )  # fmt: skip


def run(store: Store, at: datetime = NOW, **given: Any) -> Removal:
    clock = MarketClock(micros(at))
    return remove_expired(store.database, store.artifacts, clock, by="a test", **given)


def read(store: Store, address: str) -> bytes:
    with store.database.connect("trade_reader") as connection:
        return read_artifact(connection, store.artifacts, address)


def stones(store: Store) -> list[Any]:
    with store.database.connect("trade_reader") as connection:
        return connection.execute(
            "SELECT address, removal, kind, reason, by_whom FROM trade.artifact_tombstones "
            "ORDER BY chain_seq"
        ).fetchall()


def test_what_is_over_goes_and_leaves_its_address_with_a_tombstone(store: Store) -> None:
    old, fresh = put(store, OLD, YESTERDAY), put(store, b"fresh", TOMORROW)
    lasting = put(store, b"lasting", None)
    done = run(store)
    assert (done.expired, done.bytes, done.needed) == (1, len(OLD), [])
    assert (read(store, fresh), read(store, lasting)) == (b"fresh", b"lasting")
    with pytest.raises(
        ArtifactRemoved, match=f"{old}.*expired at 2026-06-01.*kept until 2026-05-31"
    ):
        read(store, old)
    reason = f"kept until {YESTERDAY.isoformat()}"
    assert stones(store) == [(old, 0, "expired", reason, "a test")]
    assert run(store).expired == 0


def test_a_dry_run_changes_nothing_and_tells_what_would_go(store: Store) -> None:
    old = put(store, OLD, YESTERDAY)
    assert (run(store, dry_run=True).expired, stones(store)) == (1, [])
    assert read(store, old) == OLD


@pytest.mark.parametrize(
    "kind", ["settings", "a rug model", "settings of a caller", "name", "dataset"]
)
def test_what_something_lasting_refers_to_stays_whatever_date_it_has(
    store: Store, kind: str
) -> None:
    address = put(store, OLD, YESTERDAY, alias="of a name" if kind == "name" else None)
    if kind == "settings of a caller":
        with TradeTrackingSystem(store=store) as tracker:
            tracker.create_candidate("TOKEN/USDT", "v1", 0.5, address, "me")
    elif kind == "settings":
        with store.database.connect() as connection:
            _session(connection, address)
    elif kind == "a rug model":
        with store.database.connect() as connection:
            named = orjson.dumps({"rug_risk_model": address})
            record_settings(connection, store.artifacts, named)
    elif kind == "dataset":
        _dataset(store, address)
    assert run(store).needed == [address]
    assert read(store, address) == OLD
    with pytest.raises(BadConfig, match=f"{address}.*refers to it"):
        erase(store.database, store.artifacts, MarketClock(micros(NOW)), address,
              reason="wanted", by="me")  # fmt: skip


def _session(connection: psycopg.Connection, params: str) -> None:
    from trade_pipeline.core.ledger.append import append_now
    from trade_pipeline.core.ledger.chain import Chain
    from trade_pipeline.core.records import Session

    append_now(connection, Chain("s"), Session("s", "manual", "manual", "1", params_ptr=params))


def _dataset(store: Store, address: str) -> None:
    # Whatever else a dataset says: it names the artifact.
    with store.database.connect() as connection:
        content = '{"preparation":"' + address + '"}'
        columns = connection.execute(
            "SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = 'trade' AND table_name = 'datasets' AND is_nullable = 'NO' "
            "AND column_default IS NULL AND is_generated = 'NEVER'"
        ).fetchall()
        given = {"content": content, "chain_hash": bytes(32), "chain_seq": 0, "chain_id": "d"}
        plain = {"text": "x", "bigint": 1, "integer": 1, "timestamp with time zone": NOW}
        values = {name: given.get(name, plain.get(kind)) for name, kind in columns}
        marks = ", ".join(
            "sha256(convert_to(%s, 'UTF8'))" if name == "content_hash" else "%s" for name in values
        )
        values["content_hash"] = content
        connection.execute(
            f"INSERT INTO trade.datasets ({', '.join(values)}) VALUES ({marks})".encode(),
            list(values.values()),
        )


def test_a_run_that_is_killed_before_the_bytes_went_is_completed_by_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [put(store, b"%d" % number, YESTERDAY) for number in range(5)]
    monkeypatch.setattr(retention, "BATCH", 2)
    remove, left = ArtifactStore.remove, 3

    def killed(self: ArtifactStore, address: str) -> bool:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return remove(self, address)

    with monkeypatch.context() as patched:
        patched.setattr(ArtifactStore, "remove", killed)
        with pytest.raises(Killed):
            run(store)
    assert len(stones(store)) == 4
    done = run(store)
    assert (done.finished, done.expired, len(stones(store))) == (1, 1, 5)
    for address in addresses:
        with pytest.raises(FileNotFoundError):
            store.artifacts.get(address)


def test_bytes_that_come_again_live_again_and_can_go_again(store: Store) -> None:
    old = put(store, OLD, YESTERDAY)
    run(store)
    later = TOMORROW + timedelta(days=300)
    assert put(store, OLD, later) == old
    assert (run(store).expired, read(store, old)) == (0, OLD)
    assert run(store, later).expired == 1
    assert [(address, removal) for address, removal, *_ in stones(store)] == [(old, 0), (old, 1)]
    with pytest.raises(ArtifactRemoved):
        read(store, old)


def test_an_answer_that_is_fetched_again_is_kept_a_year_from_then(store: Store) -> None:
    old = put(store, OLD, YESTERDAY)
    put(store, OLD, TOMORROW + timedelta(days=30))
    assert (run(store).expired, read(store, old)) == (0, OLD)


def test_what_lasts_is_not_made_to_end_by_an_answer_with_the_same_bytes(store: Store) -> None:
    lasting = put(store, OLD, None)
    put(store, OLD, YESTERDAY)
    assert (run(store).expired, read(store, lasting)) == (0, OLD)


def test_an_answer_that_lasts_from_now_on_does_not_go(store: Store) -> None:
    old = put(store, OLD, YESTERDAY)
    put(store, OLD, None)
    assert (run(store).expired, read(store, old)) == (0, OLD)


def test_one_that_is_stored_again_while_it_is_being_removed_is_there_afterwards(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from threading import Thread

    old = put(store, OLD, YESTERDAY)
    writer = Thread(target=put, args=(store, OLD, TOMORROW + timedelta(days=300)))
    remove = ArtifactStore.remove

    def slow(self: ArtifactStore, address: str) -> bool:
        writer.start()
        writer.join(0.3)
        return remove(self, address)

    monkeypatch.setattr(ArtifactStore, "remove", slow)
    run(store)
    writer.join(10)
    assert read(store, old) == OLD


def test_an_answer_can_be_erased_with_a_reason_and_only_once(store: Store) -> None:
    clock = MarketClock(micros(NOW))
    answer = put(store, b"somebody's name", TOMORROW)

    def erased(address: str, reason: str = "a name slipped in") -> None:
        erase(store.database, store.artifacts, clock, address, reason=reason, by="me")

    erased(answer)
    assert stones(store) == [(answer, 0, "erased", "a name slipped in", "me")]
    with pytest.raises(ArtifactRemoved, match=r"erased at .*: a name slipped in"):
        read(store, answer)
    with pytest.raises(BadConfig, match="was removed at 2026-06-01"):
        erased(answer)
    with pytest.raises(BadConfig, match="no such artifact"):
        erased(address_of(b"never stored"))
    with pytest.raises(InvalidRecord, match="address"):
        erased("answer-1")
    other = put(store, b"another", TOMORROW)
    with pytest.raises(InvalidRecord, match="reason"):
        erased(other, reason="")


def test_a_tombstone_cannot_be_changed_by_the_program(store: Store) -> None:
    put(store, OLD, YESTERDAY)
    run(store)
    with (
        store.database.connect() as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("DELETE FROM trade.artifact_tombstones")


def test_records_keep_the_address_of_an_answer_that_is_gone(store: Store) -> None:
    answer = put(store, OLD, YESTERDAY)

    def research(uuid: UUID) -> ResearchDocument:
        return ResearchDocument(
            uuid=uuid, contract_address=None, initial_market_cap=None,
            rugpull_heuristic_scores={}, social_sentiment_scores={}, trade_rationale="because",
            raw_answers=[answer],
        )  # fmt: skip

    with TradeTrackingSystem(store=store) as tracker:
        made = tracker.create_candidate("T/USDT", "v1", 0.5, "p", "me", research=research)
        run(store)
        stored = tracker.get_complete_trade_record(made.uuid)
    assert stored["research"]["raw_answers"] == [answer]
