"""A model that deserves it becomes eligible by Dagster, too; and when that happens by itself."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from trade_pipeline.core.dataset.guards import GUARDS
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.training.gates import GATES
from trade_pipeline.core.training.registry import is_eligible
from trade_pipeline.definitions import defs
from trade_pipeline_tests.core.training.strong import TRAINING, Strong, store_guards
from trade_pipeline_tests.defs.launch import QUIET, failure_of, materialise

CANDIDATE, EVALUATION, ELIGIBLE = map(
    dg.AssetKey, ("candidate_model", "model_evaluation", "eligible_model")
)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def test_a_model_that_passes_every_gate_becomes_eligible_until_a_guard_fails(
    instance: dg.DagsterInstance,
    strong: Strong,
    strong_store: Store,
    strong_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in strong_environment.items():
        monkeypatch.setenv(name, value)
    training = TRAINING.model_dump(exclude_defaults=True)
    result = defs.resolve_job_def("training_job").execute_in_process(
        instance=instance,
        run_config={
            "ops": {"candidate_model": {"config": {"training": training}}},
            "loggers": QUIET,
        },
        raise_on_error=False,
    )
    assert failure_of(result) == ""
    checks = result.get_asset_check_evaluations()
    assert {one.check_name: one.passed for one in checks} == dict.fromkeys(GATES, True)
    assert {event.asset_key for event in result.get_asset_materialization_events()} == {
        CANDIDATE,
        EVALUATION,
        ELIGIBLE,
    }
    newest = instance.get_latest_materialization_event(ELIGIBLE)
    assert newest is not None
    assert newest.asset_materialization is not None
    assert newest.asset_materialization.tags is not None
    assert newest.asset_materialization.tags["dagster/data_version"] == strong.model
    with strong_store.database.connect("trade_reader") as connection:
        assert is_eligible(connection, strong.model)

    store_guards(strong_store, strong.dataset, 1, GUARDS[0])
    again = materialise(instance, "eligible_model")
    assert not again.success
    assert f"leak_guards: failed: {GUARDS[0]}" in failure_of(again)


def _nothing() -> None:
    pass


class Stand:
    """Runs that leave the events of the model's assets and gates, and what is asked for next."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._cursor: dg.AutomationCursor | None = None

    def happens(
        self, *made: dg.AssetKey, passed: tuple[str, ...] = (), failed: tuple[str, ...] = ()
    ) -> None:
        """One run in which assets are made and gates answer."""
        asked = (*passed, *failed)

        @dg.multi_asset_check(
            specs=[dg.AssetCheckSpec(name, asset=EVALUATION) for name in GATES], can_subset=True
        )
        def gates() -> Iterator[dg.AssetCheckResult]:
            for name in asked:
                yield dg.AssetCheckResult(
                    check_name=name, asset_key=EVALUATION, passed=name in passed
                )

        keys = [dg.AssetCheckKey(EVALUATION, name) for name in asked]
        assert dg.materialize(
            [gates, *(dg.asset(key=key)(_nothing) for key in (CANDIDATE, EVALUATION, ELIGIBLE))],
            selection=dg.AssetSelection.assets(*made).without_checks()
            | dg.AssetSelection.checks(*keys),
            instance=self._instance,
            run_config={"loggers": QUIET},
        ).success

    def asks_for(self) -> set[str]:
        """What the conditions request at the next tick."""
        tick = dg.evaluate_automation_conditions(
            defs,
            self._instance,
            asset_selection=dg.AssetSelection.assets(EVALUATION, ELIGIBLE),
            cursor=self._cursor,
        )
        self._cursor = tick.cursor
        return {
            key.to_user_string() for key in (EVALUATION, ELIGIBLE) if tick.get_num_requested(key)
        }


@pytest.fixture
def stand(instance: dg.DagsterInstance) -> Stand:
    """Everything was made once, every gate passed, and the conditions have seen it."""
    stand = Stand(instance)
    stand.happens(CANDIDATE, EVALUATION, passed=GATES)
    stand.happens(ELIGIBLE)
    assert stand.asks_for() == set()
    return stand


def test_a_new_candidate_is_judged_and_one_that_passed_becomes_eligible(stand: Stand) -> None:
    stand.happens(CANDIDATE)
    # In one run, in which the checks block in between.
    assert stand.asks_for() == {"model_evaluation", "eligible_model"}
    stand.happens(EVALUATION, ELIGIBLE, passed=GATES)
    assert stand.asks_for() == set()
    stand.happens(EVALUATION, passed=GATES)
    assert stand.asks_for() == {"eligible_model"}


def test_the_condition_holds_after_a_gate_refused(stand: Stand) -> None:
    stand.happens(EVALUATION, passed=GATES[1:], failed=GATES[:1])
    assert stand.asks_for() == set()


def test_the_condition_holds_on_passes_of_an_earlier_evaluation(stand: Stand) -> None:
    stand.happens(EVALUATION)
    assert stand.asks_for() == set()
    stand.happens(passed=GATES[:-1])
    assert stand.asks_for() == set()
    stand.happens(passed=GATES[-1:])
    assert stand.asks_for() == {"eligible_model"}


def test_the_condition_holds_until_every_gate_was_asked(instance: dg.DagsterInstance) -> None:
    stand = Stand(instance)
    stand.happens(CANDIDATE)
    stand.asks_for()
    stand.happens(EVALUATION)
    assert stand.asks_for() == set()
    stand.happens(passed=GATES[1:])
    assert stand.asks_for() == set()
    stand.happens(passed=GATES[:1])
    assert stand.asks_for() == {"eligible_model"}
