"""A stored backtest is computed again, and whatever is not the same is named."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any
from unittest import mock
from uuid import UUID, uuid4

import pytest

from trade_pipeline.core.errors import UnknownTrade
from trade_pipeline.core.ledger.journal import Journal
from trade_pipeline.core.records import TradeCandidate
from trade_pipeline.core.replay import SessionReplay, replay_all, replay_session, replay_trade
from trade_pipeline.core.replay.difference import first_difference
from trade_pipeline.core.replay.markets import Markets, NotAtHand
from trade_pipeline.core.session import backtest
from trade_pipeline.core.session.version import code_version
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy import confidence
from trade_pipeline.core.strategy.traffic import Traffic
from trade_pipeline.core.training.registry import read_model, record_model
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.replay.tampering import forge, remove, superuser
from trade_pipeline_tests.core.session import stored
from trade_pipeline_tests.core.session.test_canary_traffic import canary, trained
from trade_pipeline_tests.core.training.strong import Strong

DAYS = 1.5
Row = dict[str, Any]


@pytest.fixture(scope="module")
def template(server: EmbeddedPostgres, artifacts: ArtifactStore) -> tuple[str, str]:
    """The name of a database with a stored session, and the session's id."""
    with create_database(server, name="replayed") as database:
        session = stored.run(database, artifacts, days=DAYS).session
    return "replayed", session.session_id


@pytest.fixture(scope="module")
def untouched(
    server: EmbeddedPostgres, template: tuple[str, str], artifacts: ArtifactStore
) -> Iterator[Store]:
    with create_database(server, template[0]) as database:
        yield Store(database, artifacts)


@pytest.fixture
def store(
    server: EmbeddedPostgres, template: tuple[str, str], artifacts: ArtifactStore
) -> Iterator[Store]:
    with create_database(server, template[0]) as database:
        yield Store(database, artifacts)


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    with store.database.connect("trade_reader") as connection:
        return connection.execute(query.encode()).fetchall()


def closed_trade(store: Store, number: int = 1) -> tuple[UUID, int]:
    """One that was entered and closed, and its candidate's place in the chain."""
    (uuid, seq) = rows(
        store,
        "SELECT uuid, c.chain_seq FROM trade.candidates c JOIN trade.outcomes o USING (uuid) "
        "WHERE o.kind = 'realised' ORDER BY c.chain_seq",
    )[number]
    return uuid, seq


def whole(store: Store) -> SessionReplay:
    (session_id,) = rows(store, "SELECT session_id FROM trade.sessions")[0]
    (found,) = replay_session(store, session_id).sessions
    return found


def test_every_trade_of_a_session_is_the_same_bit_for_bit_also_the_skipped_ones(
    untouched: Store,
) -> None:
    count = "SELECT decision, count(*) FROM trade.candidates GROUP BY 1"
    decided = dict(rows(untouched, count))
    records = rows(untouched, "SELECT max(chain_seq) + 1 FROM trade.chain_heads")
    found = whole(untouched)
    assert (found.source, found.found, found.different) == ("market", 0, 0)
    assert found.identical == found.trades == sum(decided.values())
    assert min(decided["enter"], decided["skip"]) > 5
    assert [(found.records,)] == records
    assert found.code_text is None


def test_one_trade_is_the_same_whether_it_was_entered_or_skipped(untouched: Store) -> None:
    skipped = "SELECT uuid, chain_seq FROM trade.candidates WHERE decision = 'skip' LIMIT 1"
    for uuid, seq in (closed_trade(untouched), *rows(untouched, skipped)):
        replay = replay_trade(untouched, uuid)
        (found,) = replay.sessions
        assert (found.trades, found.identical, found.before) == (1, 1, None)
        # No more is computed than what the trade needs.
        assert seq < found.records < whole(untouched).records
        assert not replay.differs


def test_a_replay_changes_nothing(untouched: Store) -> None:
    before = rows(untouched, "SELECT * FROM trade.chain_heads")
    replay_all(untouched)
    assert rows(untouched, "SELECT * FROM trade.chain_heads") == before


def assigned(name: str, value: Any) -> Callable[[Row], None]:
    return lambda content: content.__setitem__(name, value)


def first_of_vector(content: Row) -> None:
    content["vector"][3] = 0.25


FORGED = [
    ("candidates", 0, assigned("confidence", 0.875), {}, "confidence", 0.875),
    ("candidates", 0, assigned("reason", "rug_risk"), {}, "reason", "rug_risk"),
    ("candidates", 0, None, {"stake_usd": 1.25}, "column stake_usd", 1.25),
    ("research_docs", 1, lambda c: c["market"].update(return_1h=9.5), {}, "market.return_1h", 9.5),
    ("research_docs", 1, assigned("rug_risk", -0.0), {}, "rug_risk", -0.0),
    ("feature_rows", 2, first_of_vector, {}, "vector.return_72h", 0.25),
    ("executions", 3, assigned("value_usd", 777.0), {}, "value_usd", 777.0),
]


