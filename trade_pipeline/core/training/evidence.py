"""What the gates judge: candidates with what every model made of them, and how the model came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trade_pipeline.core.market.event import Floats, Ints

# Of the market on the decision's day.
REGIMES = ("falling", "flat", "rising")


@dataclass(frozen=True, slots=True)
class Scored:
    """The candidates of one split in order of time, and what each model makes of them.

    Arrays of one length.

    Attributes:
        day: UTC day number of the decision.
        token: a code per token.
        regime: index into `REGIMES`.
        returns: the label, a fraction after all costs.
        predicted: the model's expected return.
        confidence: its calibrated probability of a profit.
        stake: what it would stake, 0 (not entered) to 1 (the full stake).
        heuristic_stake, linear_stake, incumbent_stake: the same of the heuristic, the linear
            baseline and the model in production; None: there is none.
    """

    day: Ints
    token: Ints
    regime: Ints
    returns: Floats
    predicted: Floats
    confidence: Floats
    stake: Floats
    heuristic_stake: Floats
    linear_stake: Floats
    incumbent_stake: Floats | None


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold of the purged cross-validation inside training.

    Both models are asked about market-adjusted returns.

    Attributes:
        rank_correlation: of the classifier's log odds of a profit.
        return_rank_correlation, r2: of the regressor's expected return.
        rows: that were held out.
    """

    rank_correlation: float
    return_rank_correlation: float
    r2: float
    rows: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the gates are given.

    Attributes:
        executed, shadow: members of the dataset with and without a realised result.
        days: UTC days of its decisions.
        train_mean: mean return in training, which the constant baseline predicts.
        train_range: lowest and highest return in training.
        folds: of the chosen hyper-parameters.
        trial_days: (days, trials) out-of-fold value by day of each trial.
        earlier_trials: of models that were trained before on this market.
        guards: the newest verdicts of the leak guards on this dataset; None: never asked.
        holdout_used_by: other models whose holdout window overlaps this one.
        importance: share of the mean absolute contribution by feature.
    """

    executed: int
    shadow: int
    days: int
    validation: Scored
    holdout: Scored
    train_mean: float
    train_range: tuple[float, float]
    folds: Sequence[Fold]
    trial_days: Floats
    chosen_trial: int
    earlier_trials: int
    guards: Mapping[str, bool] | None
    holdout_used_by: Sequence[str]
    importance: Mapping[str, float]
