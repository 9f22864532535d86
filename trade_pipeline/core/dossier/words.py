"""Plain words for what the records say in short names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from trade_pipeline.core.strategy.rules import PREFIX

SKIPPED: Mapping[str, str] = {
    "position_open": "a position or an order in this token was open already",
    "rug_risk": "the risk of a rug pull was too high",
    "low_volatility": "the price had moved too little in 24 hours",
    "low_confidence": "the model was not confident enough",
    "max_drawdown": "entries were paused, because the fund had fallen too far from its highest",
    "daily_loss_limit": "the day's loss limit was reached",
    "cooldown": "the token's last trade had ended badly and its cooldown was not over",
    "no_free_slot": "as many positions as allowed were open already",
    "stake_too_small": "what could be staked was less than the smallest position",
    "stale_data": "the market data was too old to act on",
    "price_sanity": "the price had jumped so far that it was not believed",
    "order_rate": "as many orders as allowed had been sent within the minute",
    "rule_failed": "a rule of the strategy's own failed",
    "halted": "the account was halted",
    "disk_low": "a disk of the store had little room left",
    "writes_refused": "the database took no writes",
    "halt_unknown": "it could not be told whether the account was halted",
}
# What becomes of "sold 3 h later ...".
ENDED: Mapping[str, str] = {
    "stop_loss": "at the stop",
    "profit_target": "at the profit target",
    "max_hold": "because the longest holding time was over",
    "rugpull_exit": "in an emergency exit, because liquidity was being removed",
    "strategy_exit": "because the strategy's own rule said so",
    "manual": "by hand",
    "session_end": "because the session ended",
    "not_filled": "never: the entry was refused",
}
MODES: Mapping[str, str] = {
    "backtest": "backtest: recorded or simulated market, no money",
    "paper": "paper: live market, no money",
    "live": "live: real money",
    "manual": "entered through the Python API",
}
TABLES: Mapping[str, str] = {
    "candidates": "the decision",
    "research_docs": "what was known",
    "feature_rows": "the feature vector",
    "executions": "an order's event",
    "outcomes": "what came of it",
    "live_decisions": "the account's claim of the decision",
    "order_intents": "permission to send an order",
    "reconciliations": "a comparison with the venue",
}


def skipped(reason: str) -> str:
    """Why a candidate was skipped."""
    if reason.startswith(PREFIX):
        return f"the strategy's own rule said: {reason.removeprefix(PREFIX).replace('_', ' ')}"
    return SKIPPED.get(reason, reason.replace("_", " "))


def usd(value: float | None) -> str:
    """An amount of money, its sign before the number."""
    return "unknown" if value is None else f"{value:,.2f} USD"


def price(value: float | None) -> str:
    """A price, to six digits however small it is."""
    if value is None:
        return "unknown"
    if value == 0:
        return "0 USD"
    if 1e-4 <= abs(value) < 1e6:
        return f"{value:.6g} USD"
    return f"{value:.5e} USD"


def number(value: float | None) -> str:
    """A number to a sensible length."""
    if value is None:
        return "unknown"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def percent(share: float | None, digits: int = 1) -> str:
    """A fraction of 1 as percent."""
    return "unknown" if share is None else f"{100 * share:.{digits}f} %"


def in_unit(value: float | None, unit: str) -> str:
    """A feature's value as people read its unit."""
    if value is None:
        return "unknown"
    if unit in ("share", "fraction", "probability"):
        return percent(value)
    if unit == "USD":
        return f"{value:,.0f} USD"
    if unit == "flag":
        return "yes" if value else "no"
    return number(value) if unit in ("score", "ratio", "count") else f"{number(value)} {unit}"


def moment(value: datetime | str | None) -> str:
    """A time in UTC, to the second."""
    if value is None:
        return "unknown"
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float | None) -> str:
    """A time span in its two largest units."""
    if seconds is None:
        return "unknown"
    if seconds < 1:
        return f"{1_000 * seconds:.0f} ms"
    whole = round(seconds)
    days, hours, minutes = whole // 86_400, whole // 3_600 % 24, whole // 60 % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (whole % 60, "s")]
    first = next((n for n, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def short(version: str) -> str:
    """A content address as people name it: its first eight digits."""
    return version.removeprefix("sha256:")[:8] if version.startswith("sha256:") else version
