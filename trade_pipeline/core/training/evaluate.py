"""What a model shows on rows that it did not learn from: the evidence that the gates judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.dataset.rows import DatasetRows
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.strategy.config import SignalConfig
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.training.baselines import LinearBaseline
from trade_pipeline.core.training.evidence import Evidence, Fold, Scored
from trade_pipeline.core.training.policy import dealt_by, may_enter, stakes
from trade_pipeline.core.training.search import Search, TrainingRows, utc_days

if TYPE_CHECKING:
    import pandas as pd

# Rows whose contributions tell a model's importances.
IMPORTANCE_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class SearchSummary:
    """What is kept of a search in the model's record.

    Attributes:
        folds: of the chosen trial.
        trial_days: (days, trials), see `trial_days`.
    """

    folds: Sequence[Fold]
    trial_days: Floats
    chosen: int

    @classmethod
    def of(cls, search: Search, rows: TrainingRows) -> SearchSummary:
        """The summary of a search over some rows."""
        days = np.stack([daily_values(trial.margin, rows) for trial in search.trials], axis=1)
        return cls(search.trials[search.chosen].folds, days, search.chosen)

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {
            "folds": [asdict(fold) for fold in self.folds],
            "trial_days": self.trial_days.tolist(),
            "chosen": self.chosen,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> SearchSummary:
        """The summary of what `to_dict` gave."""
        return cls(
            [Fold(**fold) for fold in state["folds"]],
            np.array(state["trial_days"], np.float64),
            int(state["chosen"]),
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """What else stands around a model when it is judged.

    Attributes:
        incumbent: the model in production; None: there is none.
        earlier_trials: of models that were trained before on this market.
        guards: the newest verdicts of the leak guards on the dataset; None: never asked.
        holdout_used_by: other models whose holdout window overlaps this one's.
    """

    incumbent: TradeModel | None = None
    earlier_trials: int = 0
    guards: Mapping[str, bool] | None = None
    holdout_used_by: Sequence[str] = ()


def evidence_of(
    model: TradeModel,
    summary: SearchSummary,
    training: TrainingRows,
    dataset: DatasetRows,
    standing: Standing,
    signal: SignalConfig,
) -> Evidence:
    """Let the model, the heuristic, the linear baseline and the incumbent judge later candidates.

    Args:
        training: what the model learned from; the linear baseline learns from it here.
        signal: the filters that hold for every model.
    """
    linear = LinearBaseline.fit(training)
    bounds = regime_bounds(training.frame)

    def scored(name: str) -> Scored:
        return _scored(dataset.split(name), model, linear, standing.incumbent, signal, bounds)

    rows = dataset.rows
    executed = int(rows["realised_return"].notna().sum())
    return Evidence(
        executed=executed,
        shadow=len(rows) - executed,
        days=int(rows["decided_at"].dt.floor("D").nunique()),
        validation=scored("validation"),
        holdout=scored("test"),
        train_mean=float(np.average(training.returns, weights=training.weights)),
        train_range=(float(training.returns.min()), float(training.returns.max())),
        folds=summary.folds,
        trial_days=summary.trial_days,
        chosen_trial=summary.chosen,
        earlier_trials=standing.earlier_trials,
        guards=standing.guards,
        holdout_used_by=standing.holdout_used_by,
        importance=importances(model, dataset.split("validation")),
    )


def importances(model: TradeModel, frame: pd.DataFrame) -> dict[str, float]:
    """Share of the mean absolute contribution by input, the largest first."""
    step = max(1, len(frame) // IMPORTANCE_ROWS)
    _, values = model.contributions(model.inputs_of(frame.iloc[::step]))
    mean = np.abs(values).mean(axis=0)
    total = float(mean.sum())
    share = mean / total if total > 0 else mean
    order = np.argsort(-share, kind="stable")
    return {model.inputs[index]: float(share[index]) for index in order.tolist()}


def daily_values(score: Floats, rows: TrainingRows) -> Floats:
    """What leaning towards the higher ranked candidates earns by UTC day, per candidate.

    Candidates weigh by their rank among all rows, from -1/2 to 1/2; returns are market-adjusted.
    """
    from scipy.stats import rankdata

    lean = (rankdata(score) - 0.5) / len(score) - 0.5
    _, day = np.unique(rows.days, return_inverse=True)
    found: Floats = np.bincount(day, lean * rows.adjusted) / np.bincount(day)
    return found


def regime_bounds(frame: pd.DataFrame) -> tuple[float, float]:
    """The market's 24 h moves that part falling, flat and rising days: thirds of these days."""
    moves = _market_moves(frame)
    low, high = np.quantile(moves[~np.isnan(moves)], (1 / 3, 2 / 3)) if len(moves) else (0.0, 0.0)
    return float(low), float(high)


def _scored(
    frame: pd.DataFrame,
    model: TradeModel,
    linear: LinearBaseline,
    incumbent: TradeModel | None,
    signal: SignalConfig,
    bounds: tuple[float, float],
) -> Scored:
    prediction = model.predict(model.inputs_of(frame))
    heuristic = frame["heuristic_confidence"].to_numpy(np.float64)
    stake = stakes(prediction.confidence, model.entry_confidence, frame, signal)
    return Scored(
        day=utc_days(frame),
        token=frame.groupby(["market", "instrument"]).ngroup().to_numpy().astype(np.int64),
        regime=_regimes(_market_moves(frame), bounds),
        returns=frame["target_return"].to_numpy(np.float64),
        predicted=prediction.expected_return,
        confidence=prediction.confidence,
        stake=stake,
        heuristic_stake=stakes(heuristic, signal.min_confidence, frame, signal),
        linear_stake=dealt_by(linear.score(frame), stake, may_enter(frame, signal)),
        incumbent_stake=None
        if incumbent is None
        else stakes(
            incumbent.predict(incumbent.inputs_of(frame)).confidence,
            incumbent.entry_confidence,
            frame,
            signal,
        ),
    )


def _market_moves(frame: pd.DataFrame) -> Floats:
    """By row, the day's mean of how far the quote token (or BTC) had moved in 24 h."""
    moves = frame["reference_return_24h"].groupby(frame["decided_at"].dt.floor("D"))
    found: Floats = moves.transform("mean").to_numpy(np.float64)
    return found


def _regimes(moves: Floats, bounds: tuple[float, float]) -> npt.NDArray[np.int64]:
    """Index into `REGIMES`; an unknown move counts as flat."""
    low, high = bounds
    return np.where(moves < low, 0, np.where(moves > high, 2, 1)).astype(np.int64)
