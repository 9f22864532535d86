"""From any stored object up to what it was made from, and down to what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest

from trade_pipeline.core.canary.cycle import deploy_canary, look_at_canary
from trade_pipeline.core.canary.deployments import promote, roll_back_production, rollback
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.errors import BadConfig, InvalidRecord, UnknownTrade
from trade_pipeline.core.ids import micros, trade_uuid
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.lineage.graph import Direction, Kind, Lineage, Relation
from trade_pipeline.core.lineage.walk import lineage
from trade_pipeline.core.monitoring.record import MonitoringReport
from trade_pipeline.core.records import TerminationReason
from trade_pipeline.core.store.artifacts import ArtifactStore, record_artifact
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.canary import eligible
from trade_pipeline_tests.core.training.strong import MARKET, Strong, store_later_session

SCOPE = Scope(MARKET)
UP, DOWN = Direction.UP, Direction.DOWN


@dataclass(frozen=True, slots=True)
class Promoted:
    """A store in which a canary was promoted on the evidence of the session ``later``."""

    store: Store
    dataset: str
    model: str
    learned: str  # a trade of the dataset
    evidence: str  # a trade that the canary was measured with
    outside: dict[str, str]  # some that it was not measured with, by why


@pytest.fixture(scope="module")
def promoted(server: EmbeddedPostgres, strong: Strong) -> Iterator[Promoted]:
    with create_database(server, "strong") as database:
        store = Store(database, ArtifactStore(strong.artifacts))
        deploy_canary(store, strong.model, SCOPE, by="ann", reason="tried")
        store_later_session(store, 14, "later", canary=strong.model)
        assert look_at_canary(store, SCOPE, by="sensor").promoted
        with database.connect() as connection:
            # Beside the same canary, but each in one thing outside of what the look compared.
            outside = {
                when: samples.candidate(
                    number,
                    "outside",
                    uuid=trade_uuid("outside", "PEPE/USDT", number, micros(at)),
                    decided_at=at,
                    canary_version=strong.model,
                    canary={"production_model": production},
                )
                for number, (when, at, production) in enumerate(
                    (
                        ("before the canary", datetime(2021, 5, 1, tzinfo=UTC), HEURISTIC_VERSION),
                        ("after the look", datetime(2021, 7, 1, tzinfo=UTC), HEURISTIC_VERSION),
                        ("beside another model", datetime(2021, 6, 9, tzinfo=UTC), "another"),
                    )
                )
            }
            session = samples.session("outside", market=MARKET)
            append_bulk(connection, "outside", [session, *outside.values()])
        with database.connect("trade_reader") as connection:
            (learned,) = read(
                connection, "SELECT uuid FROM trade.dataset_members WHERE split = 'test' LIMIT 1"
            )
            (evidence,) = read(
                connection, "SELECT uuid FROM trade.candidates WHERE session_id = 'later' LIMIT 1"
            )
        others = {when: str(one.uuid) for when, one in outside.items()}
        yield Promoted(store, strong.dataset, strong.model, str(learned), str(evidence), others)


@pytest.fixture
def reader(promoted: Promoted) -> Iterator[psycopg.Connection]:
    with promoted.store.database.connect("trade_reader") as connection:
        yield connection


def read(connection: psycopg.Connection, query: str) -> tuple[object, ...]:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row


def kinds(found: Lineage) -> Counter[str]:
    return Counter(node.kind.value for node in found.nodes.values())


def relations(found: Lineage) -> set[tuple[str, str, str]]:
    """(kind of the derived, relation, kind of the source) of every edge."""
    return {
        (found.nodes[e.derived].kind.value, e.relation.value, found.nodes[e.source].kind.value)
        for e in found.edges
    }


def test_a_trade_leads_down_to_its_features_the_dataset_the_model_and_what_rests_on_it(
    reader: psycopg.Connection, promoted: Promoted
) -> None:
    found = lineage(reader, Kind.TRADE, promoted.learned, DOWN)
    assert relations(found) == {
        ("feature_row", "features of", "trade"),
        ("dataset", "holds", "trade"),
        ("model", "trained on", "dataset"),
        ("evaluation", "judges", "model"),
        ("deployment", "deploys", "model"),
        ("canary_evaluation", "looked at", "deployment"),
        ("deployment", "rests on", "canary_evaluation"),
    }
    (held,) = (edge for edge in found.edges if edge.relation is Relation.HOLDS)
    assert held.facts == {"split": "test"}
    assert [n.facts["stage"] for n in found.of(Kind.DEPLOYMENT)] == ["canary", "production"]
    (gates,) = found.of(Kind.EVALUATION)
    assert gates.facts["passed"]
    assert gates.facts["gates"]["enough_data"] is True


def test_a_trade_of_a_canary_s_time_leads_down_to_the_promotion_that_it_was_evidence_for(
    reader: psycopg.Connection, promoted: Promoted
) -> None:
    found = lineage(reader, Kind.TRADE, promoted.evidence, DOWN)
    (look,) = found.of(Kind.CANARY_EVALUATION)
    assert look.facts["decision"] == "promote"
    assert ("canary_evaluation", "evidence", "trade") in relations(found)
    (production,) = found.of(Kind.DEPLOYMENT)
    assert (production.facts["stage"], production.facts["evaluation"]) == ("production", look.id)
    # It was decided after the dataset was made.
    assert not found.of(Kind.DATASET)


@pytest.mark.parametrize("when", ["before the canary", "after the look", "beside another model"])
def test_a_trade_that_a_look_did_not_compare_is_no_evidence(
    reader: psycopg.Connection, promoted: Promoted, when: str
) -> None:
    found = lineage(reader, Kind.TRADE, promoted.outside[when], DOWN)
    assert list(found.nodes) == [found.root]


def test_a_trade_leads_up_to_its_session_its_market_its_settings_and_both_models(
    reader: psycopg.Connection, promoted: Promoted
) -> None:
    found = lineage(reader, Kind.TRADE, promoted.evidence, UP)
    assert relations(found) == {
        ("trade", "decided in", "session"),
        ("session", "read", "market"),
        ("session", "set by", "params"),
        ("trade", "set by", "params"),
        ("trade", "decided by", "model"),
        ("trade", "compared with", "model"),
        ("model", "trained on", "dataset"),
        ("dataset", "holds", "trades"),
        ("model", "stored as", "artifact"),
    }
    (learned,) = found.of(Kind.TRADES)
    (counts,) = read(reader, "SELECT content::json -> 'counts' FROM trade.datasets")
    assert isinstance(counts, dict)
    splits = {name: counts[name] for name in ("train", "validation", "test")}
    assert learned.facts["by_split"] == splits
    assert learned.facts["trades"] == sum(splits.values())


def test_a_deployment_leads_up_to_its_proofs_and_to_every_decision_that_they_rest_on(
    reader: psycopg.Connection, promoted: Promoted
) -> None:
    (number,) = read(reader, "SELECT max(deployment_id) FROM trade.deployments")
    found = lineage(reader, Kind.DEPLOYMENT, str(number), UP)
    assert {
        ("deployment", "rests on", "evaluation"),
        ("deployment", "rests on", "canary_evaluation"),
        ("canary_evaluation", "looked at", "deployment"),
        ("canary_evaluation", "evidence", "trades"),
        ("deployment", "deploys", "model"),
        ("model", "trained on", "dataset"),
    } <= relations(found)
    (seen,) = [node for node in found.of(Kind.TRADES) if "canary_evaluation" in node.id]
    (decided,) = read(reader, "SELECT count(*) FROM trade.candidates WHERE session_id = 'later'")
    assert seen.facts["by_session"] == {"later": decided}


def test_the_trades_of_a_dataset_are_summarised_and_listed_only_when_asked_for(
    reader: psycopg.Connection, promoted: Promoted
) -> None:
    found = lineage(reader, Kind.DATASET, promoted.dataset, UP)
    (held,) = found.of(Kind.TRADES)
    rows = reader.execute("SELECT uuid::text, split FROM trade.dataset_members ORDER BY uuid")
    members = dict(rows.fetchall())
    assert held.members is None
    assert held.facts["trades"] == len(members)
    assert held.facts["by_split"] == Counter(members.values())
    assert held.facts["by_session"] == {"strong": len(members)}
    assert held.facts["by_outcome"] == {"shadow max_hold": len(members)}
    assert held.facts["first"] < held.facts["last"]
    assert ("trades", "decided in", "session") in relations(found)

    listed = lineage(reader, Kind.DATASET, promoted.dataset, UP, members=True)
    assert listed.of(Kind.TRADES)[0].members == list(members)


def test_a_realised_outcome_and_its_newest_revision_count_in_a_summary(
    fresh_database: Database,
) -> None:
    with fresh_database.connect() as connection:
        one, two = samples.candidate(0), samples.candidate(1, decision="skip")
        shadow = samples.outcome(
            one.uuid, kind="shadow", termination_reason=TerminationReason.MAX_HOLD
        )
        first, second = (
            samples.outcome(one.uuid, revision=n, termination_reason=TerminationReason(reason))
            for n, reason in enumerate(("stop_loss", "manual"))
        )
        append_bulk(
            connection,
            "s",
            [samples.session(), one, two, samples.fill(one.uuid), shadow, first, second],
        )
        found = lineage(connection, Kind.SESSION, "s", DOWN)
    (decided,) = found.of(Kind.TRADES)
    assert decided.facts["by_outcome"] == {"realised manual": 1, "open": 1}
    assert decided.facts["by_decision"] == {"enter": 1, "skip": 1}


def test_a_dataset_and_a_session_lead_down_to_the_same_deployments(
    reader: psycopg.Connection, promoted: Promoted
) -> None:
    below = [
        {node.id for node in lineage(reader, kind, name, DOWN).of(Kind.DEPLOYMENT)}
        for kind, name in (
            (Kind.DATASET, promoted.dataset),
            (Kind.SESSION, "strong"),
            (Kind.MODEL, promoted.model),
        )
    ]
    assert below[0] == below[1] == below[2] != set()
    (look,) = lineage(reader, Kind.SESSION, "later", DOWN).of(Kind.CANARY_EVALUATION)
    assert look.facts["decision"] == "promote"


def test_a_session_leads_up_to_its_market_its_settings_and_what_decided_in_it(
    reader: psycopg.Connection, promoted: Promoted
) -> None:
    found = lineage(reader, Kind.SESSION, "strong", UP)
    assert kinds(found) == {"session": 1, "market": 1, "params": 1, "model": 1}
    (model,) = found.of(Kind.MODEL)
    assert model.facts == {"registered": False}


def test_names_do_as_well_as_versions(reader: psycopg.Connection, promoted: Promoted) -> None:
    for kind, version in ((Kind.DATASET, promoted.dataset), (Kind.MODEL, promoted.model)):
        whole = lineage(reader, kind, version, UP)
        name = whole.nodes[whole.root].name
        assert name is not None
        assert name.startswith("strong-")
        assert lineage(reader, kind, name, UP).to_dict() == whole.to_dict()


@pytest.mark.parametrize(
    ("kind", "name", "error", "message"),
    [
        (Kind.TRADE, "0190-short", InvalidRecord, "uuid='0190-short': expected a UUID"),
        (Kind.TRADE, str(uuid4()), UnknownTrade, "no candidate is stored"),
        (Kind.DATASET, "strong", BadConfig, "dataset='strong': none is stored; .*datasets list"),
        (Kind.MODEL, "sha256:0", BadConfig, "model='sha256:0': none is stored; .*models list"),
        (Kind.DEPLOYMENT, "99", BadConfig, "deployment='99': none is stored; .*models history"),
        (Kind.DEPLOYMENT, "9" * 30, BadConfig, "expected a number"),
        (Kind.DEPLOYMENT, "one", BadConfig, "deployment='one': expected a number"),
        (Kind.SESSION, "stron", BadConfig, "session='stron': none is stored"),
        (Kind.MARKET, "simulated", BadConfig, "kind='market': expected one of trade, dataset"),
    ],
)
def test_what_is_not_stored_is_named_with_its_kind_and_what_to_do(
    reader: psycopg.Connection, kind: Kind, name: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        lineage(reader, kind, name, UP)


def test_a_trade_leads_up_to_its_raw_answers_also_to_one_that_is_not_stored(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    with fresh_database.connect() as connection:
        answer = record_artifact(connection, artifacts, b"[1]", media_type="application/json")
        one = samples.candidate(0)
        told = samples.research(one.uuid, raw_answers=[answer, samples.ADDRESS])
        append_bulk(connection, "s", [samples.session(), one, told])
        found = lineage(connection, Kind.TRADE, str(one.uuid), UP)
    stored, missing = found.of(Kind.ARTIFACT)
    assert (stored.id, stored.facts["size_bytes"]) == (answer, 3)
    assert missing.facts == {"stored": False}


def test_a_rollback_leads_up_to_what_it_restores_and_its_report_and_both_lead_down_to_it(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    scope = Scope(eligible.MARKET, "pools", "paper")
    now = datetime(2026, 5, 1, tzinfo=UTC)
    who = {"by": "monitor", "reason": "drifted"}
    with fresh_database.connect() as connection:
        eligible.store_decisions(connection)
        models = [eligible.store_model(connection, artifacts, number) for number in (1, 2)]
        first, second = (
            promote(connection, scope, model, override="a person", **who) for model in models
        )
        report = MonitoringReport(
            "report", models[1], "model2", scope.market, scope.venue, scope.account,
            second.deployment_id, None, now, now, True, True, 1.0, [], [], {}, [],
        )  # fmt: skip
        append_bulk(connection, "monitoring", [report])
        back = roll_back_production(
            connection, scope, second, report_id="report", fund_share=1.0, evidence={}, **who
        )
        up = lineage(connection, Kind.DEPLOYMENT, str(back.deployment_id), UP)
        below_first, below_second = (
            lineage(connection, Kind.DEPLOYMENT, str(one.deployment_id), DOWN)
            for one in (first, second)
        )
    assert {
        ("deployment", "restores", "deployment"),
        ("deployment", "rests on", "monitoring_report"),
        ("monitoring_report", "looked at", "deployment"),
    } <= relations(up)
    assert {node.id for node in up.of(Kind.DEPLOYMENT)} == {
        str(one.deployment_id) for one in (first, second, back)
    }
    for below in (below_first, below_second):
        assert str(back.deployment_id) in {node.id for node in below.of(Kind.DEPLOYMENT)}
    assert not below_first.of(Kind.MONITORING_REPORT)
    assert below_second.of(Kind.MONITORING_REPORT)


@pytest.mark.parametrize(("deployment", "decided"), [("first", 1), ("second", 2), ("retired", 0)])
def test_what_was_decided_under_a_deployment_ends_where_the_next_one_begins(
    fresh_database: Database, artifacts: ArtifactStore, deployment: str, decided: int
) -> None:
    scope = Scope(eligible.MARKET, "pools", "paper")
    who = {"by": "ann", "reason": "because"}
    with fresh_database.connect(autocommit=True) as connection:
        eligible.store_decisions(connection)
        models = [eligible.store_model(connection, artifacts, number) for number in (1, 2)]
        session = samples.session("paper", mode="paper", market=eligible.MARKET)
        append_bulk(connection, "paper", [session])

        def decide(number: int, model: str, arm: str = "production") -> None:
            made = samples.candidate(number, "paper", model_version=model, arm=arm)
            append_bulk(connection, "paper", [made])

        numbers = {}
        for place, name in enumerate(("first", "second")):
            put = promote(connection, scope, models[place], override="a person", **who)
            numbers[name] = put.deployment_id
            for number in range(place + 1):
                decide(10 * place + number, models[place])
        # As somebody else's canary, which no deployment here put there.
        decide(50, models[1], arm="canary")
        rollback(connection, scope, **who)
        numbers["retired"] = rollback(connection, scope, **who).deployment_id
        decide(99, models[1])
        found = lineage(connection, Kind.DEPLOYMENT, str(numbers[deployment]), DOWN)
        whole = lineage(connection, Kind.MODEL, models[1], DOWN)
    (under,) = found.of(Kind.TRADES)
    assert under.facts["trades"] == decided
    assert whole.of(Kind.TRADES)[0].facts["trades"] == 4
