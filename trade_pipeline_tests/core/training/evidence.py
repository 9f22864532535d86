"""Evidence made up for the tests of the gates: a good model, to be spoiled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from trade_pipeline.core.dataset.guards import GUARDS
from trade_pipeline.core.training.evidence import Evidence, Fold, Scored

ROWS, DAYS, TOKENS = 2_400, 60, 30


def scored(seed: int = 0, skill: float = 1.0) -> Scored:
    """Candidates whose days and tokens move together; ``skill`` 0: the model knows nothing."""
    draw = np.random.default_rng(seed)
    day = np.sort(draw.integers(0, DAYS, ROWS))
    token = draw.integers(0, TOKENS, ROWS)
    known = draw.normal(size=ROWS)
    together = draw.normal(0, 0.03, DAYS)[day] + draw.normal(0, 0.01, TOKENS)[token]
    returns = np.clip(0.06 * skill * known + together + draw.normal(0, 0.12, ROWS), -0.95, 2)
    confidence = 1 / (1 + np.exp(-0.9 * known)) if skill else draw.uniform(0.4, 0.6, ROWS)
    return Scored(
        day=day,
        token=token,
        regime=(np.arange(DAYS) % 3)[day],
        returns=returns,
        predicted=0.05 * known,
        confidence=confidence,
        stake=np.where(confidence >= 0.55, 0.5 + confidence / 2, 0.0),
        heuristic_stake=(draw.random(ROWS) < 0.4) * 0.6,
        linear_stake=(known + draw.normal(0, 1, ROWS) > 0.5) * 0.6,
        incumbent_stake=None,
    )


def good(**changes: Any) -> Evidence:
    """Evidence that every gate accepts, but for what is changed."""
    draw = np.random.default_rng(5)
    trials = np.linspace(0.2, 0.6, 6) * 0.02 + draw.normal(0, 0.01, (90, 6))
    evidence = Evidence(
        executed=200,
        shadow=4_600,
        days=120,
        validation=scored(1),
        holdout=scored(2),
        train_mean=0.0,
        train_range=(-0.95, 1.5),
        folds=[Fold(score, 0.1, 0.01, 500) for score in (0.2, 0.15, 0.3, 0.25)],
        trial_days=trials,
        chosen_trial=5,
        earlier_trials=20,
        guards=dict.fromkeys(GUARDS, True),
        holdout_used_by=(),
        importance={"one": 0.4, "two": 0.35, "three": 0.25},
    )
    return replace(evidence, **changes)
