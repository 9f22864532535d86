"""The feature table, and the model of the rug probability that is one of its columns."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from trade_pipeline.core.canonical import sha256
from trade_pipeline.core.dataset.feature_build import FeatureBuild, build_features
from trade_pipeline.core.features.hot import HotFeatures
from trade_pipeline.core.features.registry import FEATURES, NAMES, feature_set
from trade_pipeline.core.ids import day_of, micros
from trade_pipeline.core.market.source import open_market
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.version import code_version
from trade_pipeline.core.store.artifacts import record_artifact
from trade_pipeline.defs.facts import facts_metadata
from trade_pipeline.defs.markdown import markdown_table, records_table
from trade_pipeline.defs.markets import sessions_with_markets
from trade_pipeline.defs.report import picture
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.defs.trades import DAYS, DAYS_APART, KINDS, OWNERS, MarketConfig, SessionsConfig

RECOMPUTED = "vectors_equal_their_recomputation"
# The metadata for programs.
BUILDS = "builds"
_SHOWN = 20

# Where each family's columns come from, for the column lineage.
_LINEAGE = {
    "market": ("market_events", "price_usd"),
    "onchain": ("research_documents", "content"),
    "social": ("research_documents", "content"),
    "rug": ("research_documents", "content"),
    "execution": ("trade_executions", "content"),
}


def _schema() -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                "uuid", type="uuid", constraints=dg.TableColumnConstraints(nullable=False)
            ),
            *(
                dg.TableColumn(
                    feature.name,
                    type="double precision",
                    description=f"{feature.family}, {feature.unit}: {feature.definition} "
                    f"(from {feature.source}, version {feature.version})",
                )
                for feature in FEATURES
            ),
        ]
    )


def _column_lineage() -> dg.TableColumnLineage:
    uuid = dg.TableColumnDep(asset_key=dg.AssetKey("trade_candidates"), column_name="uuid")
    return dg.TableColumnLineage(
        deps_by_column={
            "uuid": [uuid],
            **{
                feature.name: [
                    dg.TableColumnDep(
                        asset_key=dg.AssetKey(_LINEAGE[feature.family][0]),
                        column_name=_LINEAGE[feature.family][1],
                    )
                ]
                for feature in FEATURES
            },
        }
    )


@dg.asset(
    group_name="features",
    deps=["market_events", "research_documents", "trade_candidates", "trade_executions",
          "trade_outcomes"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "features"},
    code_version=f"{code_version()}-{feature_set()}",
    partitions_def=DAYS,
    backfill_policy=DAYS_APART,
    automation_condition=dg.AutomationCondition.eager()
    & dg.AutomationCondition.all_deps_blocking_checks_passed(),
    freshness_policy=dg.FreshnessPolicy.time_window(
        fail_window=timedelta(days=7), warn_window=timedelta(days=2)
    ),
    check_specs=[
        dg.AssetCheckSpec(
            RECOMPUTED,
            asset="trade_features",
            blocking=True,
            description="Every vector that was stored at its decision comes out the same, bit for "
            "bit, when the table is computed from the market.",
        )
    ],
    metadata={
        "dagster/table_name": "trade.feature_rows",
        "dagster/column_schema": _schema(),
        "dagster/column_lineage": _column_lineage(),
    },
)  # fmt: skip
def trade_features(
    context: dg.AssetExecutionContext, config: SessionsConfig, store: TradeStore
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster reads the bare name with checks
    """The feature vector behind each decision of the days, by the code that served the decision."""
    start, end = context.partition_time_window
    with store.open() as opened, store.open_cache() as client:
        hot = HotFeatures(client, feature_set(), NAMES)
        builds = [
            build_features(
                opened.database,
                opened.artifacts,
                feed,
                session.session_id,
                between=(micros(start), micros(end)),
                hot=hot,
            )
            for session, feed in sessions_with_markets(opened, config, start, end)
        ]
    return dg.MaterializeResult(
        metadata=_metadata(builds),
        data_version=dg.DataVersion(_version(builds)),
        check_results=[_recomputation(builds)],
    )


def _metadata(builds: list[FeatureBuild]) -> dict[str, dg.MetadataValue[Any]]:
    rows = [
        {
            "session": build.session_id,
            "rows": build.rows,
            "new": build.new_rows,
            "differing": len(build.differences),
            "published": build.published,
            "unknown_share": build.missing_share,
            "table": build.table,
            "seconds": build.seconds,
        }
        for build in builds
    ]
    return {
        "dagster/row_count": dg.MetadataValue.int(sum(build.rows for build in builds)),
        "feature_set": dg.MetadataValue.text(feature_set()),
        "features": dg.MetadataValue.int(len(FEATURES)),
        "sessions": dg.MetadataValue.md(records_table(rows)),
        BUILDS: facts_metadata([build.facts() for build in builds]),
    }


def _version(builds: list[FeatureBuild]) -> str:
    return sha256("\0".join(sorted(build.table for build in builds)).encode()).hex()[:16]


def _recomputation(builds: list[FeatureBuild]) -> dg.AssetCheckResult:
    found = [(build.session_id, one) for build in builds for one in build.differences]
    compared = sum(build.rows - build.new_rows for build in builds)
    description = f"{compared} stored vectors recomputed, all equal"
    if found:
        session, first = found[0]
        description = (
            f"{len(found)} values differ, first {first.feature} of {first.uuid} (session "
            f"{session}): stored {first.stored!r}, recomputed {first.recomputed!r}"
        )
    shown = [(s, d.uuid, d.feature, d.stored, d.recomputed) for s, d in found[:_SHOWN]]
    head = ["session", "uuid", "feature", "stored", "recomputed"]
    return dg.AssetCheckResult(
        check_name=RECOMPUTED,
        asset_key="trade_features",
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR,
        description=description,
        metadata={
            "vectors": compared,
            "differences": dg.MetadataValue.md(markdown_table(head, shown)),
        },
    )


class RugRiskConfig(MarketConfig):
    """What the rug risk is learned from."""

    start: str = Field("2026-01-05", description="First day (UTC) that is learned from.")
    end: str = Field("2026-03-02", description="The day (UTC) before which it ends.")
    seed: int = Field(7, description="Seed of the simulated market.")
    learning: dict[str, Any] = Field(
        {}, description="Settings that differ from the defaults, such as {retrain_days: 14}."
    )


@dg.asset(
    group_name="features",
    deps=["market_events"],
    owners=OWNERS,
    kinds={"xgboost", "python"},
    tags={"layer": "model"},
    code_version=code_version(),
)
def rug_risk_model(
    context: dg.AssetExecutionContext, config: RugRiskConfig, store: TradeStore
) -> dg.MaterializeResult[Any]:
    """Calibrated probability of a rug within 48 h, learned walking forward in time.

    Put its address as ``rug_risk_model`` into the settings of a session, and the session's vectors
    have ``rug_probability``.
    """
    from trade_pipeline.core.dataset.rug_learning import (
        RugLearningConfig,
        learn_rug_risk,
        rug_samples,
    )
    from trade_pipeline.core.features.rug_metrics import rug_metrics
    from trade_pipeline.core.report.feature_pictures import reliability_png

    settings = TradingConfig()
    with store.open() as opened, opened.database.connect() as connection:
        learning = RugLearningConfig.parse(config.learning)
        first, last = (micros(day_of(n, getattr(config, n))) for n in ("start", "end"))
        feed = open_market(
            config.market,
            data=None if config.data is None else Path(config.data),
            seed=config.seed,
            start=first,
            end=last,
            simulator=settings.simulator,
        )
        learned = learn_rug_risk(rug_samples(feed, settings, learning, first, last), learning)
        address = record_artifact(
            connection, opened.artifacts, learned.risk.to_bytes(), media_type="application/json"
        )
        connection.commit()
    figures: dict[str, Any] = {
        "rug_risk_model": dg.MetadataValue.text(address),
        "models": dg.MetadataValue.int(len(learned.risk.models)),
        "samples": dg.MetadataValue.int(learned.samples),
        "tested_on_later_samples": dg.MetadataValue.int(learned.tested),
        "rugs_among_them": dg.MetadataValue.int(learned.rugs),
        "usable_from": dg.MetadataValue.md(records_table(learned.risk.describe())),
    }
    if 0 < learned.rugs < learned.tested:
        metrics = rug_metrics(learned.fate, learned.predicted, learned.threshold)
        for name in ("auc", "precision", "recall", "brier", "ece"):
            figures[name] = dg.MetadataValue.float(float(getattr(metrics, name)))
        figures["calibration"] = picture("reliability", reliability_png(metrics.reliability))
    return dg.MaterializeResult(metadata=figures, data_version=dg.DataVersion(address))
