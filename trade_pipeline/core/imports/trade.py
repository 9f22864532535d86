"""A closed trade of an older bot, whatever its format, and the records that it becomes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from trade_pipeline.core.ids import client_order_id, micros, trade_uuid
from trade_pipeline.core.imports.problems import Refused
from trade_pipeline.core.imports.values import seconds_between
from trade_pipeline.core.records import (
    ExecutionRecord,
    PlainRow,
    Record,
    TerminationReason,
    TradeCandidate,
    TradeOutcome,
)

# Currencies that are counted as dollars.
DOLLARS = frozenset(
    ("USD", "USDT", "USDC", "BUSD", "DAI", "TUSD", "FDUSD", "USDP", "PYUSD", "USDD", "USDE")
)
# How far a bot's own result may be from what its prices, sizes and fees give: it rounded them.
_CENT = 0.01
_SHARE = 0.001
# What is bought and not sold again: fees that were taken in tokens.
_UNSOLD = 0.01
FEE = "exchange_fee"
# The bot told its net result and no fees: the difference is what it paid.
NOT_ITEMISED = "not_itemised"


@dataclass(frozen=True, slots=True)
class OldFill:
    """A fill in the currency of its pair.

    Attributes:
        fee: None: the bot did not tell.
        order_id: the bot's own; None: it did not tell.
    """

    leg: str
    at: datetime
    price: float
    size: float
    fee: float | None = None
    order_id: str | None = None

    @property
    def value(self) -> float:
        """What changed hands."""
        return self.price * self.size


@dataclass(frozen=True, slots=True)
class OldTrade:
    """A closed trade as a file tells it, its money in the currency of its pair.

    Attributes:
        row: its number in the file, see `Problem`.
        reason: why it ended, in the bot's words.
        pnl, return_percent: its result as the bot counted it; None: it did not.
        usd: price of the currency in USD.
    """

    row: int
    instrument: str
    opened_at: datetime
    closed_at: datetime
    fills: tuple[OldFill, ...]
    reason: str
    old_id: str | None = None
    pnl: float | None = None
    return_percent: float | None = None
    confidence: float | None = None
    model: str | None = None
    entry_reason: str | None = None
    usd: float = 1.0


@dataclass(frozen=True, slots=True)
class ImportedCandidate(PlainRow):
    """The decision of an older bot: all that a candidate's content has, and where it comes from.

    Attributes:
        confidence: None where the bot did not tell; see `TradeCandidate` for the others.
        imported: address of the file, row, the bot's own id, reason and result.
    """

    TABLE: ClassVar[str] = "candidates"
    KEY: ClassVar[tuple[str, ...]] = ("uuid",)
    COLUMNS: ClassVar[tuple[str, ...]] = TradeCandidate.COLUMNS

    uuid: UUID
    session_id: str
    decision_no: int
    instrument: str
    decided_at: datetime
    model_version: str
    confidence: float | None
    params_ptr: str
    created_by: str
    reason: str
    stake_usd: float
    imported: Mapping[str, Any]
    decision: str = "enter"
    arm: str = "production"
    propensity: float = 1.0
    canary_version: None = None
    feature_hash: None = None
    contributions: None = None
    canary: None = None


@dataclass(frozen=True, slots=True)
class Import:
    """What all trades of an import share."""

    session_id: str
    source: str
    params_ptr: str
    bot: str


def records_of(trade: OldTrade, whole: Import, reason: TerminationReason) -> list[Record]:
    """The candidate, executions and outcome of a trade.

    Raises:
        Refused: its result contradicts its fills.
    """
    uuid = trade_uuid(whole.session_id, trade.instrument, trade.row, micros(trade.opened_at))
    costs = _costs(trade)
    executions = [
        ExecutionRecord(
            uuid=uuid,
            order_id=fill.order_id or client_order_id(uuid, fill.leg, number),
            leg=fill.leg,
            sequence=_before(trade.fills, number),
            occurred_at=fill.at,
            size=fill.size,
            value_usd=_usd(fill.value, trade),
            costs_usd={name: _usd(paid, trade) for name, paid in costs[number].items()},
            **{f"{fill.leg}_price": fill.price * trade.usd},  # type: ignore[arg-type]
        )
        for number, fill in enumerate(trade.fills)
    ]
    entries = [one for one in executions if one.leg == "entry"]
    paid = math.fsum((one.value_usd or 0.0) + one.fees_usd for one in entries)
    flows = [
        (1 if one.leg == "exit" else -1) * (one.value_usd or 0.0) - one.fees_usd
        for one in executions
    ]
    pnl = round(math.fsum(flows), 6)
    if not paid > 0:
        raise Refused("size", trade.fills[0].size, "a trade of at least a millionth of a USD")
    candidate = ImportedCandidate(
        uuid=uuid,
        session_id=whole.session_id,
        decision_no=trade.row,
        instrument=trade.instrument,
        decided_at=trade.opened_at,
        model_version=trade.model or "unknown",
        confidence=trade.confidence,
        params_ptr=whole.params_ptr,
        created_by=f"import:{whole.bot}",
        reason=trade.entry_reason or "imported",
        stake_usd=math.fsum(one.value_usd or 0.0 for one in entries),
        imported={
            "source": whole.source,
            "row": trade.row,
            "id": trade.old_id,
            "reason": trade.reason,
            "pnl": trade.pnl,
            "return_percent": trade.return_percent,
            "usd": trade.usd,
        },
    )
    outcome = TradeOutcome(
        uuid=uuid,
        realized_pnl_percent=100.0 * pnl / paid,
        time_in_market_seconds=seconds_between(trade.opened_at, trade.closed_at),
        termination_reason=reason,
        closed_at=trade.closed_at,
        pnl_usd=pnl,
        fees_usd=math.fsum(one.fees_usd for one in executions),
    )
    return [candidate, *executions, outcome]


def _before(fills: Sequence[OldFill], number: int) -> int:
    """How many fills of the same order come before one."""
    order = fills[number].order_id
    return sum(order is not None and fill.order_id == order for fill in fills[:number])


def _usd(amount: float, trade: OldTrade) -> float:
    return round(amount * trade.usd, 6)


def _costs(trade: OldTrade) -> list[dict[str, float]]:
    """Costs of each fill; what a net result tells of them belongs to the last one."""
    told = [fill.fee for fill in trade.fills]
    costs = [{} if fee is None else {FEE: fee} for fee in told]
    bought = math.fsum(fill.value for fill in trade.fills if fill.leg == "entry")
    sold = math.fsum(fill.value for fill in trade.fills if fill.leg == "exit")
    gross = sold - bought
    allowed = _CENT / trade.usd + _SHARE * bought
    if any(fee is not None for fee in told):
        fees = math.fsum(fee for fee in told if fee is not None)
        if trade.pnl is not None and abs(trade.pnl - (gross - fees)) > allowed:
            raise Refused("pnl", trade.pnl, f"about {gross - fees:g}, by its prices, size and fees")
        _require_return(trade, gross, gross - fees, bought)
        return costs
    net = trade.pnl
    if net is None and trade.return_percent is not None:
        net = trade.return_percent / 100.0 * bought
    if net is None:
        return costs
    field = "pnl" if trade.pnl is not None else "return_percent"
    if net > gross + allowed or net < -bought - allowed:
        raise Refused(
            field,
            trade.pnl if trade.pnl is not None else trade.return_percent,
            f"at most {gross:g} and no more lost than {bought:g}, by its prices and size",
        )
    _require_return(trade, gross, net, bought)
    if gross - net > allowed:
        costs[-1] = {NOT_ITEMISED: gross - net}
    return costs


def _require_return(trade: OldTrade, gross: float, net: float, bought: float) -> None:
    """Refuse a return that is neither the one after costs nor the one between the prices."""
    told = trade.return_percent
    if told is None or trade.fills[0].size == 0:
        return
    paid = bought + math.fsum(f.fee or 0.0 for f in trade.fills if f.leg == "entry")
    known = [100.0 * gross / bought, 100.0 * net / bought, 100.0 * net / paid]
    allowed = 100.0 * (_CENT / trade.usd / bought + _SHARE)
    if min(abs(told - one) for one in known) > allowed:
        raise Refused("return_percent", told, f"about {known[-1]:g}, by its prices, size and fees")


def require_sold(fills: Sequence[OldFill], field: str) -> None:
    """Refuse fills that sell more than was bought, or leave some of it.

    Raises:
        Refused: as told.
    """
    bought = math.fsum(fill.size for fill in fills if fill.leg == "entry")
    sold = math.fsum(fill.size for fill in fills if fill.leg == "exit")
    if not (1 - _UNSOLD) * bought <= sold <= bought * (1 + 1e-6):
        raise Refused(field, sold, f"as much sold as was bought, {bought:g}")
