"""Models: trained, judged by their gates, and eligible only when every gate passed."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from trade_pipeline.core.dataset.membership import newest_dataset
from trade_pipeline.core.session.version import learning_version
from trade_pipeline.core.training.config import TrainingConfig
from trade_pipeline.core.training.gates import GATES
from trade_pipeline.core.training.record import ModelRecord
from trade_pipeline.core.training.registry import (
    last_evaluated,
    newest_evaluation,
    newest_model,
)
from trade_pipeline.defs.markdown import markdown_table, records_table
from trade_pipeline.defs.report import picture
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.defs.trades import OWNERS

KINDS = {"xgboost", "scikitlearn", "python"}
# One training at a time, whoever asks.
TRAINING_POOL = "training"

_MEANING = {
    "enough_data": "At least 1,000 trades on 30 days, executed and shadow counted apart.",
    "predictive_power": "On the validation split, what is expected tells of what came.",
    "fold_stability": "It does so in nearly every fold of the purged cross-validation.",
    "improvement": "On the holdout it earns more than the heuristic and the incumbent, and no less "
    "than a linear model, on the same candidates.",
    "fresh_holdout": "No other model was judged on this holdout window.",
    "no_harm": "On the holdout: return, drawdown, tail loss, in every market regime.",
    "calibration": "What it calls 60 % happens in about 60 of 100.",
    "overfitting": "Backtest overfitting is improbable, whatever the number of trials was.",
    "leak_guards": "Every leak guard passed on this very dataset.",
    "sanity": "Predictions stay within what was seen; no feature or token carries the result.",
}
_CONDITION = (
    dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()
)


class TrainingRunConfig(dg.Config):
    """What is trained, and on what."""

    dataset: str | None = Field(
        None, description="Version or short name of a stored dataset; unset: the newest."
    )
    training: dict[str, Any] = Field(
        {}, description="Fields of TrainingConfig, such as {trials: 20, seed: 1}."
    )


class ModelConfig(dg.Config):
    """Which model is judged."""

    model: str | None = Field(
        None, description="Version or short name of a registered model; unset: the newest."
    )


@dg.asset(
    group_name="model",
    deps=["training_dataset"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "model"},
    code_version=learning_version(),
    pool=TRAINING_POOL,
    metadata={"dagster/table_name": "trade.models"},
)
def candidate_model(
    context: dg.AssetExecutionContext, config: TrainingRunConfig, store: TradeStore
) -> dg.MaterializeResult[Any]:
    """A model trained on the newest dataset and registered; it may not decide before its gates."""
    from trade_pipeline.core.dataset.rows import read_rows
    from trade_pipeline.core.report.model_pictures import (
        folds_png,
        learning_curve_png,
        shapley_png,
    )
    from trade_pipeline.core.training.evaluate import SearchSummary
    from trade_pipeline.core.training.explanation import shapley_values
    from trade_pipeline.core.training.register import learning_curve, load_model, train_model

    def progress(done: int, total: int) -> None:
        context.log.info("trial %d of %d", done, total)

    with store.open() as opened:
        with opened.database.connect("trade_reader") as connection:
            dataset = config.dataset or newest_dataset(connection)
            record = train_model(opened, dataset, TrainingConfig.parse(config.training), progress)
            rows = read_rows(connection, record.dataset_version)
        sizes, scores = learning_curve(record, rows)
        reasons = shapley_values(load_model(opened, record), rows.split("validation"))
    summary = SearchSummary.from_dict(record.metrics["cross_validation"])
    return dg.MaterializeResult(
        data_version=dg.DataVersion(record.model_version),
        metadata={
            "model": dg.MetadataValue.text(record.short_name),
            "model_card": dg.MetadataValue.md(model_card(record)),
            "validation": dg.MetadataValue.md(records_table([dict(record.metrics["validation"])])),
            "folds": dg.MetadataValue.md(records_table([asdict(fold) for fold in summary.folds])),
            "fold_scores": picture("fold scores", folds_png(summary.folds)),
            "what_moves_it": picture("what moves the confidence", shapley_png(reasons)),
            "learning_curve": picture("learning curve", learning_curve_png(sizes, scores)),
        },
    )


@dg.asset(
    group_name="model",
    deps=["candidate_model"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "model"},
    code_version=learning_version(),
    automation_condition=_CONDITION,
    metadata={"dagster/table_name": "trade.model_evaluations"},
)
def model_evaluation(
    context: dg.AssetExecutionContext, config: ModelConfig, store: TradeStore
) -> dg.MaterializeResult[Any]:
    """What every gate says of a model, stored beside it; the checks show it and block."""
    from trade_pipeline.core.training.judgement import evaluate_model

    with store.open() as opened:
        with opened.database.connect("trade_reader") as connection:
            model = config.model or newest_model(connection)
        evaluation = evaluate_model(opened, model)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{evaluation.model.model_version}-{evaluation.number}"),
        metadata={
            "model": dg.MetadataValue.text(evaluation.model.short_name),
            "passed": dg.MetadataValue.bool(evaluation.passed),
            "gates": dg.MetadataValue.md(
                records_table(
                    [
                        {"gate": g.name, "passed": g.passed, "why": "; ".join(g.reasons)}
                        for g in evaluation.gates
                    ]
                )
            ),
            "model_card": dg.MetadataValue.md(model_card(evaluation.model)),
        },
    )


@dg.multi_asset_check(
    name="model_gates",
    specs=[
        dg.AssetCheckSpec(name, asset="model_evaluation", description=_MEANING[name], blocking=True)
        for name in GATES
    ],
    can_subset=True,
)
def model_gates(
    context: dg.AssetCheckExecutionContext, store: TradeStore
) -> Iterator[dg.AssetCheckResult]:
    """The newest verdicts of the gates on the model that was evaluated last."""
    from trade_pipeline.core.training.judgement import evidence_for

    with store.open() as opened, opened.database.connect() as connection:
        model = last_evaluated(connection)
        newest = newest_evaluation(connection, model)
        assert newest is not None
        record, evidence = evidence_for(opened, connection, model)
        pictures = _pictures(evidence)
    _, _, verdicts = newest
    asked = context.selected_asset_check_keys
    for name in GATES:
        if dg.AssetCheckKey(dg.AssetKey("model_evaluation"), name) not in asked:
            continue
        verdict = verdicts[name]
        yield dg.AssetCheckResult(
            check_name=name,
            asset_key="model_evaluation",
            passed=verdict.passed,
            severity=dg.AssetCheckSeverity.ERROR,
            description="; ".join(verdict.reasons[:3]) or "nothing against it",
            metadata={
                "model": record.short_name,
                "numbers": dg.MetadataValue.json(dict(verdict.numbers)),
                **({name: pictures[name]} if name in pictures else {}),
            },
        )


@dg.asset(
    group_name="model",
    deps=["model_evaluation"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "model"},
    code_version=learning_version(),
    automation_condition=_CONDITION,
    freshness_policy=dg.FreshnessPolicy.time_window(
        fail_window=timedelta(days=60), warn_window=timedelta(days=30)
    ),
    metadata={"dagster/table_name": "trade.eligible_models"},
)
def eligible_model(
    context: dg.AssetExecutionContext, config: ModelConfig, store: TradeStore
) -> dg.MaterializeResult[Any]:
    """The model that was evaluated last, once every gate passed again: it may become a canary.

    Nothing that was shown before is believed; a model that a gate refuses ends this run as failed.
    """
    from trade_pipeline.core.training.judgement import make_eligible

    with store.open() as opened:
        with opened.database.connect("trade_reader") as connection:
            model = config.model or last_evaluated(connection)
        evaluation = make_eligible(opened, model)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(evaluation.model.model_version),
        metadata={
            "model": dg.MetadataValue.text(evaluation.model.short_name),
            "model_card": dg.MetadataValue.md(model_card(evaluation.model)),
        },
    )


def model_card(record: ModelRecord) -> str:
    """What a model is and comes from, as Markdown."""
    facts = {
        "version": record.model_version,
        "intended use": f"confidence and size of entries on {record.market}, nowhere else",
        "learned on": f"{record.kind} decisions, dataset {record.dataset_version}",
        "feature set": record.feature_set,
        "inputs": ", ".join(record.inputs),
        "parameters": ", ".join(f"{name}={value}" for name, value in record.params.items()),
        "trials": record.trials,
        "seed": record.seed,
        "code": record.code_version,
        "environment": ", ".join(f"{k} {v}" for k, v in record.config["environment"].items()),
        "file": record.artifact,
        "parent": record.parent or "none",
        "limits": "learned from shadow labels at one reference stake; returns of single trades "
        "are mostly noise",
    }
    return markdown_table(["", record.short_name], facts.items())


def _pictures(evidence: Any) -> dict[str, dg.MarkdownMetadataValue]:
    from trade_pipeline.core.report.model_pictures import (
        calibration_png,
        deciles_png,
        folds_png,
        importance_png,
    )

    return {
        "calibration": picture("calibration", calibration_png(evidence)),
        "predictive_power": picture("returns by expected return", deciles_png(evidence)),
        "fold_stability": picture("fold scores", folds_png(evidence.folds)),
        "sanity": picture("importance", importance_png(evidence)),
    }
