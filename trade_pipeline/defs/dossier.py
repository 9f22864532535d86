"""The dossier of one trade, as the UI shows it: the same content as `trade-pipeline trace`."""

from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from trade_pipeline.core.session.version import code_version
from trade_pipeline.defs.queue import AT_ONCE
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.defs.trades import KINDS, OWNERS


class DossierConfig(dg.Config):
    """Which trade, and where its market is recorded."""

    uuid: str = Field(description="The trade's UUID.")
    data: str | None = Field(
        None,
        description="Folder of the recording that the session ran on; live sessions and simulated "
        "markets need none.",
    )
    mentions: str | None = Field(
        None, description="Folder with hourly mention counts; for spot-1h only."
    )


@dg.asset(
    group_name="outcome",
    deps=["trade_outcomes"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "report"},
    code_version=code_version(),
)
def dossier(config: DossierConfig, store: TradeStore) -> dg.MaterializeResult[Any]:
    """Everything about one trade: known, decided, done, what came of it, where it went."""
    from trade_pipeline.core.dossier.gather import gather
    from trade_pipeline.core.dossier.markdown import markdown_of
    from trade_pipeline.core.dossier.market import around
    from trade_pipeline.core.dossier.page import printable
    from trade_pipeline.core.dossier.sections import page_of
    from trade_pipeline.core.tracking import uuid_of

    with store.open() as opened, opened.database.connect("trade_reader") as connection:
        found = around(
            gather(connection, opened.artifacts, uuid_of(config.uuid)),
            connection,
            opened.artifacts,
            data=None if config.data is None else Path(config.data),
            mentions=None if config.mentions is None else Path(config.mentions),
        )
    page = page_of(found)
    return dg.MaterializeResult(
        metadata={
            "verdict": dg.MetadataValue.text(printable(page.verdict)),
            "uuid": dg.MetadataValue.text(page.uuid),
            "kind": dg.MetadataValue.text(page.subtitle),
        }
        | {
            f"{number} {title}": dg.MetadataValue.md(told)
            for number, (title, told) in enumerate(markdown_of(page).items(), 1)
        }
    )


trade_dossier = dg.define_asset_job(
    "trade_dossier",
    selection=dg.AssetSelection.assets(dossier),
    description="Shows everything about one trade: give its uuid in the launchpad.",
    tags=AT_ONCE | {"dagster/max_retries": "0"},
    executor_def=dg.in_process_executor,
)
