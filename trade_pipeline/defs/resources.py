"""What the assets use: the store, and who wants to know how far a session is.

Nothing is opened when the definitions are loaded: a code location starts no server.  A run opens
the store where it needs it, by the settings of its environment, so that no secret is in a run's
config.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from trade_pipeline.core.errors import TradePipelineError
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.store.valkey_server import open_cache
from trade_pipeline.settings import Settings

if TYPE_CHECKING:
    import redis


class TradeStore(dg.ConfigurableResource[None]):
    """The database of the records and the artifacts, by the settings of the environment."""

    @contextmanager
    def open(self) -> Iterator[Store]:
        """The store, as long as the block lasts.

        A mistake that the user can mend ends the run at once, with its message.
        """
        try:
            with Store.open(Settings()) as store:
                yield store
        except TradePipelineError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error

    @contextmanager
    def open_cache(self) -> Iterator[redis.Redis]:
        """A client of the hot features' cache, as long as the block lasts."""
        with open_cache(Settings()) as client:
            yield client


def no_progress(events: int, at: int) -> None:
    """Nobody watches; `run_backtest_job` puts a progress bar here."""
