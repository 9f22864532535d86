"""The newest features of tokens: bit for bit from the cache, and from PostgreSQL where it fails."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trade_pipeline.core.errors import BadConfig, StoreUnavailable
from trade_pipeline.core.features.hot import NEVER, HotFeatures, Read, read_features
from trade_pipeline.core.ids import micros, moment_of, trade_uuid
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.market.event import Floats, Ints
from trade_pipeline.core.records import FeatureRow
from trade_pipeline.core.store import valkey_server
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.valkey_server import EmbeddedValkey
from trade_pipeline_tests.core.samples import START, candidate, session
from trade_pipeline_tests.core.store.test_server import eventually

NAMES = ("return_24h", "holders", "mentions_24h")
SECOND = 1_000_000
AT = micros(START)
AGE = 600 * SECOND

_numbers = itertools.count()


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(tmp_path_factory.mktemp("cache") / "valkey") as running:
        yield running
    eventually(lambda: not running._processes.alive(), "the server is stopped")
    shutil.rmtree(running.socket_folder)


@pytest.fixture
def client(valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """A client of an empty cache, more patient than others: the machine may be busy."""
    monkeypatch.setattr(valkey_server, "_READ_SECONDS", 1.0)
    valkey.ensure_running()
    with valkey.client() as made:
        made.flushall()
        yield made


@pytest.fixture
def hot(client: redis.Redis) -> HotFeatures:
    return HotFeatures(client, "set", NAMES)


@pytest.fixture
def unreachable() -> Iterator[HotFeatures]:
    with redis.Redis(unix_socket_path="/nowhere", retry=None) as nobody:
        yield HotFeatures(nobody, "set", NAMES)


def ints(*values: int) -> Ints:
    return np.array(values, np.int64)


def vectors(*firsts: float) -> Floats:
    """A vector by its first value; the others follow from it."""
    return np.array([[first, first + 0.25, np.nan] for first in firsts]).reshape(-1, len(NAMES))


def store(
    database: Database,
    instrument: str,
    known_at: int,
    first: float,
    *,
    market: str = "simulated",
    feature_set: str = "set",
    decided_at: int | None = None,
    features: int = 3,
) -> None:
    """A candidate of a session of its own, with its feature row."""
    number = next(_numbers)
    name = f"{market}-{number}"
    decided = known_at if decided_at is None else decided_at
    uuid = trade_uuid(name, instrument, number, decided)
    made = candidate(number, name, uuid=uuid, instrument=instrument, decided_at=moment_of(decided))
    vector = vectors(first)[0, :features].tolist()
    row = FeatureRow(uuid, feature_set, moment_of(known_at), vector, "0" * 64)
    with database.connect() as connection:
        append_bulk(connection, name, [session(name, market=market), made, row])


def assert_read(
    read: Read, firsts: list[float | None], source: list[str | None], known_at: list[int]
) -> None:
    expected = np.array([[np.nan] * 3 if first is None else vectors(first)[0] for first in firsts])
    np.testing.assert_array_equal(read.vectors, expected)
    assert read.source == source
    assert read.known_at.tolist() == known_at


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.dictionaries(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        st.tuples(
            st.integers(0, 1 << 52),
            st.lists(st.integers(0, (1 << 64) - 1), min_size=3, max_size=3),
        ),
        min_size=1,
    )
)
def test_every_bit_that_was_put_is_read(
    client: redis.Redis, rows: dict[str, tuple[int, list[int]]]
) -> None:
    client.flushall()
    hot = HotFeatures(client, "set", NAMES)
    bits = np.array([row for _, row in rows.values()], np.uint64)
    known_at = ints(*(at for at, _ in rows.values()))
    assert hot.put("m", list(rows), known_at, bits.view(np.float64))
    read = hot.get("m", [*rows, "nobody\0"])
    assert read.found.tolist() == [True] * len(rows) + [False]
    assert read.vectors[:-1].view(np.uint64).tolist() == bits.tolist()
    assert read.known_at.tolist() == [*known_at.tolist(), NEVER]
    assert np.isnan(read.vectors[-1]).all()


def test_what_was_known_earlier_never_overwrites_what_was_known_later(hot: HotFeatures) -> None:
    tokens = ["a", "b", "c"]
    hot.put("m", tokens, ints(5, 5, 5), vectors(1, 2, 3))
    hot.put("m", tokens, ints(4, 5, 6), vectors(10, 20, 30))
    read = hot.get("m", tokens)
    assert read.known_at.tolist() == [5, 5, 6]
    assert read.vectors[:, 0].tolist() == [1, 20, 30]
    hot.put("m", ["a", "a"], ints(9, 8), vectors(7, 6))
    assert hot.get("m", ["a"]).vectors[0, 0] == 7


def test_writers_at_once_leave_the_newest(valkey: EmbeddedValkey, client: redis.Redis) -> None:
    def write(first: int) -> None:
        hot = HotFeatures(client, "set", NAMES)
        for known_at in range(first, 200, 4):
            assert hot.put("m", ["a"], ints(known_at), vectors(known_at))

    threads = [threading.Thread(target=write, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert HotFeatures(client, "set", NAMES).get("m", ["a"]).vectors[0, 0] == 199


def test_markets_and_feature_sets_do_not_see_each_other(
    client: redis.Redis, hot: HotFeatures
) -> None:
    hot.put("m", ["a"], ints(5), vectors(1))
    assert not hot.get("other", ["a"]).found.any()
    assert not HotFeatures(client, "other", NAMES).get("m", ["a"]).found.any()


def test_a_value_that_is_damaged_or_of_another_length_is_none_and_is_overwritten(
    client: redis.Redis, hot: HotFeatures
) -> None:
    tokens = ["a", "b", "c", "d"]
    hot.put("m", tokens, ints(9, 9, 9, 9), vectors(1, 2, 3, 4))
    keys = hot._keys("m", tokens)
    flipped = bytearray(client.get(keys[0]) or b"")
    flipped[7] ^= 0x40
    client.set(keys[0], bytes(flipped))
    client.set(keys[1], b"")
    HotFeatures(client, "set", NAMES[:2]).put("m", ["c"], ints(9), vectors(3)[:, :2])
    read = hot.get("m", tokens)
    assert read.found.tolist() == [False, False, False, True]
    assert read.damaged == 3
    # The flipped bit had made the first one's moment a far later one.
    hot.put("m", tokens, ints(9, 9, 9, 9), vectors(5, 6, 7, 8))
    assert hot.get("m", tokens).vectors[:, 0].tolist() == [5, 6, 7, 8]


def test_a_hundred_tokens_are_one_command_there_and_one_back(
    client: redis.Redis, hot: HotFeatures
) -> None:
    tokens = [f"token-{number}" for number in range(100)]
    known_at, values = np.full(100, 5), np.repeat(vectors(1), 100, axis=0)
    # The first command of a connection introduces the client.
    hot.get("m", tokens)
    client.config_resetstat()
    hot.put("m", tokens, known_at, values)
    assert hot.get("m", tokens).found.all()
    calls = {name: stats["calls"] for name, stats in client.info("commandstats").items()}
    assert (calls["cmdstat_eval"], calls["cmdstat_mget"]) == (1, 1)
    assert set(calls) == {
        "cmdstat_config|resetstat", "cmdstat_eval", "cmdstat_get", "cmdstat_set", "cmdstat_mget",
    }  # fmt: skip


def test_no_value_stays_for_ever(client: redis.Redis, hot: HotFeatures) -> None:
    hot.put("m", ["a"], ints(5), vectors(1))
    assert 0 < client.ttl(hot._keys("m", ["a"])[0]) <= timedelta(days=2).total_seconds()


def test_shapes_that_do_not_fit_are_refused(hot: HotFeatures) -> None:
    with pytest.raises(BadConfig, match="vectors: shape"):
        hot.put("m", ["a"], ints(5), vectors(1)[:, :2])
    with pytest.raises(BadConfig, match="known_at: shape"):
        hot.put("m", ["a"], ints(5, 6), vectors(1))


def test_no_tokens_are_no_question(unreachable: HotFeatures, database: Database) -> None:
    assert unreachable.put("m", [], ints(), vectors())
    read = read_features(unreachable, database, "m", [], AT, AGE)
    assert (len(read.vectors), read.source, read.notes) == (0, [], [])


def test_all_comes_from_a_cache_that_has_all(hot: HotFeatures) -> None:
    hot.put("simulated", ["a", "b"], ints(AT, AT - AGE), vectors(1, 2))
    nowhere = Database("postgresql:///?host=/nowhere", None, "", None)  # type: ignore[arg-type]
    read = read_features(hot, nowhere, "simulated", ["b", "a"], AT, AGE)
    assert_read(read, [2, 1], ["cache", "cache"], [AT - AGE, AT])
    assert read.notes == []


def test_what_the_cache_cannot_give_comes_from_postgres(
    client: redis.Redis, hot: HotFeatures, fresh_database: Database
) -> None:
    tokens = ["good", "stale", "later", "broken", "missing", "nowhere"]
    hot.put(
        "simulated",
        tokens[:4],
        ints(AT - 5, AT - AGE - 1, AT + 1, AT - 5),
        vectors(1, 2, 3, 4),
    )
    client.set(hot._keys("simulated", ["broken"])[0], b"?")
    for first, token in enumerate(tokens[:5], start=11):
        store(fresh_database, token, AT - SECOND, first)
    read = read_features(hot, fresh_database, "simulated", tokens, AT, AGE)
    assert_read(
        read,
        [1, 12, 13, 14, 15, None],
        ["cache", *["database"] * 4, None],
        [AT - 5, *[AT - SECOND] * 4, NEVER],
    )
    assert read.notes == [
        "2 not in the cache, 1 stale, 1 from later, 1 damaged: 4 of 6 tokens from PostgreSQL",
        "1 of 6 tokens are known nowhere",
    ]


def test_postgres_gives_the_newest_row_that_could_be_known_then(
    unreachable: HotFeatures, fresh_database: Database
) -> None:
    def read(token: str) -> float | None:
        found = read_features(unreachable, fresh_database, "simulated", [token], AT, AGE)
        return None if found.source == [None] else float(found.vectors[0, 0])

    store(fresh_database, "a", AT - 3, 1)
    store(fresh_database, "a", AT - 2, 2)
    store(fresh_database, "a", AT - 4, 3)
    assert read("a") == 2
    store(fresh_database, "a", AT + 1, 4)
    store(fresh_database, "a", AT - 1, 5, decided_at=AT + 1)
    store(fresh_database, "a", AT - 1, 6, market="another")
    store(fresh_database, "a", AT - 1, 7, feature_set="another")
    assert read("a") == 2
    store(fresh_database, "a", AT, 8)
    assert read("a") == 8
    store(fresh_database, "old", AT - AGE - 1, 1)
    store(fresh_database, "old", AT - AGE - 1, 1, decided_at=AT)
    assert read("old") is None
    store(fresh_database, "old", AT - AGE, 2)
    assert read("old") == 2


def test_a_row_of_another_month_is_found(
    unreachable: HotFeatures, fresh_database: Database
) -> None:
    first_of_month = micros(START.replace(day=1, hour=0))
    store(fresh_database, "a", first_of_month - SECOND, 1)
    read = read_features(unreachable, fresh_database, "simulated", ["a"], first_of_month, AGE)
    assert_read(read, [1], ["database"], [first_of_month - SECOND])


def test_stored_rows_of_another_width_are_an_error(
    unreachable: HotFeatures, fresh_database: Database
) -> None:
    store(fresh_database, "a", AT, 1, features=2)
    with pytest.raises(BadConfig, match=r"names: 3 features.* have 2"):
        read_features(unreachable, fresh_database, "simulated", ["a"], AT, AGE)


def test_without_a_cache_all_comes_from_postgres(fresh_database: Database) -> None:
    none = HotFeatures(None, "set", NAMES)
    store(fresh_database, "a", AT, 1)
    assert not none.put("simulated", ["a"], ints(AT), vectors(1))
    read = read_features(none, fresh_database, "simulated", ["a"], AT, AGE)
    assert_read(read, [1], ["database"], [AT])
    assert read.notes == ["no cache: 1 of 1 tokens from PostgreSQL"]


def test_the_database_that_is_down_too_is_an_error(unreachable: HotFeatures) -> None:
    nowhere = Database("postgresql:///?host=/nowhere", None, "", None)  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable):
        read_features(unreachable, nowhere, "simulated", ["a"], AT, AGE)


def test_a_strategy_goes_on_while_the_server_is_killed_and_started_again(
    valkey: EmbeddedValkey,
    hot: HotFeatures,
    fresh_database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "trade_pipeline.features")
    store(fresh_database, "a", AT - 1, 1)
    assert hot.put("simulated", ["a"], ints(AT), vectors(2))
    pid = valkey._processes.postmaster()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not valkey._processes.alive(), "the server is dead")

    read = read_features(hot, fresh_database, "simulated", ["a"], AT, AGE)
    assert_read(read, [1], ["database"], [AT - 1])
    assert len(read.notes) == 1
    assert read.notes[0].startswith("cache unavailable: ")
    assert read.notes[0].endswith(": 1 of 1 tokens from PostgreSQL")

    eventually(lambda: hot.put("simulated", ["a"], ints(AT), vectors(3)), "the cache is back")
    assert_read(
        read_features(hot, fresh_database, "simulated", ["a"], AT, AGE), [3], ["cache"], [AT]
    )
    assert caplog.messages == [*read.notes, "the cache is in use again"]


def test_a_server_that_hangs_is_as_good_as_none(
    valkey: EmbeddedValkey, hot: HotFeatures, fresh_database: Database
) -> None:
    store(fresh_database, "a", AT, 1)
    hot.put("simulated", ["a"], ints(AT), vectors(2))
    pid = valkey._processes.postmaster()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        assert not hot.put("simulated", ["a"], ints(AT), vectors(3))
        read = read_features(hot, fresh_database, "simulated", ["a"], AT, AGE)
        assert read.source == ["database"]
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_server_that_answers_nonsense_is_as_good_as_none(fresh_database: Database) -> None:
    store(fresh_database, "a", AT, 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for _ in range(2):
                with listener.accept()[0] as connection:
                    connection.recv(1)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with redis.Redis(
            port=listener.getsockname()[1], socket_timeout=1, retry=None, protocol=2
        ) as stranger:
            hot = HotFeatures(stranger, "set", NAMES)
            read = read_features(hot, fresh_database, "simulated", ["a"], AT, AGE)
    assert read.source == ["database"]


def test_a_change_of_state_is_logged_once_and_not_at_every_read(
    hot: HotFeatures,
    unreachable: HotFeatures,
    fresh_database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "trade_pipeline.features")

    def read(features: HotFeatures, token: str) -> None:
        read_features(features, fresh_database, "simulated", [token], AT, AGE)

    for _ in range(3):
        read(unreachable, "a")
        assert not unreachable.put("simulated", ["a"], ints(AT), vectors(1))
    # Nothing was asked, so nothing is known of the cache.
    read_features(unreachable, fresh_database, "simulated", [], AT, AGE)
    assert len(caplog.messages) == 1
    caplog.clear()

    # A token that nobody has seen, or that was not seen lately by anybody, is nothing to report.
    hot.put("simulated", ["behind", "quiet"], ints(AT - AGE - 1, AT - AGE - 1), vectors(1, 1))
    store(fresh_database, "behind", AT, 2)
    read(hot, "quiet")
    read(hot, "new")
    assert caplog.messages == []
    for _ in range(3):
        read(hot, "behind")
    hot.put("simulated", ["behind"], ints(AT), vectors(2))
    for _ in range(3):
        read(hot, "behind")
    assert caplog.messages == [
        "1 stale: 1 of 1 tokens from PostgreSQL",
        "the cache is in use again",
    ]