@pytest.mark.parametrize("case", FORGED, ids=lambda case: f"{case[0]} {case[4]}")
def test_a_forged_record_is_named_with_its_field_and_both_values(
    server: EmbeddedPostgres, store: Store, case: Any
) -> None:
    table, place, change, columns, field, value = case
    uuid, seq = closed_trade(store)
    forge(server, store, table, seq + place, change, **columns)
    found = whole(store)
    (difference,) = found.differences
    assert (difference.uuid, difference.record, difference.field) == (str(uuid), table, field)
    assert repr(difference.stored) == repr(value)
    assert difference.computed not in (value, "(absent)") or value == 0
    assert f"stored {value!r}, computed" in difference.text
    assert (found.different, found.identical) == (1, found.trades - 1)
    assert any("the record or a library changed" in note for note in found.notes)
    (alone,) = replay_trade(store, uuid).sessions
    assert alone.differences == (difference,)


def test_an_outcome_that_was_forged_or_removed_is_named(
    server: EmbeddedPostgres, store: Store
) -> None:
    where = "SELECT uuid, chain_seq FROM trade.outcomes ORDER BY chain_seq"
    (forged, seq), (removed, gone) = rows(store, where)[:2]
    forge(server, store, "outcomes", seq, assigned("pnl_usd", 12.5), pnl_usd=12.5)
    remove(server, store, "outcomes", gone)
    found = {one.uuid: one for one in whole(store).differences}
    assert found.keys() == {str(forged), str(removed)}
    assert (found[str(forged)].field, found[str(forged)].stored) == ("pnl_usd", 12.5)
    assert "was computed and is not stored" in found[str(removed)].text
    (alone,) = replay_trade(store, removed).sessions
    assert alone.different == 1


def test_a_candidate_that_was_moved_to_another_token_is_found_where_it_stood(
    server: EmbeddedPostgres, store: Store
) -> None:
    _, seq = closed_trade(store)
    forge(server, store, "candidates", seq, assigned("instrument", "else"), instrument="else")
    (difference,) = whole(store).differences
    assert (difference.field, difference.stored) == ("instrument", "else")


def test_a_trade_is_told_what_differed_before_it(server: EmbeddedPostgres, store: Store) -> None:
    first, seq = closed_trade(store, 0)
    later, _ = closed_trade(store, 3)
    forge(server, store, "candidates", seq, assigned("confidence", 0.5))
    (found,) = replay_trade(store, later).sessions
    assert (found.identical, found.found) == (1, 0)
    assert found.before is not None
    assert found.before.uuid == str(first)


def test_what_differs_after_a_trade_began_is_not_told_as_before_it(
    server: EmbeddedPostgres, store: Store
) -> None:
    trade, seq = closed_trade(store, 0)
    ((during,),) = rows(
        store, f"SELECT min(chain_seq) FROM trade.candidates WHERE chain_seq > {seq}"
    )
    for place in (seq, during):
        forge(server, store, "candidates", place, assigned("confidence", 0.5))
    (found,) = replay_trade(store, trade).sessions
    assert (found.different, found.found, found.before) == (1, 1, None)


def test_what_was_added_to_the_end_of_a_chain_is_named(
    server: EmbeddedPostgres, store: Store
) -> None:
    with superuser(server, store) as connection:
        connection.execute(
            "INSERT INTO trade.scans SELECT chain_id, (SELECT chain_seq + 1 FROM "
            "trade.chain_heads), content, content_hash, chain_hash, recorded_at, session_id, "
            "slot + interval '100 days', evaluated, passed FROM trade.scans LIMIT 1"
        )
    (difference,) = whole(store).differences
    assert difference.record == "scans"
    assert "is stored and was not computed" in difference.text


@pytest.mark.parametrize(
    ("one", "other"), [(0.0, -0.0), (1, 1.0), (True, 1), (None, 0.0), ([1.0], [1.0, 2.0])]
)
def test_values_that_only_seem_the_same_differ(one: Any, other: Any) -> None:
    contents = {"confidence": one, "uuid": 1}, {"confidence": other, "uuid": 2}
    found = first_difference(TradeCandidate, *contents)
    assert found is not None
    assert found.field.startswith("confidence")
    assert first_difference(TradeCandidate, contents[0], contents[0]) is None


