"""Seconds of Feast's point-in-time join; run by `features.py` in Feast's own environment.

python feast_join.py FOLDER FEATURE...   (FOLDER holds rows.parquet and pairs.parquet)
"""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64


def main(folder: Path, names: list[str]) -> None:
    store = FeatureStore(
        config=RepoConfig(
            project="benchmark",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
        )
    )
    token = Entity(name="token", join_keys=["token"], value_type=ValueType.INT64)
    source = FileSource(path=str(folder / "rows.parquet"), timestamp_field="event_timestamp")
    view = FeatureView(
        name="facts",
        entities=[token],
        ttl=timedelta(days=3650),
        schema=[Field(name=name, dtype=Float64) for name in names],
        source=source,
    )
    store.apply([token, view])
    pairs = pd.read_parquet(folder / "pairs.parquet")
    started = time.perf_counter()
    features = [f"facts:{name}" for name in names]
    store.get_historical_features(entity_df=pairs, features=features).to_df()
    print(json.dumps(time.perf_counter() - started))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
