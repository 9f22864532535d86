"""Why it was decided so: the rules in their order, the stake, and what moved the model.

Only stored facts are used, with the strategy's own functions; what is computed again says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from trade_pipeline.core.dossier.facts import (
    Content,
    Explanation,
    Gate,
    KnownFeature,
    ModelFacts,
    Sizing,
)
from trade_pipeline.core.dossier.words import number, percent, skipped, usd
from trade_pipeline.core.session.config import BAR_MARKETS, TradingConfig
from trade_pipeline.core.session.engine import CREATED_BY
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION, heuristic_contributions
from trade_pipeline.core.strategy.rules import FAILED, PREFIX
from trade_pipeline.core.strategy.sizing import Account, position_size

# Stakes are whole millionths of a USD, and sums of doubles differ in their last digits.
_SAME_USD = 1e-6


def explain(
    candidate: Content,
    research: Content | None,
    market: str,
    settings: TradingConfig | None,
    vector: Sequence[KnownFeature],
    models: Mapping[str, ModelFacts],
) -> Explanation:
    """The decision from what is stored.

    Args:
        settings: of the session; without them no rule is known.
    """
    told = candidate.get("contributions") or {}
    if candidate["created_by"] != CREATED_BY:
        return Explanation(
            contributions=told,
            missing=(
                f"No rule of the strategy decided this: {candidate['created_by']!r} asked for it.",
            ),
        )
    missing = []
    known = {one.name: one.value for one in vector}
    computed = False
    if not told and candidate["model_version"] == HEURISTIC_VERSION and known:
        told, computed = _of_the_heuristic(known), True
    if not told:
        missing.append("What moved the model's confidence is not stored.")
    if settings is None or research is None:
        what = "settings" if settings is None else "snapshot"
        missing.append(f"The {what} behind the decision cannot be read: its rules are not shown.")
        return Explanation((), None, told, computed, missing)
    model = models.get(candidate["model_version"])
    entry = None if model is None else model.entry_confidence
    sizing = None
    if candidate["stake_usd"] is not None:
        sizing = _sizing(candidate, research, market, settings, known, entry)
    gates = tuple(_gates(candidate, research, settings, entry))
    return Explanation(gates, sizing, told, computed, missing)


def _of_the_heuristic(known: Mapping[str, float | None]) -> dict[str, float]:
    columns = {
        name: np.array([math.nan if value is None else value]) for name, value in known.items()
    }
    return heuristic_contributions(columns, 0)


def _gates(
    candidate: Content, research: Content, settings: TradingConfig, entry: float | None
) -> Iterator[Gate]:
    """The universe's filters, which every candidate has passed, and the rules as `decide` asks."""
    universe = settings.strategy.universe
    cap, liquidity = research["initial_market_cap"], research["liquidity_usd"]
    yield Gate(
        "Market cap", "passed", usd(cap),
        f"{universe.min_market_cap_usd:,.0f} to {universe.max_market_cap_usd:,.0f} USD",
    )  # fmt: skip
    yield Gate(
        "Liquidity", "passed",
        "not stated by this market" if liquidity is None else usd(liquidity),
        f"at least {universe.min_liquidity_usd:,.0f} USD",
    )  # fmt: skip
    yield Gate(
        "Volume of 24 h", "passed", usd(research["volume_24h_usd"]),
        f"more than {universe.min_volume_24h_usd:,.0f} USD",
    )  # fmt: skip
    reason, decided = candidate["reason"], False
    for names, gate in _rules(candidate, research, settings, entry):
        if decided:
            # What nobody looked at, and what no stored fact tells.
            yield gate if gate.would else replace(gate, found="not looked at")
        elif reason in names:
            decided = True
            yield replace(gate, result="failed", would=None)
        else:
            yield replace(gate, result="passed", would=None)


