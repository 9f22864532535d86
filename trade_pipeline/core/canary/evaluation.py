"""A look at a canary: from stored rows, and what was fixed at its start, to the verdict."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from trade_pipeline.core.canary.blocks import Blocks, block_values
from trade_pipeline.core.canary.books import ShadowBook, shadow_book
from trade_pipeline.core.canary.config import CanaryConfig
from trade_pipeline.core.canary.decision import CanaryDecision, decide_canary
from trade_pipeline.core.canary.guardrails import (
    Guardrail,
    OffPolicy,
    drawdown,
    execution_gap,
    latency,
    off_policy,
    sample_ratio,
    share_of,
    tail_loss,
    worst_loss,
)
from trade_pipeline.core.canary.paired import Compared
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import HOUR, Floats
from trade_pipeline.core.strategy.config import StrategyConfig
from trade_pipeline.core.strategy.model import TradeModel

if TYPE_CHECKING:
    import pandas as pd

# Decisions of which each is asked alone for the latency.
_TIMED = 20
# An error or two of few decisions are told at once; of many, a twentieth is too much.
_MAX_ERRORS, _MIN_DECISIONS = 0.05, 20
# By which more inputs may be unknown than before it began; of how many at least.
_MORE_MISSING, _MIN_INPUTS = 0.1, 500


@dataclass(frozen=True, slots=True)
class Terms:
    """What was fixed when a canary began, and is stored with its deployment.

    Attributes:
        starts_at: market time; nothing that was decided before counts.
        production: version of what it is measured beside.
        production_stake: mean sum of production's stakes in a block before the canary.
        variance_ratio: of the mean over blocks to that of independent ones, before the canary.
        missing_share: of the canary's inputs that were unknown in the rows before it.
        salt: of the arms' draw.
    """

    config: CanaryConfig
    starts_at: datetime
    production: str
    production_stake: float
    variance_ratio: float
    missing_share: float
    salt: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data for a record."""
        return asdict(self) | {
            "config": self.config.model_dump(mode="json"),
            "starts_at": self.starts_at.isoformat(),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Terms:
        """The terms of what `to_dict` gave."""
        return cls(
            **dict(state)
            | {
                "config": CanaryConfig.parse(dict(state["config"])),
                "starts_at": datetime.fromisoformat(state["starts_at"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a look found.

    Attributes:
        secondary: from the executed trades of both arms; it decides nothing.
        books: equity of both shadow books, the canary's first.
    """

    decision: CanaryDecision
    guardrails: Sequence[Guardrail]
    secondary: OffPolicy
    books: tuple[Floats, Floats]


@dataclass(frozen=True, slots=True)
class Health:
    """How the canary's model does at the look.

    Attributes:
        milliseconds: of a prediction of one decision alone, the median; 0 without decisions.
        unknown, inputs: values that it read, and how many of them were unknown.
    """

    milliseconds: float
    unknown: int
    inputs: int

    @classmethod
    def of(cls, model: TradeModel, rows: pd.DataFrame) -> Health:
        """The health of a model that is asked about decisions.

        Raises:
            BadConfig: it does not say how confident it is.
        """
        inputs = model.inputs_of(rows)
        confidence = model.predict(inputs).confidence
        if not ((confidence >= 0) & (confidence <= 1)).all():
            raise BadConfig("confidence: the model does not say how confident it is (0 to 1)")
        spent = []
        for row in range(min(_TIMED, len(inputs))):
            started = time.perf_counter()
            model.predict(inputs[row : row + 1])
            spent.append(1_000 * (time.perf_counter() - started))
        return cls(
            float(np.median(spent)) if spent else 0.0, int(np.isnan(inputs).sum()), inputs.size
        )


def evaluate_canary(
    compared: Compared, terms: Terms, strategy: StrategyConfig, health: Health, now: datetime
) -> Evaluation:
    """Judge a canary by what was known at a moment."""
    paired, config = compared.paired, terms.config
    ended, stakes = paired.ended_at >= 0, (paired.canary_stake, paired.production_stake)
    own, other = (_book(compared, stake, strategy) for stake in stakes)
    mine = compared.by_canary & ended & ~np.isnan(compared.realised)
    allowed = terms.missing_share + _MORE_MISSING
    found = [
        drawdown(own.equity, other.equity),
        worst_loss(own.worst, other.worst),
        tail_loss(
            paired.returns[ended & (paired.canary_stake > 0)],
            paired.returns[ended & (paired.production_stake > 0)],
        ),
        execution_gap(compared.realised[mine], paired.returns[mine]),
        share_of(
            "errors", int(compared.failed.sum()), len(compared.failed), _MAX_ERRORS, _MIN_DECISIONS
        ),
        share_of("missing_features", health.unknown, health.inputs, allowed, _MIN_INPUTS),
        sample_ratio(*_windows(compared, config.window_hours), config.share),
        latency(health.milliseconds),
    ]
    decision = decide_canary(
        block_values(paired, micros(now), config.block_hours, terms.production_stake), found,
        micros(terms.starts_at), micros(now), config, terms.variance_ratio,
        entries=int((paired.canary_stake > 0).sum()),
    )  # fmt: skip
    traded = ~np.isnan(compared.realised)
    secondary = off_policy(
        compared.realised[traded], compared.propensity[traded], compared.by_canary[traded]
    )
    return Evaluation(decision, found, secondary, (own.equity, other.equity))


def broken_canary(error: Exception, terms: Terms, now: datetime) -> Evaluation:
    """The look at a canary that cannot be loaded or asked: whatever is wrong, it cannot decide."""
    found = [Guardrail("works", False, f"{type(error).__name__}: {error}", {})]
    none = Blocks(np.array([], np.int64), np.array([]), np.array([], np.int64), 0)
    decision = decide_canary(
        none, found, micros(terms.starts_at), micros(now), terms.config, entries=0
    )
    return Evaluation(decision, found, OffPolicy(np.nan, 0.0), (np.array([]), np.array([])))


def _book(compared: Compared, stake: Floats, strategy: StrategyConfig) -> ShadowBook:
    paired = compared.paired
    return shadow_book(
        paired.at, compared.token, stake, paired.returns, paired.ended_at, compared.stopped,
        strategy,
    )  # fmt: skip


def _windows(compared: Compared, window_hours: int) -> tuple[int, int]:
    """Token windows that the canary and production drew; where it failed none is told."""
    window = compared.paired.at // (window_hours * HOUR)
    rows = np.column_stack((compared.token, window, compared.by_canary))[~compared.failed]
    canary = int(np.unique(rows, axis=0)[:, 2].sum())
    return canary, len(np.unique(rows, axis=0)) - canary
