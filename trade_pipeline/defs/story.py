"""The simulated story: a signal that a model can find, and a day from which tokens look wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from trade_pipeline.defs.campaign import CampaignPlan

# The heuristic trades, a canary earns production, and some days later the regime changes.
FIRST, LEARN_DAYS = date(2026, 1, 5), 45
CHANGE = FIRST + timedelta(days=LEARN_DAYS + 6)
LAST = CHANGE + timedelta(days=9)

# Pools that live for hours, so that labels end within a block of six.  A third are honest; the
# others look it, and are drained about three and a half hours after their birth.
_SIMULATOR: dict[str, Any] = {
    "pools_per_day": 120, "burn_in_days": 1, "life_days_max": 0.33, "life_hours_median": 200,
    "life_sigma": 0.2, "honest_share": 0.33, "hard_rug_share": 0.65, "honeypot_share": 0.0,
    "pump_and_dump_share": 0.01, "slow_rug_share": 0.01, "quick_rug_share": 0.05,
    "late_rug_hours_median": 3.5, "late_rug_sigma": 0.13, "rug_trades_median": 48,
    "rug_trades_sigma": 0.4, "trades_median": 110, "trades_sigma": 0.4, "trades_max": 600,
    "trade_size_median": 0.004, "trade_size_sigma": 0.8, "liquidity_usd_median": 80_000,
    "liquidity_sigma": 0.5, "large_pool_share": 0, "early_activity": 1.3,
    "promotion_gain_median": 600, "fair_volatility": 0.015, "quote_volatility": 0.003,
    "tax_share": 0.05, "trait_noise": 0.0, "missing_share": 0.03, "sentiment_missing_share": 0.1,
    "unknown_supply_share": 0.02,
}  # fmt: skip
_STRATEGY: dict[str, Any] = {
    # A tenth of it, the canary's, still reaches the smallest stake.
    "small_fund_usd": 2_000,
    "exits": {"max_hold_hours": 2.5, "stop_loss": 0.2},
    # The heuristic judges by more than its own rug score, which is high for every young pool.
    "signal": {"max_rug_risk": 0.98, "min_move_24h": 0.0},
    "universe": {
        "pool_interval_minutes": 60, "min_volume_24h_usd": 5_000, "min_liquidity_usd": 20_000
    },
}  # fmt: skip


def simulated_plan(seed: int) -> CampaignPlan:
    """The story of a seed, within some minutes: each seed has other tokens and the same plot."""
    world = {
        "start": _text(FIRST),
        "end": _text(LAST + timedelta(days=1)),
        "regime_change_at": _text(CHANGE),
    }
    return CampaignPlan(
        "simulated", FIRST, LAST, learn_days=LEARN_DAYS, step_days=1, retrain_days=30, seed=seed,
        trading={
            "simulator": _SIMULATOR | world, "strategy": _STRATEGY, "amm": {"gas_usd": 0.2}
        },
        dataset={
            "name": "campaign", "embargo_hours": 6, "train_fraction": 0.5,
            "validation_fraction": 0.2, "test_fraction": 0.3,
        },
        training={"trials": 6, "embargo_hours": 6, "name": "campaign"},
        canary={"block_hours": 6},
        monitoring={"block_hours": 6},
        ends_after_rollback=True,
    )  # fmt: skip


def _text(day: date) -> str:
    return datetime.combine(day, time(), UTC).isoformat()
