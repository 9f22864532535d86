"""The history of deployments, and what the database refuses to add to it, whoever asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg.errors import CheckViolation, ForeignKeyViolation

from trade_pipeline.core.canary.deployments import (
    Active,
    NotDeployed,
    begin_canary,
    deployed,
    history,
    promote,
    record_look,
    retire_canary,
    rollback,
)
from trade_pipeline.core.canary.record import CanaryEvaluation, Deployment, Scope
from trade_pipeline.core.errors import InvalidRecord
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.canary.eligible import MARKET, store_decisions, store_model
from trade_pipeline_tests.core.samples import assert_whole_chain

NOW = datetime(2026, 5, 1, tzinfo=UTC)
SCOPE = Scope(MARKET, "pools", "paper")
WHO: dict[str, Any] = {"by": "test", "reason": "tried"}


@dataclass(frozen=True, slots=True)
class Ready:
    """A database with models.

    Attributes:
        a, b: eligible ones; ``simulated`` is one that learned from simulated trades, too.
        refused: one that is not eligible.
    """

    database: Database
    a: str
    b: str
    simulated: str
    refused: str


@pytest.fixture(scope="module")
def ready(server: EmbeddedPostgres, artifacts: ArtifactStore) -> Iterator[Ready]:
    with create_database(server) as database:
        with database.connect() as connection:
            store_decisions(connection)
            models = (
                store_model(connection, artifacts, 1),
                store_model(connection, artifacts, 2),
                store_model(connection, artifacts, 3, "recorded+simulated"),
                store_model(connection, artifacts, 4, eligible=False),
            )
        yield Ready(database, *models)


@pytest.fixture
def writer(ready: Ready) -> Iterator[psycopg.Connection]:
    """A connection as ``trade_writer``; what a test writes is taken back."""
    with ready.database.connect() as connection, connection.transaction(force_rollback=True):
        yield connection


def begin(connection: psycopg.Connection, model: str, scope: Scope = SCOPE) -> Active:
    return begin_canary(connection, scope, model, evidence={}, **WHO)


def look(canary: Active, decision: str = "promote", number: int = 0) -> CanaryEvaluation:
    return CanaryEvaluation(
        f"{canary.deployment_id} {decision} {number}", canary.model_version, canary.deployment_id,
        NOW, NOW, decision, ["a reason"], {"mean": 0.02, "blocks": 9},
    )  # fmt: skip


def earn(connection: psycopg.Connection, model: str, scope: Scope = SCOPE) -> Active:
    """Put a model into production by its time as a canary."""
    canary = begin(connection, model, scope)
    return promote(connection, scope, model, look=look(canary), **WHO)


def on_duty(connection: psycopg.Connection, scope: Scope = SCOPE) -> tuple[str | None, str | None]:
    now = deployed(connection, scope)
    return (
        now.production and now.production.model_version,
        now.canary and now.canary.model_version,
    )


def put(connection: psycopg.Connection, model: str, stage: str, **more: Any) -> None:
    """An INSERT around everything that `core.canary.deployments` would ask."""
    scope = more.pop("scope", SCOPE)
    record = Deployment(
        model, scope.market, scope.venue, scope.account, stage, more.pop("slot", stage), NOW,
        "raw", "because", **more,
    )  # fmt: skip
    append_now(connection, read_chain(connection, "raw"), record)


# The way forth and back


def test_the_history_tells_who_when_why_and_on_what_each_deployment_rests(
    writer: psycopg.Connection, ready: Ready
) -> None:
    begun = begin_canary(
        writer, SCOPE, ready.a, by="ann", reason="looks good", evidence={"power": 0.9}, override="o"
    )
    promote(writer, SCOPE, ready.a, by="sensor", reason="earned", look=look(begun))
    first, second = history(writer, SCOPE)
    assert first.deployment.evidence == {"power": 0.9, "starts_at": None}
    assert (first.deployment.deployed_by, first.deployment.override) == ("ann", "o")
    assert (second.short_name[:7], second.deployment.reason) == ("model1-", "earned")
    assert second.deployment.evidence == {"mean": 0.02, "blocks": 9, "starts_at": None}
    assert second.deployment.evaluation_id == look(begun).evaluation_id
    assert second.deployment.deployed_at.tzinfo is not None
    assert len({first.content_hash, second.content_hash}) == 2
    assert history(writer) == history(writer, SCOPE)
    assert history(writer, replace(SCOPE, venue="elsewhere")) == []
    assert assert_whole_chain(writer, f"deployments:{SCOPE}") == 2
    assert assert_whole_chain(writer, f"canary:{SCOPE}") == 1


def test_a_rollback_goes_from_model_to_model_down_to_the_heuristic(
    writer: psycopg.Connection, ready: Ready
) -> None:
    earn(writer, ready.a)
    earn(writer, ready.b)
    begin(writer, ready.a)
    for expected in ((ready.b, None), (ready.a, None), (None, None)):
        rollback(writer, SCOPE, **WHO)
        assert on_duty(writer) == expected
    with pytest.raises(NotDeployed, match="no model is deployed, the heuristic decides"):
        rollback(writer, SCOPE, **WHO)
    earn(writer, ready.b)
    rollback(writer, SCOPE, **WHO)
    assert on_duty(writer) == (None, None)


def test_what_is_deployed_in_one_scope_is_nothing_to_another(
    writer: psycopg.Connection, ready: Ready
) -> None:
    earn(writer, ready.a)
    for other in (replace(SCOPE, venue="elsewhere"), replace(SCOPE, account="live")):
        assert on_duty(writer, other) == (None, None)
        begin(writer, ready.a, other)
    assert on_duty(writer) == (ready.a, None)


def test_a_canary_ends_when_what_it_is_measured_beside_changes(
    writer: psycopg.Connection, ready: Ready
) -> None:
    begin(writer, ready.b)
    promote(writer, SCOPE, ready.a, override="at once", **WHO)
    assert on_duty(writer) == (ready.a, None)


def test_a_listener_hears_of_a_deployment_when_it_is_committed(ready: Ready) -> None:
    scope = replace(SCOPE, venue="heard")
    with (
        ready.database.connect("trade_reader", autocommit=True) as listener,
        ready.database.connect() as connection,
    ):
        listener.execute("LISTEN trade_deployments")
        connection.execute("BEGIN")
        begin(connection, ready.a, scope)
        assert list(listener.notifies(timeout=0.05)) == []
        connection.commit()
        (told,) = listener.notifies(timeout=10, stop_after=1)
    assert told.payload == str(scope)


# What the database refuses, asked by INSERT


def test_no_stage_but_the_end_is_open_to_a_model_that_is_not_eligible(
    writer: psycopg.Connection, ready: Ready
) -> None:
    for stage, more in (("canary", {}), ("production", {"override": "I know better"})):
        with pytest.raises(ForeignKeyViolation, match="eligible_models"), writer.transaction():
            put(writer, ready.refused, stage, **more)
    for raises in (
        lambda: begin(writer, ready.refused),
        lambda: promote(writer, SCOPE, ready.refused, override="I know better", **WHO),
    ):
        with pytest.raises(NotDeployed, match="is not eligible: its gates come first"):
            raises()


# Model, stage and other columns of a row that is refused after what the case did before.
Row = tuple[str, str, dict[str, Any]]
Case = Callable[[psycopg.Connection, Ready], Row]


def another_market(_: psycopg.Connection, ready: Ready) -> Row:
    return ready.a, "canary", {"scope": Scope("spot-1h")}


def another_market_by_override(_: psycopg.Connection, ready: Ready) -> Row:
    return ready.a, "production", {"scope": Scope("spot-1h"), "override": "why not"}


def simulated_canary_live(_: psycopg.Connection, ready: Ready) -> Row:
    return ready.simulated, "canary", {"scope": replace(SCOPE, account="live")}


def simulated_override_live(_: psycopg.Connection, ready: Ready) -> Row:
    live = replace(SCOPE, account="live")
    return ready.simulated, "production", {"scope": live, "override": "greed"}


def second_canary(writer: psycopg.Connection, ready: Ready) -> Row:
    begin(writer, ready.a)
    return ready.b, "canary", {}


def canary_beside_itself(writer: psycopg.Connection, ready: Ready) -> Row:
    earn(writer, ready.a)
    return ready.a, "canary", {}


def never_a_canary(_: psycopg.Connection, ready: Ready) -> Row:
    return ready.a, "production", {}


def another_is_the_canary(writer: psycopg.Connection, ready: Ready) -> Row:
    begin(writer, ready.a)
    return ready.b, "production", {}


def not_evaluated(writer: psycopg.Connection, ready: Ready) -> Row:
    begin(writer, ready.a)
    return ready.a, "production", {}


def promised(look: CanaryEvaluation) -> dict[str, Any]:
    return {"evaluation_id": look.evaluation_id, "verdict": look.decision}


def too_early(writer: psycopg.Connection, ready: Ready) -> Row:
    extend = look(begin(writer, ready.a), "extend")
    record_look(writer, SCOPE, extend)
    return ready.a, "production", promised(extend)


def no_longer(writer: psycopg.Connection, ready: Ready) -> Row:
    canary = begin(writer, ready.a)
    record_look(writer, SCOPE, look(canary))
    record_look(writer, SCOPE, look(canary, "extend"))
    return ready.a, "production", promised(look(canary))


def shown_elsewhere(writer: psycopg.Connection, ready: Ready) -> Row:
    elsewhere = replace(SCOPE, venue="elsewhere")
    shown = look(begin(writer, ready.a, elsewhere))
    record_look(writer, elsewhere, shown)
    begin(writer, ready.a)
    return ready.a, "production", promised(shown)


def shown_last_time(writer: psycopg.Connection, ready: Ready) -> Row:
    shown = look(begin(writer, ready.a))
    record_look(writer, SCOPE, shown)
    retire_canary(writer, SCOPE, **WHO)
    begin(writer, ready.a)
    return ready.a, "production", promised(shown)


def shown_and_retired(writer: psycopg.Connection, ready: Ready) -> Row:
    shown = look(begin(writer, ready.a))
    record_look(writer, SCOPE, shown)
    retire_canary(writer, SCOPE, **WHO)
    return ready.a, "production", promised(shown)


def restored_from_elsewhere(writer: psycopg.Connection, ready: Ready) -> Row:
    there = earn(writer, ready.a, replace(SCOPE, venue="elsewhere"))
    return ready.a, "production", {"restores": there.deployment_id}


def restored_canary(writer: psycopg.Connection, ready: Ready) -> Row:
    return ready.a, "production", {"restores": begin(writer, ready.a).deployment_id}


def restored_under_another_name(writer: psycopg.Connection, ready: Ready) -> Row:
    return ready.b, "production", {"restores": earn(writer, ready.a).deployment_id}


def end_of_nothing(_: psycopg.Connection, ready: Ready) -> Row:
    return ready.a, "retired", {"slot": "production"}


def end_of_another(writer: psycopg.Connection, ready: Ready) -> Row:
    begin(writer, ready.a)
    return ready.b, "retired", {"slot": "canary"}


def end_of_the_wrong_slot(writer: psycopg.Connection, ready: Ready) -> Row:
    begin(writer, ready.a)
    return ready.a, "retired", {"slot": "production"}


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (another_market, "on spot-1h/default/backtest is refused: it was learned on uniswap-v2$"),
        (another_market_by_override, "it was learned on uniswap-v2$"),
        (simulated_canary_live, "simulated trades, which is never enough for a live account$"),
        (simulated_override_live, "simulated trades, which is never enough for a live account$"),
        (second_canary, "model sha256:[0-9a-f]+ is the canary there; roll it back first$"),
        (canary_beside_itself, "it is in production there$"),
        (never_a_canary, "it is not the canary there$"),
        (another_is_the_canary, "it is not the canary there$"),
        (not_evaluated, "its newest evaluation as this canary does not say promote$"),
        (too_early, "its newest evaluation as this canary does not say promote$"),
        (no_longer, "its newest evaluation as this canary does not say promote$"),
        (shown_elsewhere, "its newest evaluation as this canary does not say promote$"),
        (shown_last_time, "its newest evaluation as this canary does not say promote$"),
        (shown_and_retired, "it is not the canary there$"),
        (restored_from_elsewhere, "deployment [0-9]+ did not put it into production there$"),
        (restored_canary, "deployment [0-9]+ did not put it into production there$"),
        (restored_under_another_name, "deployment [0-9]+ did not put it into production there$"),
        (end_of_nothing, "it is not the production there$"),
        (end_of_another, "it is not the canary there$"),
        (end_of_the_wrong_slot, "it is not the production there$"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_the_database_refuses_and_says_which_model_where_and_why(
    writer: psycopg.Connection, ready: Ready, case: Case, message: str
) -> None:
    model, stage, more = case(writer, ready)
    scope = more.get("scope", SCOPE)
    before = on_duty(writer)
    refused = f"(?m)^{stage} of model {model} on {scope} is refused: "
    with pytest.raises(CheckViolation, match=refused) as error, writer.transaction():
        put(writer, model, stage, **more)
    with pytest.raises(CheckViolation, match=f"(?m){message}"), writer.transaction():
        put(writer, model, stage, **more)
    assert error.value.diag.message_primary
    assert on_duty(writer) == before


@pytest.mark.parametrize(
    "columns",
    [
        {"stage": "canary", "slot": "production"},
        {"stage": "production", "slot": "canary", "override": "o"},
        {"stage": "canary", "restores": 1},
        {"stage": "trial", "slot": "canary"},
    ],
)
def test_a_row_that_contradicts_itself_is_refused(
    writer: psycopg.Connection, ready: Ready, columns: dict[str, Any]
) -> None:
    earn(writer, ready.b)
    with pytest.raises(psycopg.IntegrityError), writer.transaction():
        put(writer, ready.a, **columns)


def test_a_verdict_is_that_of_the_evaluation_it_names(
    writer: psycopg.Connection, ready: Ready
) -> None:
    extend = look(begin(writer, ready.a), "extend")
    record_look(writer, SCOPE, extend)
    with pytest.raises(ForeignKeyViolation), writer.transaction():
        put(writer, ready.a, "production", evaluation_id=extend.evaluation_id, verdict="promote")
    assert on_duty(writer) == (None, ready.a)


def test_an_evaluation_that_is_refused_a_promotion_is_not_stored_either(
    writer: psycopg.Connection, ready: Ready
) -> None:
    canary = begin(writer, ready.a)
    with pytest.raises(NotDeployed, match="does not say promote"):
        promote(writer, SCOPE, ready.a, look=look(canary, "extend"), **WHO)
    assert writer.execute("SELECT count(*) FROM trade.canary_evaluations").fetchone() == (0,)


@pytest.mark.parametrize("override", ["", "\x00"])
def test_an_override_without_words_is_none(
    writer: psycopg.Connection, ready: Ready, override: str
) -> None:
    with pytest.raises(InvalidRecord, match="override"):
        promote(writer, SCOPE, ready.a, override=override, **WHO)


def test_what_is_in_production_is_not_promoted_again(
    writer: psycopg.Connection, ready: Ready
) -> None:
    earn(writer, ready.a)
    with pytest.raises(NotDeployed, match=f"{ready.a} is in production there already"):
        promote(writer, SCOPE, ready.a, override="to be sure", **WHO)
    rollback(writer, SCOPE, **WHO)
    assert on_duty(writer) == (None, None)


def test_a_look_at_an_earlier_canary_does_not_end_the_present_one(
    writer: psycopg.Connection, ready: Ready
) -> None:
    earlier = begin(writer, ready.a)
    rollback(writer, SCOPE, **WHO)
    begin(writer, ready.a)
    with pytest.raises(NotDeployed, match="the look was at the canary of deployment"):
        retire_canary(writer, SCOPE, look=look(earlier, "rollback"), **WHO)
    assert on_duty(writer) == (None, ready.a)


# Two at once

Act = Callable[[psycopg.Connection], object]


def at_once(ready: Ready, one: Act, other: Act) -> str:
    """Let one act, and another while the first has not committed; returns how the second ended.

    The first commits when the second is known to wait for it.
    """
    ended = ["done"]

    def follow(connection: psycopg.Connection) -> None:
        try:
            other(connection)
        except NotDeployed as refusal:
            ended[0] = str(refusal)

    with (
        ready.database.connect() as first,
        ready.database.connect() as second,
        ready.database.connect("trade_reader", autocommit=True) as observer,
    ):
        first.execute("BEGIN")
        one(first)
        waiting = threading.Thread(target=follow, args=(second,))
        waiting.start()
        while not is_waiting(observer, second):
            assert waiting.is_alive()
        first.commit()
        waiting.join()
    return ended[0]


def is_waiting(observer: psycopg.Connection, other: psycopg.Connection) -> bool:
    row = observer.execute(
        "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted", (other.info.backend_pid,)
    ).fetchone()
    return row != (0,)


def test_of_two_canaries_at_once_the_second_sees_the_first(ready: Ready) -> None:
    scope = replace(SCOPE, venue="canaries")
    second = at_once(
        ready, lambda one: begin(one, ready.a, scope), lambda other: begin(other, ready.b, scope)
    )
    assert "is the canary there; roll it back first" in second
    with ready.database.connect() as connection:
        assert on_duty(connection, scope) == (None, ready.a)


def test_of_two_promotions_at_once_one_is_made(ready: Ready) -> None:
    scope = replace(SCOPE, venue="promotions")
    with ready.database.connect() as connection:
        shown = look(begin(connection, ready.a, scope))
        connection.commit()

        def act(one: psycopg.Connection) -> Active:
            return promote(one, scope, ready.a, look=shown, **WHO)

        second = at_once(ready, act, act)
        assert "is in production there already" in second
        assert [event.deployment.stage for event in history(connection, scope)] == [
            "canary", "production",
        ]  # fmt: skip


def test_two_who_take_back_the_canary_at_once_do_not_take_back_production_too(
    ready: Ready,
) -> None:
    scope = replace(SCOPE, venue="rollbacks")
    with ready.database.connect() as connection:
        earn(connection, ready.a, scope)
        begin(connection, ready.b, scope)
        connection.commit()

        def act(one: psycopg.Connection) -> Active:
            return rollback(one, scope, **WHO)

        second = at_once(ready, act, act)
        assert "another deployment came first; look again" in second
        assert on_duty(connection, scope) == (ready.a, None)


def test_a_promotion_that_waits_for_a_rollback_of_its_canary_is_refused(ready: Ready) -> None:
    scope = replace(SCOPE, venue="rolled back")
    with ready.database.connect() as connection:
        shown = look(begin(connection, ready.a, scope))
        connection.commit()
        second = at_once(
            ready,
            lambda one: rollback(one, scope, **WHO),
            lambda other: promote(other, scope, ready.a, look=shown, **WHO),
        )
        assert "it is not the canary there" in second
        assert on_duty(connection, scope) == (None, None)


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_that_cannot_see_what_others_committed_deploys_nothing(
    ready: Ready, level: str
) -> None:
    scope = replace(SCOPE, venue=level)
    with ready.database.connect() as connection, ready.database.connect() as stale:
        shown = look(begin(connection, ready.a, scope))
        record_look(connection, scope, shown)
        stale.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
        assert on_duty(stale, scope) == (None, ready.a)
        rollback(connection, scope, **WHO)
        with pytest.raises(CheckViolation, match=f"{scope} is refused: its transaction is .*, nee"):
            put(stale, ready.a, "production", scope=scope, **promised(shown))
        assert on_duty(connection, scope) == (None, None)


# Whatever is asked in whatever order

STEPS = st.sampled_from(
    [
        "begin a", "begin b", "extend", "promote", "override a", "override b", "retire", "rollback",
    ]
)  # fmt: skip


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(STEPS, max_size=12))
@example(["override a", "override b", "rollback", "override b", "rollback", "rollback"])
def test_any_sequence_of_steps_leaves_what_its_history_says(ready: Ready, steps: list[str]) -> None:
    """The expected state is kept as a stack of production models, without the database."""
    stack: list[str] = []
    canary: str | None = None
    models = {"a": ready.a, "b": ready.b}
    with ready.database.connect() as writer, writer.transaction(force_rollback=True):
        for number, step in enumerate(steps):
            now = deployed(writer, SCOPE)
            verb, _, name = step.partition(" ")
            model = models.get(name)
            try:
                if verb == "begin":
                    begin(writer, model or "")
                    canary = model
                elif verb == "override":
                    promote(writer, SCOPE, model or "", override="o", **WHO)
                    stack, canary = [*stack, model or ""], None
                elif verb == "rollback":
                    rollback(writer, SCOPE, **WHO)
                    stack, canary = (stack if canary else stack[:-1]), None
                elif now.canary is None:
                    continue
                elif verb == "extend":
                    record_look(writer, SCOPE, look(now.canary, "extend", number))
                elif verb == "promote":
                    shown = look(now.canary, number=number)
                    promote(writer, SCOPE, shown.model_version, look=shown, **WHO)
                    stack, canary = [*stack, shown.model_version], None
                else:
                    retire_canary(writer, SCOPE, **WHO)
                    canary = None
            except NotDeployed:
                pass
            assert on_duty(writer) == (stack[-1] if stack else None, canary)
        assert assert_whole_chain(writer, f"deployments:{SCOPE}") == len(history(writer, SCOPE))
