"""A trade in one sentence."""

from __future__ import annotations

import math
from datetime import datetime

from trade_pipeline.core.dossier.facts import Content, Dossier, OrderStory
from trade_pipeline.core.dossier.words import (
    ENDED,
    MODES,
    duration,
    moment,
    number,
    percent,
    skipped,
    usd,
)


def token_name(dossier: Dossier) -> str:
    """What people call the token, with the name that the records use."""
    name = str(dossier.candidate["instrument"])
    symbol = dossier.market.symbol if dossier.market is not None else None
    return f"{symbol} ({name})" if symbol and symbol != name else name


def verdict(dossier: Dossier) -> str:
    """What was decided and what came of it."""
    candidate, token = dossier.candidate, token_name(dossier)
    if candidate["decision"] == "skip":
        told = f"Looked at {token} on {moment(candidate['decided_at'])} and skipped it: "
        return f"{told}{skipped(candidate['reason'])}.{_had_it_been_bought(dossier.shadow)}"
    entries = [one for one in dossier.orders if one.leg == "entry"]
    bought = [one for one in entries if one.fills]
    if not bought:
        return _not_bought(dossier, token, entries)
    paid = _total([one.value_usd for one in bought])
    cost = f"for {usd(paid)}" if paid is not None else f"{_tokens(bought)} tokens of it"
    opened = bought[0].ended_at or datetime.fromisoformat(candidate["decided_at"])
    told = f"Bought {token} {cost} on {moment(opened)}"
    outcome = dossier.realised
    if outcome is None:
        return f"{told}; the position is still open."
    later = duration(outcome["time_in_market_seconds"])
    result = result_in_words(outcome)
    if outcome.get("written_off"):
        return f"{told}; {later} later what was left could not be sold and counts as lost: {result}"
    why = ENDED.get(outcome["termination_reason"], outcome["termination_reason"])
    return f"{told}, sold {later} later {why}: {result}"


def subtitle(dossier: Dossier) -> str:
    """In which kind of session, and which model decided."""
    candidate, mode = dossier.candidate, dossier.run["mode"]
    kind = MODES.get(mode, mode)
    if mode == "manual":
        return f"{kind[0].upper()}{kind[1:]} by {candidate['created_by']}."
    model = dossier.models[candidate["model_version"]].name
    who = "the canary, a model on trial" if candidate["arm"] == "canary" else "production"
    return (
        f"{kind[0].upper()}{kind[1:]}. Market: {dossier.run['market']}. Decided by {who}: {model}, "
        f"with a confidence of {percent(candidate['confidence'])}."
    )


def result_in_words(outcome: Content) -> str:
    """A result in USD, where that is known, and percent."""
    gained = f"{outcome['realized_pnl_percent']:+.1f} %"
    return (
        f"{gained}."
        if outcome["pnl_usd"] is None
        else f"{outcome['pnl_usd']:+,.2f} USD ({gained})."
    )


def _not_bought(dossier: Dossier, token: str, entries: list[OrderStory]) -> str:
    candidate = dossier.candidate
    stake = "" if candidate["stake_usd"] is None else f" for {usd(candidate['stake_usd'])}"
    when = moment(candidate["decided_at"])
    if not entries:
        return f"Decided to buy {token}{stake} on {when}; no order is recorded."
    last = entries[-1]
    if last.ended in ("open", "acknowledged"):
        return f"Sent an order to buy {token}{stake} on {when}; nothing of it is filled so far."
    why = f": {last.note}" if last.note else ""
    costs = math.fsum(cost for one in entries for cost in one.costs_usd.values())
    lost = f" The attempt cost {usd(costs)}." if costs else ""
    verb = "refused" if last.ended == "rejected" else "taken back"
    return f"Tried to buy {token}{stake} on {when}, but the order was {verb}{why}.{lost}"


def _had_it_been_bought(shadow: Content | None) -> str:
    if shadow is None:
        return ""
    if shadow["termination_reason"] == "not_filled":
        return " Had it been bought, the venue would have refused the order."
    why = ENDED.get(shadow["termination_reason"], shadow["termination_reason"])
    return (
        f" Had it been bought, it would have been sold "
        f"{duration(shadow['time_in_market_seconds'])} later {why}: "
        f"{shadow['realized_pnl_percent']:+.1f} %."
    )


def _total(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if known and len(known) == len(values) else None


def _tokens(orders: list[OrderStory]) -> str:
    return number(math.fsum(one.tokens for one in orders))
