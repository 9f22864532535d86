"""A stored dataset whose features tell of the return so well that every gate must pass."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.engineer import FeatureEngineer
from trade_pipeline.core.dataset.guards import GUARDS, GuardVerdict
from trade_pipeline.core.features.registry import NAMES, feature_set
from trade_pipeline.core.features.vector import vector_hash
from trade_pipeline.core.ids import micros, trade_uuid
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.records import FeatureRow, Record, TerminationReason
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.artifacts import record_artifact
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.training.config import TrainingConfig
from trade_pipeline.core.training.register import train_model
from trade_pipeline_tests.core import samples

MARKET = "simulated"
# Where the session's rug probabilities are said to come from.
RUG_RISK_MODEL = "sha256:" + "c" * 64
SETTINGS = TradingConfig(rug_risk_model=RUG_RISK_MODEL)
TELLING = ("volatility_24h", "rug_probability", "holders", "sentiment_level")
TRAINING = TrainingConfig(trials=2, folds=3, name="strong")
_START = datetime(2021, 1, 1, tzinfo=UTC)
_ROWS, _PER_DAY, _TOKENS = 3_000, 20, 20


@dataclass(frozen=True, slots=True)
class Strong:
    """What stands in a store with the strong signal.

    Attributes:
        dataset, model: versions.
        artifacts: the folder of the artifacts.
    """

    dataset: str
    model: str
    artifacts: str


def train_strong(store: Store) -> tuple[str, str]:
    """The versions of the dataset and of a model that learned from it."""
    dataset = store_dataset(store)
    return dataset, train_model(store, dataset, TRAINING).model_version


def store_dataset(store: Store) -> str:
    """Decisions with vectors and shadow outcomes, their dataset, and guards that passed."""
    with store.database.connect() as connection:
        params = record_artifact(
            connection, store.artifacts, SETTINGS.canonical(), media_type="application/json"
        )
        append_bulk(connection, "strong", _session(params))
    engineer = FeatureEngineer(store=store)
    dataset = engineer.prepare_ml_dataset(
        engineer.extract_all_features(), DatasetConfig(name="strong")
    )
    engineer.store_dataset(dataset)
    store_guards(store, dataset.version, 0)
    return dataset.version


def store_guards(store: Store, dataset: str, evaluation: int, *failed: str) -> None:
    """Verdicts of every leak guard, as a later look at the dataset."""
    verdicts = [
        GuardVerdict(dataset, evaluation, guard, guard not in failed, [], {}, [])
        for guard in GUARDS
    ]
    with store.database.connect() as connection:
        append_bulk(connection, f"guards:{dataset}", verdicts)


def store_later_session(store: Store, days: int, name: str, skill: float = 1.0) -> None:
    """Decisions of the days after the dataset, in which the signal holds, or turns around."""
    start = _START + timedelta(days=_ROWS // _PER_DAY + 2)
    with store.database.connect() as connection:
        append_bulk(connection, name, _session(None, name, start, days * _PER_DAY, skill))


def _session(
    params: str | None,
    name: str = "strong",
    start: datetime = _START,
    rows: int = _ROWS,
    skill: float = 1.0,
) -> list[Record]:
    columns = _columns(rows)
    vectors = columns.reindex(columns=list(NAMES)).to_numpy(np.float64)
    told = np.tanh(columns[list(TELLING)]).sum(axis=1).to_numpy()
    draw = np.random.default_rng(1)
    returns = np.clip(0.06 * skill * told + draw.normal(0, 0.06, rows), -0.9, 0.9)
    made: list[Record] = [samples.session(name, market=MARKET, params_ptr=params)]
    for number in range(rows):
        at = start + number * timedelta(days=1) / _PER_DAY
        token = f"token-{draw.integers(_TOKENS)}"
        uuid = trade_uuid(name, token, number, micros(at))
        vector, hours = vectors[number], float(draw.uniform(1, 12))
        made += [
            samples.candidate(number, name, instrument=token, decided_at=at, uuid=uuid),
            FeatureRow(uuid, feature_set(), at, vector.tolist(), vector_hash(vector)),
            samples.outcome(
                uuid,
                kind="shadow",
                realized_pnl_percent=100 * float(returns[number]),
                time_in_market_seconds=hours * 3600,
                closed_at=at + timedelta(hours=hours),
                termination_reason=TerminationReason.MAX_HOLD,
            ),
        ]
    return made


def _columns(rows: int) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            **{name: draw.normal(size=rows) for name in TELLING},
            "return_24h": draw.choice([-0.1, 0.1], rows),
            "rug_risk": draw.uniform(0, 0.5, rows),
            "heuristic_confidence": draw.uniform(0, 1, rows),
            "reference_return_24h": draw.normal(0, 0.02, rows),
        }
    )
