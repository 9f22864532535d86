"""The orders of a trade, each from its intent to its end, and the barriers of the open trade."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from trade_pipeline.core.dossier.facts import Barriers, Content, OrderStory
from trade_pipeline.core.records import FILLS
from trade_pipeline.core.strategy.config import ExitConfig


def order_stories(
    executions: Sequence[Content], intents: Sequence[Content]
) -> tuple[OrderStory, ...]:
    """Entries, then exits, as they were sent; an intent of which nothing was heard is open.

    Args:
        executions: in the order of the ledger.
    """
    events: dict[str, list[Content]] = {one["client_order_id"]: [] for one in intents}
    for one in executions:
        events.setdefault(one["order_id"], []).append(one)
    intent = {one["client_order_id"]: one for one in intents}
    made = [_story(key, found, intent.get(key)) for key, found in events.items()]
    latest = datetime.max.replace(tzinfo=UTC)
    return tuple(
        sorted(
            made, key=lambda one: (one.leg == "exit", one.submitted_at or one.ended_at or latest)
        )
    )


def barriers_of(executions: Sequence[Content], exits: ExitConfig) -> Barriers | None:
    """Where the trade would be closed; None before its entry is filled.

    The entry is the mean price that was paid, with all that is inside the price, as the session
    counts it.
    """
    fills = [one for one in _fills(executions) if one["leg"] == "entry"]
    tokens = math.fsum(one["size"] for one in fills)
    opened = _moment(fills[0]["occurred_at"]) if fills else None
    if not tokens or opened is None:
        return None
    values = [one["value_usd"] for one in fills]
    if None in values:
        values = [one["size"] * one["entry_price"] for one in fills]
    entry = math.fsum(values) / tokens
    return Barriers(
        entry,
        entry * (1.0 - exits.stop_loss),
        entry * (1.0 + exits.profit_target),
        opened + timedelta(hours=exits.max_hold_hours),
    )


def _story(order_id: str, events: Sequence[Content], intent: Content | None) -> OrderStory:
    fills = _fills(events)
    first = events[0] if events else None
    leg = str(intent["leg"] if intent is not None else first["leg"] if first else "entry")
    tokens = math.fsum(one["size"] for one in fills)
    prices = [one[f"{leg}_price"] for one in fills]
    ends = [one for one in events if one["event"] != "submitted"]
    submitted = next((one for one in events if one["event"] == "submitted"), None)
    sent = None if submitted is None else _moment(submitted["occurred_at"])
    if sent is None and intent is not None:
        sent = _moment(intent["submitted_at"])
    told = [one["slippage"] for one in fills]
    sizes = [one["size"] for one in fills]
    latencies = [
        one["latency_metrics"]["latency_ms"] for one in fills
        if "latency_ms" in one["latency_metrics"]
    ]  # fmt: skip
    values = [one["value_usd"] for one in fills]
    return OrderStory(
        order_id=order_id,
        leg=leg,
        attempt=None if intent is None else intent["attempt"],
        submitted_at=sent,
        ended_at=_moment(ends[-1]["occurred_at"]) if ends else None,
        ended=str(ends[-1]["event"]) if ends else "open",
        fills=len(fills),
        price=_mean(prices, sizes),
        tokens=tokens,
        value_usd=math.fsum(values) if values and None not in values else None,
        slippage=_mean(told, sizes),
        latency_ms=max(latencies, default=None),
        costs_usd=_sums(events, "costs_usd"),
        inside_usd=_sums(events, "inside_usd"),
        decision_price=None if intent is None else intent["decision_price"],
        stop_price=None if intent is None else intent.get("stop_price"),
        reason=None if intent is None else intent.get("reason"),
        note=next((one["note"] for one in reversed(events) if one.get("note")), None),
    )


def _fills(events: Sequence[Content]) -> list[Content]:
    return [one for one in events if one["event"] in FILLS]


def _mean(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """By weight; None where one is unknown."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    pairs = zip(known, weights, strict=True)
    return math.fsum(value * weight for value, weight in pairs) / math.fsum(weights)


def _sums(events: Sequence[Content], field: str) -> Mapping[str, float]:
    names = dict.fromkeys(name for one in events for name in one[field])
    return {name: math.fsum(one[field].get(name, 0.0) for one in events) for name in names}


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
