"""Features from Python: extract them from the records, select, and prepare a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from trade_pipeline.core.clock import SystemClock
from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.dataset import Dataset, build_dataset
from trade_pipeline.core.dataset.frame import feature_versions, read_trade_frame
from trade_pipeline.core.dataset.labels import feature_names, labelled_decisions
from trade_pipeline.core.dataset.membership import record_dataset
from trade_pipeline.core.dataset.split import time_splits
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.features.hot import HotFeatures, Read, read_features
from trade_pipeline.core.features.preparation import select_features, selection_scores
from trade_pipeline.core.features.registry import NAMES, feature_set
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import HOUR
from trade_pipeline.core.store.closing import Closing
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.store.valkey_server import open_cache
from trade_pipeline.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


class FeatureEngineer(Closing):
    """Turns the stored trades into what a model learns from.

    Args:
        db_path: a folder with a store of its own; None: the store that the settings name.
        store: an open store to use instead; it stays open.

    Raises:
        StoreUnavailable: the database cannot be started or reached.
    """

    def __init__(self, db_path: str | Path | None = None, *, store: Store | None = None) -> None:
        self._owned = store is None
        self._settings = Settings() if db_path is None else Settings(home=Path(db_path))
        self.store = Store.of(db_path) if store is None else store

    def extract_all_features(
        self,
        *,
        sessions: Sequence[str] | None = None,
        market: str | None = None,
        include_imported: bool = False,
    ) -> pd.DataFrame:
        """Every stored decision with its features and results: see `read_trade_frame`."""
        with self.store.database.connect("trade_reader") as connection:
            return read_trade_frame(
                connection, sessions=sessions, market=market, include_imported=include_imported
            )

    def select_features(
        self, features_df: pd.DataFrame, k: int = 50, config: DatasetConfig | None = None
    ) -> tuple[pd.DataFrame, list[str]]:
        """Keep the k features that tell most of the return, judged on training rows alone.

        Args:
            features_df: from `extract_all_features`.
            config: how the rows are labelled and split; see `prepare_ml_dataset`.

        Returns:
            The frame without the other features, and the names that are left.

        Raises:
            BadConfig: no decision has an ended label, or no feature can be judged.
        """
        chosen = config or default_config(features_df)
        names = feature_names(features_df)
        rows, _ = labelled_decisions(features_df, chosen)
        if len(rows) < 3:
            raise BadConfig(
                f"features: {len(rows)} decisions have an ended {chosen.label} label, expected at "
                "least 3, one a split"
            )
        train = rows.iloc[time_splits(rows, chosen).rows["train"]]
        scores = selection_scores(train, names, train["target_return"].to_numpy())
        selected = list(select_features(names, scores, k))
        if not selected:
            raise BadConfig(f"features: none can be judged on {len(train)} training rows")
        dropped = [name for name in names if name not in selected]
        frame = features_df.drop(columns=dropped)
        frame.attrs["features"] = selected
        return frame, selected

    def prepare_ml_dataset(
        self, selected_df: pd.DataFrame, config: DatasetConfig | None = None
    ) -> Dataset:
        """Splits by time, purged and embargoed, with labels, weights and fitted preparation.

        Args:
            config: None: the defaults, with shadow labels, or realised ones where no trade has a
                shadow (trades that were recorded through the Python API).

        Raises:
            BadConfig: too few decisions, or decisions that must not be mixed.
        """
        chosen = config or default_config(selected_df)
        return build_dataset(selected_df, chosen, feature_versions=feature_versions())

    def get_online_features(
        self,
        market: str,
        instruments: Sequence[str],
        *,
        at: datetime | None = None,
        max_age_hours: float = 24,
    ) -> Read:
        """The newest vector of each token of a scan: from the cache in one round trip, and what it
        lacks from the database in one query.

        Args:
            at: as they could be known then; None: now.
            max_age_hours: older ones are stale.

        Returns:
            Vectors in the order of the feature set; ``notes`` say what did not come from the cache.
        """
        moment = SystemClock().micros() if at is None else micros(at)
        with open_cache(self._settings) as client:
            hot = HotFeatures(client, feature_set(), NAMES)
            return read_features(
                hot, self.store.database, market, instruments, moment, int(max_age_hours * HOUR)
            )

    def store_dataset(self, dataset: Dataset) -> bool:
        """Store a dataset with its members; whether it is new."""
        with self.store.database.connect() as connection:
            return record_dataset(connection, dataset)

    def close(self) -> None:
        """Give the store back, if it was opened here."""
        if self._owned:
            self.store.close()


def default_config(frame: pd.DataFrame) -> DatasetConfig:
    """The defaults for a frame: shadow labels where there are any, else realised ones."""
    return DatasetConfig(label="shadow" if frame["shadow_return"].notna().any() else "realised")
