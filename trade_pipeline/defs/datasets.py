"""Datasets: versioned lists of trades in three splits, and the guards that stand before a model."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.guards import GUARDS, guard_dataset, markets_of
from trade_pipeline.core.dataset.membership import newest_dataset
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.features.registry import feature_set
from trade_pipeline.core.session.version import code_version
from trade_pipeline.defs.markdown import markdown_table, records_table
from trade_pipeline.defs.report import picture
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.defs.trades import KINDS, OWNERS, MarketConfig

_SHOWN = 20
# A run of a backfill over a range of days has the first, one that is a single day the second.
_BACKFILL, _PARTITION = "dagster/backfill", "dagster/partition"

_MEANING = {
    "compare_vectors": "Sampled vectors are the same from a market that ends at their decision.",
    "delay_sensitive_features": "No feature loses its power when seen as late as it is recorded.",
    "separating_features": "No single feature separates a label almost perfectly.",
    "identity_features": "No feature is an identity or an absolute time in disguise.",
    "overlapping_intervals": "No training label reaches into validation or test, or the embargo.",
    "preparation_guard": "Selection, imputation and scaling are those of the training rows alone.",
    "stored_values": "Values and labels are those that the dataset's version covers.",
}


class TrainingDatasetConfig(dg.Config):
    """What the dataset is made of."""

    market: str | None = Field(
        None, description="The kind of market; unset: that of the newest session."
    )
    sessions: list[str] = Field([], description="Only these sessions; empty: all on the market.")
    include_imported: bool = Field(
        False,
        description="With the trades of older bots, which have no features but the hour.",
    )
    dataset: dict[str, Any] = Field(
        {}, description="Fields of DatasetConfig, such as {name: tape, embargo_hours: 24}."
    )


@dg.asset(
    group_name="dataset",
    deps=["trade_features", "shadow_outcomes", "trade_outcomes"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "dataset"},
    code_version=f"{code_version()}-{feature_set()}",
    automation_condition=dg.AutomationCondition.eager()
    & dg.AutomationCondition.all_deps_blocking_checks_passed(),
    freshness_policy=dg.FreshnessPolicy.time_window(
        fail_window=timedelta(days=14), warn_window=timedelta(days=7)
    ),
    metadata={"dagster/table_name": "trade.dataset_members"},
    output_required=False,
)
def training_dataset(
    context: dg.AssetExecutionContext, config: TrainingDatasetConfig, store: TradeStore
) -> Iterator[dg.MaterializeResult[Any]]:
    """Decisions with ended labels in train, validation and test, purged and embargoed.

    A run that is one day of many makes none: it does not know when the others are done.
    """
    from trade_pipeline.core.dataset.engineer import FeatureEngineer
    from trade_pipeline.core.dataset.profile import profile_features
    from trade_pipeline.core.report.feature_pictures import (
        distributions_png,
        drift_png,
        missing_png,
    )

    if {_BACKFILL, _PARTITION} <= context.run.tags.keys():
        context.log.info("one day of many: materialise training_dataset when all days are done")
        return
    with store.open() as opened:
        settings = DatasetConfig.parse(config.dataset)
        market = config.market or _newest_market(opened)
        engineer = FeatureEngineer(store=opened)
        frame = engineer.extract_all_features(
            sessions=config.sessions or None,
            market=market,
            include_imported=config.include_imported,
        )
        dataset = engineer.prepare_ml_dataset(frame, settings)
        is_new = engineer.store_dataset(dataset)
    rows = {name: split.rows for name, split in dataset.splits.items()}
    members = frame.loc[sorted(dataset.members)]
    later = members.index.to_series().map(dataset.members) != "train"
    profiles = profile_features(members, frame.attrs["features"], later)
    known = [one.name for one in profiles if one.missing < 1]
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(dataset.version),
        metadata={
            "dagster/row_count": dg.MetadataValue.int(len(dataset.members)),
            "dataset": dg.MetadataValue.text(dataset.record.short_name),
            "version": dg.MetadataValue.text(dataset.version),
            "is_new": dg.MetadataValue.bool(is_new),
            "market": dg.MetadataValue.text(dataset.record.market),
            "sessions": dg.MetadataValue.int(len(dataset.record.session_ids)),
            "counts": dg.MetadataValue.md(
                markdown_table(["rows", "number"], asdict(dataset.counts).items())
            ),
            "bounds": dg.MetadataValue.md(
                records_table([{"split": n, **asdict(b)} for n, b in dataset.bounds.items()])
            ),
            "selected_features": dg.MetadataValue.md(
                markdown_table(
                    ["feature", "score"],
                    zip(dataset.preparation.features, dataset.preparation.scores, strict=True),
                )
            ),
            "profile": dg.MetadataValue.md(records_table([asdict(one) for one in profiles])),
            "missing_rates": picture("missing rates", missing_png(profiles)),
            "drift": picture("drift between splits", drift_png(profiles)),
            "distributions": picture("distributions by split", distributions_png(rows, known)),
        },
    )


def _newest_market(opened: Any) -> str:
    with opened.database.connect("trade_reader") as connection:
        row = connection.execute(
            "SELECT market FROM trade.sessions WHERE mode NOT IN ('manual', 'imported') "
            "ORDER BY recorded_at DESC LIMIT 1"
        ).fetchone()
    if row is None:
        raise BadConfig("no session is stored: materialise trade_candidates for some days first")
    return str(row[0])


@dg.multi_asset_check(
    name="dataset_guards",
    specs=[
        dg.AssetCheckSpec(name, asset="training_dataset", description=_MEANING[name], blocking=True)
        for name in GUARDS
    ],
    # Lets a user ask one of them in the UI; all are asked and kept, whichever are shown.
    can_subset=True,
)
def dataset_guards(
    context: dg.AssetCheckExecutionContext, config: MarketConfig, store: TradeStore
) -> Iterator[dg.AssetCheckResult]:
    """Ask every leak guard about the newest dataset, and keep the verdicts beside it.

    A recording's folder must be given as for its sessions: what cannot be recomputed fails.
    """
    data, mentions = (None if f is None else Path(f) for f in (config.data, config.mentions))
    with store.open() as opened:
        with opened.database.connect("trade_reader") as connection:
            version = newest_dataset(connection)
        feeds = markets_of(opened, version, data, mentions)
        _, verdicts = guard_dataset(opened, version, feeds)
    asked = context.selected_asset_check_keys
    for guard in verdicts:
        if dg.AssetCheckKey(dg.AssetKey("training_dataset"), guard.name) not in asked:
            continue
        description = "; ".join(guard.reasons[:3]) or "nothing found"
        yield dg.AssetCheckResult(
            check_name=guard.name,
            asset_key="training_dataset",
            passed=guard.passed,
            severity=dg.AssetCheckSeverity.ERROR,
            description=description,
            metadata={
                "dataset": version,
                "culprits": ", ".join(guard.culprits[:_SHOWN]) or "none",
                "reasons": dg.MetadataValue.md(
                    "\n".join(f"- {reason}" for reason in guard.reasons[:_SHOWN]) or "_none_"
                ),
                "numbers": dg.MetadataValue.json(guard.numbers),
            },
        )
