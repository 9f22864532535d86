"""A model that deserves it becomes eligible; with one thing changed, the same is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trade_pipeline.core.canary.pipeline import SafeMLPipeline
from trade_pipeline.core.dataset.guards import GUARDS
from trade_pipeline.core.store.artifacts import ArtifactDamaged
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.training.gates import GATES
from trade_pipeline.core.training.judgement import evaluate_model, make_eligible
from trade_pipeline.core.training.register import train_model
from trade_pipeline.core.training.registry import (
    NotEligible,
    is_eligible,
    list_models,
    newest_evaluation,
    read_model,
    record_eligible,
)
from trade_pipeline_tests.core.training.strong import TRAINING, Strong, store_guards


@pytest.fixture
def damaged(fresh_strong_store: Store, strong: Strong) -> Iterator[str]:
    """The model's address, while its file is another."""
    with fresh_strong_store.database.connect("trade_reader") as connection:
        address = read_model(connection, strong.model).artifact
    path = Path(fresh_strong_store.artifacts.uri(address).removeprefix("file://"))
    kept = path.read_bytes()
    path.write_bytes(kept.replace(b'"entry_confidence":0', b'"entry_confidence":1'))
    yield address
    path.write_bytes(kept)


def test_a_model_that_passes_every_gate_becomes_eligible(
    fresh_strong_store: Store, strong: Strong
) -> None:
    evaluation = evaluate_model(fresh_strong_store, strong.model)
    assert {gate.name: gate.reasons for gate in evaluation.gates if not gate.passed} == {}
    assert [gate.name for gate in evaluation.gates] == list(GATES)
    with fresh_strong_store.database.connect("trade_reader") as connection:
        assert not is_eligible(connection, strong.model)
    assert make_eligible(fresh_strong_store, strong.model).number == evaluation.number + 1
    with fresh_strong_store.database.connect("trade_reader") as connection:
        (listed,) = list_models(connection)
    assert (listed.version, listed.evaluation, listed.eligible) == (strong.model, "passed", True)


def test_safe_training_returns_the_model_once_every_gate_passed(
    fresh_strong_store: Store, strong: Strong
) -> None:
    with SafeMLPipeline(store=fresh_strong_store) as pipeline:
        model = pipeline.train_new_model(config=TRAINING)
        summary = pipeline.get_model_performance_summary()
    assert model is not None
    # The same again is the same model, which was stored already.
    assert (model.version_id, model.eligible) == (strong.model, True)
    assert model.metrics.rank_correlation > 0.5
    assert summary["total_models"] == 1
    assert summary["active_model"] is None


def test_a_guard_that_failed_later_takes_the_eligibility_away_before_it_is_given(
    fresh_strong_store: Store, strong: Strong
) -> None:
    passed = evaluate_model(fresh_strong_store, strong.model)
    assert passed.passed
    store_guards(fresh_strong_store, strong.dataset, 1, GUARDS[2])
    with (
        fresh_strong_store.database.connect() as connection,
        pytest.raises(NotEligible, match=f"newest verdicts on dataset .*: {GUARDS[2]}$"),
    ):
        record_eligible(connection, strong.model, passed.number)
    with pytest.raises(NotEligible, match=f"leak_guards: failed: {GUARDS[2]}$"):
        make_eligible(fresh_strong_store, strong.model)
    store_guards(fresh_strong_store, strong.dataset, 2)
    assert make_eligible(fresh_strong_store, strong.model).passed


def test_a_second_model_on_the_same_holdout_is_refused_and_the_first_is_not(
    fresh_strong_store: Store, strong: Strong
) -> None:
    first = evaluate_model(fresh_strong_store, strong.model)
    second = train_model(
        fresh_strong_store, strong.dataset, TRAINING.model_copy(update={"seed": 8})
    )
    with pytest.raises(NotEligible) as refused:
        make_eligible(fresh_strong_store, second.short_name)
    assert str(refused.value) == (
        f"model={second.short_name!r}: fresh_holdout: the holdout window was used by "
        f"{first.model.short_name}: later ones count"
    )
    with fresh_strong_store.database.connect("trade_reader") as connection:
        stored = newest_evaluation(connection, second.model_version)
        assert stored is not None
        assert [name for name, verdict in stored[2].items() if not verdict.passed] == [
            "fresh_holdout"
        ]
    assert make_eligible(fresh_strong_store, strong.model).passed


def test_a_changed_model_file_is_never_judged(
    fresh_strong_store: Store, strong: Strong, damaged: str
) -> None:
    for judge in (evaluate_model, make_eligible):
        with pytest.raises(ArtifactDamaged, match=damaged):
            judge(fresh_strong_store, strong.model)
    with fresh_strong_store.database.connect("trade_reader") as connection:
        assert newest_evaluation(connection, strong.model) is None