def test_the_end_of_a_chain_that_was_cut_off_is_missed(
    server: EmbeddedPostgres, store: Store
) -> None:
    ((seq,),) = rows(store, "SELECT chain_seq FROM trade.session_ends")
    remove(server, store, "session_ends", seq)
    found = whole(store)
    assert [one.record for one in found.differences] == ["session_ends"]
    assert found.identical == found.trades


def test_a_session_that_was_stopped_on_its_way_is_compared_as_far_as_it_came(
    server: EmbeddedPostgres, artifacts: ArtifactStore
) -> None:
    class Stopped(Exception):
        pass

    def stop(events: int, at: int) -> None:
        raise Stopped

    journal = functools.partial(Journal, flush_rows=200)
    with create_database(server) as database:
        with mock.patch.object(backtest, "Journal", journal), pytest.raises(Stopped):
            stored.run(database, artifacts, days=DAYS, progress=stop)
        store = Store(database, artifacts)
        ((count,),) = rows(store, "SELECT chain_seq + 1 FROM trade.chain_heads")
        found = whole(store)
    assert found.found == 0
    assert found.records == count > 100
    assert found.identical == found.trades > 10
    assert any("stopped on its way" in note for note in found.notes)


def stored_by(code: str, server: EmbeddedPostgres, artifacts: ArtifactStore) -> Any:
    """A database with a session that other code stored."""
    database = create_database(server)
    with mock.patch.object(backtest, "code_version", return_value=code):
        stored.run(database, artifacts, days=DAYS)
    return database


def test_other_code_that_decides_the_same_is_said_to(
    server: EmbeddedPostgres, artifacts: ArtifactStore
) -> None:
    with stored_by("0123456789abcdef", server, artifacts) as database:
        found = whole(Store(database, artifacts))
    assert found.identical == found.trades > 0
    here = code_version()
    assert found.code_text == f"code changed since (0123456789abcdef -> {here}), result the same"


def test_other_code_that_changed_the_result_is_named_with_what_it_changed_first(
    server: EmbeddedPostgres, artifacts: ArtifactStore
) -> None:
    with (
        stored_by("0123456789abcdef", server, artifacts) as database,
        mock.patch.object(confidence, "_BIAS", 0.36),
    ):
        store = Store(database, artifacts)
        found = whole(store)
        ((first,),) = rows(store, "SELECT uuid FROM trade.candidates WHERE decision_no = 0")
    assert found.different > 0.9 * found.trades
    difference = found.differences[0]
    assert difference.uuid == str(first)
    # What the rest follows from.
    assert (difference.record, difference.field) == ("feature_rows", "vector.heuristic_confidence")
    assert difference.why is not None
    assert f"stored by code 0123456789abcdef, replayed by code {code_version()}" in difference.why
    assert found.code_text is not None
    assert "the result is not the same" in found.code_text


def test_a_session_with_a_model_and_a_canary_is_computed_with_their_stored_bytes(
    fresh_strong_store: Store, strong: Strong
) -> None:
    store = fresh_strong_store
    with store.database.connect() as connection:
        like = asdict(read_model(connection, strong.model))
        given = {k: v for k, v in like.items() if k not in ("model_version", "artifact")}
        model, other = (
            record_model(
                connection, store.artifacts, one.to_bytes(), **given | {"name": name}
            ).model_version
            for name, one in (("old", trained("recent_win_rate", 0.3)), ("new", canary()))
        )
    strategy = stored.CONFIG.strategy.model_copy(update={"small_fund_usd": 4_000.0})
    config = stored.CONFIG.model_copy(
        update={"strategy": strategy, "model": model, "canary": Traffic(model=other, share=0.5)}
    )
    run = stored.run(store.database, store.artifacts, config=config, days=DAYS)
    # Their scores also follow from the stored vectors, in which the strategy's own records are.
    with mock.patch.object(Markets, "of", side_effect=NotAtHand("gone")):
        (found,) = replay_session(store, run.session.session_id).sessions
    assert (found.source, found.in_part, found.found) == ("records", found.trades, 0)
    assert not any("score" in what for what in found.uncomputed)
    (found,) = replay_session(store, run.session.session_id).sessions
    assert (found.source, found.identical) == ("market", found.trades)
    by_arm = dict(
        rows(
            store,
            "SELECT arm, count(*) FROM trade.candidates "
            f"WHERE session_id = '{run.session.session_id}' GROUP BY arm",
        )
    )
    assert min(by_arm["production"], by_arm["canary"]) > 5


def test_an_unknown_trade_is_refused(untouched: Store) -> None:
    unknown = uuid4()
    with pytest.raises(UnknownTrade, match=str(unknown)):
        replay_trade(untouched, unknown)
