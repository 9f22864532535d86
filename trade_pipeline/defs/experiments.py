"""The comparison of an experiment's variants as an asset."""

from typing import Any

import dagster as dg
from pydantic import Field

from trade_pipeline.defs.markdown import markdown_table, records_table
from trade_pipeline.defs.report import picture
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.defs.trades import KINDS, OWNERS


class ExperimentConfig(dg.Config):
    """A stored experiment."""

    experiment: str = Field(description="Name of the experiment, as `experiment list` tells it.")


@dg.asset(
    group_name="outcome",
    deps=["trade_outcomes"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "report"},
    code_version="1",
)
def experiment_report(config: ExperimentConfig, store: TradeStore) -> dg.MaterializeResult[Any]:
    """What may be said of an experiment's variants, corrected for how many were tried."""
    from dataclasses import asdict

    from trade_pipeline.core.experiment.comparison import compare
    from trade_pipeline.core.report.experiment_pictures import differences_png

    with store.open() as opened, opened.database.connect("trade_reader") as connection:
        found = compare(connection, opened.artifacts, config.experiment)
    metadata: dict[str, Any] = {
        "experiment": dg.MetadataValue.text(found.experiment),
        "description": dg.MetadataValue.text(found.description),
        "definition": dg.MetadataValue.text(found.definition),
        "metric": dg.MetadataValue.text(found.metric),
        "baseline": dg.MetadataValue.text(found.baseline),
        "sessions": found.sessions,
        "stored_sessions": found.stored,
        "method": dg.MetadataValue.text(found.method),
        "settings": dg.MetadataValue.md(
            markdown_table(
                ["variant", "differs from the baseline in"],
                [
                    [name, ", ".join(f"{key}={value}" for key, value in one.items()) or "-"]
                    for name, one in found.differing.items()
                ],
            )
        ),
    }
    for group in found.groups:
        plain = asdict(group)
        metadata |= {
            f"{group.market}: in words": dg.MetadataValue.md("\n\n".join(group.words)),
            f"{group.market}: variants": dg.MetadataValue.md(
                records_table([asdict(one) for one in group.variants])
            ),
            f"{group.market}: differences": picture(
                "differences to the baseline", differences_png(plain, found.baseline)
            ),
            f"{group.market}: worlds": dg.MetadataValue.md(", ".join(group.worlds)),
        }
    return dg.MaterializeResult(metadata=metadata)


experiment_job = dg.define_asset_job(
    "experiment_job",
    selection=dg.AssetSelection.assets(experiment_report),
    description="The comparison of an experiment's variants; `experiment run` runs the sessions.",
    tags={"dagster/max_retries": "0"},
    executor_def=dg.in_process_executor,
)
