"""A stored dataset whose features tell of the return so well that every gate must pass."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.engineer import FeatureEngineer
from trade_pipeline.core.dataset.guards import GUARDS, GuardVerdict
from trade_pipeline.core.features.registry import NAMES, feature_set
from trade_pipeline.core.features.vector import vector_hash
from trade_pipeline.core.ids import micros, trade_uuid
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.records import FeatureRow, Record, TerminationReason
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.artifacts import record_artifact
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.strategy.traffic import Traffic, arm
from trade_pipeline.core.training.config import TrainingConfig
from trade_pipeline.core.training.policy import idle_stakes
from trade_pipeline.core.training.register import load_model, train_model
from trade_pipeline.core.training.registry import read_model
from trade_pipeline_tests.core import samples

MARKET = "simulated"
# Where the session's rug probabilities are said to come from.
RUG_RISK_MODEL = "sha256:" + "c" * 64
SETTINGS = TradingConfig(rug_risk_model=RUG_RISK_MODEL)
TELLING = ("volatility_72h", "rug_probability", "holders", "sentiment_level")
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


def store_later_session(
    store: Store, days: int, name: str, skill: float = 1.0, canary: str | None = None
) -> None:
    """Decisions of the days after the dataset, in which the signal holds, or turns around.

    Args:
        canary: version of a model that was on trial beside the heuristic then.
    """
    start = _START + timedelta(days=_ROWS // _PER_DAY + 2)
    rows = days * _PER_DAY
    with store.database.connect() as connection:
        params = record_artifact(
            connection, store.artifacts, SETTINGS.canonical(), media_type="application/json"
        )
        model = None if canary is None else load_model(store, read_model(connection, canary))
        trial = None if model is None else (str(canary), *_stakes_of(model, _columns(rows)))
        append_bulk(connection, name, _session(params, name, start, rows, skill, trial))


def _stakes_of(model: TradeModel, columns: pd.DataFrame) -> tuple[Floats, Floats]:
    confidence = model.predict(model.inputs_of(columns)).confidence
    heuristic = columns["heuristic_confidence"].to_numpy(np.float64)
    strategy = SETTINGS.strategy
    return (
        idle_stakes(confidence, model.entry_confidence, columns, strategy),
        idle_stakes(heuristic, strategy.signal.min_confidence, columns, strategy),
    )


def _beside(
    canary: str, stake: float, heuristic: float, token: str, at: datetime
) -> dict[str, Any]:
    drawn = arm(token, micros(at), Traffic(model=canary))
    name = "canary" if drawn.canary else "production"
    told = {
        "arm": name,
        "propensity": drawn.propensity,
        "model": canary,
        "production_model": HEURISTIC_VERSION,
        "canary": {"confidence": 0.5, "stake": stake},
        "production": {"confidence": 0.5, "stake": heuristic},
    }
    return {
        "arm": name, "propensity": drawn.propensity, "canary_version": canary, "canary": told
    }  # fmt: skip


def _session(
    params: str | None,
    name: str = "strong",
    start: datetime = _START,
    rows: int = _ROWS,
    skill: float = 1.0,
    trial: tuple[str, Floats, Floats] | None = None,
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
        more: dict[str, Any] = {}
        if trial is not None:
            canary, *stakes = trial
            more = _beside(canary, *(float(stake[number]) for stake in stakes), token, at)
        made += [
            samples.candidate(number, name, instrument=token, decided_at=at, uuid=uuid, **more),
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
            "volatility_24h": 0.1,
            "stake_to_depth": 0.1,
        }
    )
