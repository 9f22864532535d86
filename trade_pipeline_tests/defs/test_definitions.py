"""The code location as the server loads it."""

from __future__ import annotations

import json
import subprocess
import sys

import dagster as dg

from trade_pipeline.core.dataset.guards import GUARDS
from trade_pipeline.core.monitoring.record import LINES
from trade_pipeline.core.records import (
    ExecutionRecord,
    ResearchDocument,
    TradeCandidate,
    TradeOutcome,
)
from trade_pipeline.core.report.contracts import CONTRACTS
from trade_pipeline.core.session.version import code_version
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.training.gates import GATES
from trade_pipeline.definitions import defs
from trade_pipeline.defs.columns import column_schema
from trade_pipeline.defs.incidents import WATCHED


def test_the_definitions_load() -> None:
    dg.Definitions.validate_loadable(defs)


def test_loading_imports_nothing_heavy_and_starts_no_server() -> None:
    code = (
        "import sys, json, trade_pipeline.definitions; "
        "heavy = ['great_expectations', 'xgboost', 'sklearn', 'matplotlib', 'pandas', 'polars', "
        "'scipy', 'optuna']; "
        "print(json.dumps([name for name in heavy if name in sys.modules]))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert json.loads(loaded.stdout) == []


def test_the_assets_follow_the_flow_in_groups_with_owners_and_kinds() -> None:
    graph = defs.resolve_asset_graph()
    found = {
        key.to_user_string(): (
            node.group_name,
            sorted(parent.to_user_string() for parent in node.parent_keys),
            sorted(node.owners),
        )
        for key in graph.get_all_asset_keys()
        if (node := graph.get(key))
    }
    owners = ["team:trading"]
    assert found == {
        "market_events": ("market", [], owners),
        "research_documents": ("research", ["market_events"], owners),
        "trade_candidates": ("candidate", ["research_documents"], owners),
        "trade_executions": ("execution", ["trade_candidates"], owners),
        "trade_outcomes": ("outcome", ["trade_executions"], owners),
        "performance_report": ("outcome", ["trade_executions", "trade_outcomes"], owners),
        "dossier": ("outcome", ["trade_outcomes"], owners),
        "performance_attribution": ("outcome", ["trade_executions", "trade_outcomes"], owners),
        "experiment_report": ("outcome", ["trade_outcomes"], owners),
        "replayed_records": (
            "outcome",
            ["trade_candidates", "trade_executions", "trade_outcomes"],
            owners,
        ),
        "shadow_outcomes": ("outcome", ["market_events", "trade_candidates"], owners),
        "rug_risk_model": ("features", ["market_events"], owners),
        "trade_features": (
            "features",
            [
                "market_events",
                "research_documents",
                "trade_candidates",
                "trade_executions",
                "trade_outcomes",
            ],
            owners,
        ),
        "training_dataset": (
            "dataset",
            ["shadow_outcomes", "trade_features", "trade_outcomes"],
            owners,
        ),
        "candidate_model": ("model", ["training_dataset"], owners),
        "model_evaluation": ("model", ["candidate_model"], owners),
        "eligible_model": ("model", ["model_evaluation"], owners),
        "canary_deployment": ("canary", ["eligible_model"], owners),
        "canary_evaluation": ("canary", ["canary_deployment", "shadow_outcomes"], owners),
        "ledger_head": ("canary", ["canary_evaluation"], owners),
        "production_model": ("canary", ["canary_evaluation", "ledger_head"], owners),
        "monitoring_report": (
            "promotion",
            ["production_model", "shadow_outcomes", "trade_outcomes"],
            owners,
        ),
        "live_session": ("live", ["production_model"], owners),
        "live_shadow_outcomes": ("outcome", ["live_session"], owners),
    }


def test_a_range_of_days_is_one_run_and_every_table_shows_its_columns() -> None:
    graph = defs.resolve_asset_graph()
    for name, table in {
        "research_documents": "trade.research_docs",
        "trade_candidates": "trade.candidates",
        "trade_executions": "trade.executions",
        "trade_outcomes": "trade.outcomes",
    }.items():
        node = graph.get(dg.AssetKey(name))
        assert isinstance(node.partitions_def, dg.DailyPartitionsDefinition)
        assert node.backfill_policy == dg.BackfillPolicy.single_run()
        assert node.code_version == code_version()
        assert node.metadata["dagster/table_name"] == table
        schema = node.metadata["dagster/column_schema"]
        assert isinstance(schema, dg.TableSchema)
        assert {"uuid", "content_hash", "chain_hash"} <= {c.name for c in schema.columns}


def test_every_check_blocks_but_those_that_watch() -> None:
    graph = defs.resolve_asset_graph()
    checks = {
        (key.asset_key.to_user_string(), key.name): graph.get_check_spec(key).blocking
        for key in graph.asset_check_keys
    }
    assert checks == {
        ("research_documents", "every_candidate_has_research"): True,
        ("trade_candidates", "nothing_from_the_future"): True,
        ("trade_executions", "every_entry_ends"): True,
        ("trade_outcomes", "one_outcome_per_closed_trade"): True,
        ("trade_outcomes", "cash_adds_up"): True,
        ("performance_attribution", "parts_sum_to_results"): True,
        ("replayed_records", "decides_the_same_again"): True,
        ("trade_features", "vectors_equal_their_recomputation"): True,
        **{("training_dataset", guard): True for guard in GUARDS},
        **{("model_evaluation", gate): True for gate in GATES},
        ("canary_evaluation", "promotes"): True,
        ("ledger_head", "ledger_intact"): True,
        **{("monitoring_report", line): True for line in LINES},
        **{(asset, "contract"): True for asset in CONTRACTS},
        **{(asset, "fresh"): False for asset in WATCHED},
    }


def test_the_columns_that_are_shown_are_those_of_the_database(store: Store) -> None:
    with store.database.connect("trade_reader") as connection:
        for record in (ResearchDocument, TradeCandidate, ExecutionRecord, TradeOutcome):
            stored = dict(
                connection.execute(
                    "SELECT column_name, data_type FROM information_schema.columns "
                    "WHERE table_schema = 'trade' AND table_name = %s",
                    (record.TABLE,),
                ).fetchall()
            )
            shown = {column.name: column.type for column in column_schema(record).columns}
            assert shown == {name: stored[name] for name in shown}