def _rules(
    candidate: Content, research: Content, settings: TradingConfig, entry: float | None
) -> Iterator[tuple[tuple[str, ...], Gate]]:
    """Each rule with the reasons that it gives, in the order of `decide`."""
    signal, sizing = settings.strategy.signal, settings.strategy.sizing
    reason = candidate["reason"]

    def rule(name: str, found: str, wanted: str, holds: bool | None = None) -> Gate:
        would = None if holds is None else "it would have passed" if holds else "it would fail, too"
        return Gate(name, "not asked", found, wanted, would)

    is_open = reason == "position_open"
    yield ("position_open",), rule(
        "Position", "one is open" if is_open else "none in this token", "none in this token"
    )  # fmt: skip
    risk, move = research["rug_risk"], research["market"].get("return_24h")
    yield ("rug_risk",), rule(
        "Rug risk", percent(risk), f"at most {percent(signal.max_rug_risk)}",
        None if risk is None else risk <= signal.max_rug_risk,
    )  # fmt: skip
    yield ("low_volatility",), rule(
        "Move of 24 h", percent(move),
        f"at least {percent(signal.min_move_24h)} up or down; unknown is no reason to skip",
        move is None or abs(move) >= signal.min_move_24h,
    )  # fmt: skip
    confidence = candidate["confidence"]
    yield ("low_confidence",), rule(
        "Confidence", percent(confidence),
        "unknown: the model's file is not at hand" if entry is None else
        f"at least {percent(entry)}",
        None if entry is None else confidence >= entry,
    )  # fmt: skip
    own = reason if reason.startswith(PREFIX) else FAILED if reason == FAILED else None
    if settings.strategy.rules is not None:
        yield (own,) if own is not None else (), rule(
            f"Own rules {settings.strategy.rules}",
            skipped(own) if own is not None else "nothing against it", "nothing against it",
        )  # fmt: skip
    known = (
        "position_open", "rug_risk", "low_volatility", "low_confidence", "no_free_slot",
        "stake_too_small", "signal",
    )  # fmt: skip
    stopped = reason not in known and own is None
    yield (reason,) if stopped else (), rule(
        "Protections", skipped(reason) if stopped else "nothing stopped entries",
        "no pause, cooldown, loss limit or halt",
    )  # fmt: skip
    full = reason == "no_free_slot"
    yield ("no_free_slot",), rule(
        "Free slot", "none" if full else "there was one",
        f"fewer than {sizing.max_positions} open positions",
    )  # fmt: skip
    small = reason == "stake_too_small"
    stake = candidate["stake_usd"]
    yield ("stake_too_small",), rule(
        "Stake", "less" if small else usd(stake), f"at least {usd(sizing.min_stake_usd)}"
    )  # fmt: skip


def _sizing(
    candidate: Content,
    research: Content,
    market: str,
    settings: TradingConfig,
    known: Mapping[str, float | None],
    entry: float | None,
) -> Sizing | None:
    """The stake once more, by `position_size`, for the equity that gives it."""
    if entry is None:
        return None
    config, stake = settings.strategy.sizing, float(candidate["stake_usd"])
    confidence = float(candidate["confidence"])
    volatility = research["market"].get("volatility_24h")
    bound = _impact_bound(research, market, settings, known)

    def size(equity: float, moving: float | None, within: float | None, smallest: float) -> float:
        of = config.model_copy(update={"min_stake_usd": smallest})
        return position_size(
            of, Account(math.inf, equity, 0.0, 0), confidence=confidence, min_confidence=entry,
            volatility=moving, impact_capacity_usd=within,
        )  # fmt: skip

    certain = size(1.0, 0.0, None, 0.0)
    share = size(1.0, volatility, None, 0.0)
    if share == 0:
        return None
    bounded = bound is not None and abs(stake - bound) <= _SAME_USD * max(1.0, bound)
    equity = stake / share
    again = size(2 * equity if bounded else equity, volatility, bound, config.min_stake_usd)
    steps = [
        ("Full size", percent(config.max_fraction), "of the equity in one position"),
        (
            "Confidence", f"x {certain / config.max_fraction:.3f}",
            f"{percent(confidence)}, where {percent(entry)} gives half and 100 % the whole",
        ),
        (
            "Volatility", f"x {share / certain:.3f}",
            "unknown, which halves the size" if volatility is None else
            f"{percent(volatility)} an hour; above {percent(config.target_volatility)} the size "
            "shrinks",
        ),
        ("Together", percent(share, 2), "of the equity, before a drawdown takes from it"),
        (
            "Own price impact",
            "no bound is known" if bound is None else f"at most {usd(bound)}",
            "this decided the stake" if bounded else "this did not bind",
        ),
    ]  # fmt: skip
    return Sizing(
        stake, share, bound, None if bounded else equity,
        abs(again - stake) <= _SAME_USD * max(1.0, stake), steps,
    )  # fmt: skip


def _impact_bound(
    research: Content, market: str, settings: TradingConfig, known: Mapping[str, float | None]
) -> float | None:
    """`Venue.impact_capacity_usd` of the stored snapshot."""
    if market in BAR_MARKETS:
        volume = known.get("volume_1h_usd")
        return None if volume is None else settings.bars.max_participation * volume
    liquidity = research["liquidity_usd"]
    # A pool's two sides are worth the same.
    return None if liquidity is None else settings.strategy.sizing.max_impact * liquidity / 2


def stake_in_words(sizing: Sizing, settings: TradingConfig) -> str:
    """Where a stake came from, in a sentence or two."""
    fund = settings.strategy.small_fund_usd
    began = f"{number(fund)} USD"
    if sizing.equity_usd is None:
        return (
            f"The stake of {usd(sizing.stake_usd)} is the most whose own price impact stays within "
            f"{percent(settings.strategy.sizing.max_impact)}: the size by confidence and "
            "volatility would have been larger."
        )
    told = (
        f"{percent(sizing.share, 2)} of {usd(sizing.equity_usd)} are the {usd(sizing.stake_usd)} "
        "that were staked"
    )
    if math.isclose(sizing.equity_usd, fund, rel_tol=_SAME_USD):
        return f"{told}: the whole fund, {began}, was there."
    if sizing.equity_usd < fund:
        return (
            f"{told}. The fund began with {began}; what it was worth at the decision is not "
            "stored, so the difference is losses, a drawdown, the part of the fund that a canary "
            "has, or cash that other positions held."
        )
    return f"{told}: what the fund, which began with {began}, was worth then."
