"""The desk: a session's orders on their way to the venue, and what was heard of them.

To the session it is a venue like that of a backtest.  What it says of prices comes from the model
of the market's venue; what becomes of an order is only what the real one told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from trade_pipeline.core.execution.venue import Fill, Order, Refusal, Touch, Venue
from trade_pipeline.core.execution.venue_errors import OrderUnknown
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.live.ports import OrderState
from trade_pipeline.core.live.records import OrderIntent
from trade_pipeline.core.market.event import Floats, Instrument, TradeRules
from trade_pipeline.core.market.history import TokenState
from trade_pipeline.core.records import Record

Reach = Callable[[str, TokenState, int, TradeRules], OrderState]


class Desk:
    """Places orders as intents, and gives what was heard of each to the session, once.

    Args:
        append: where records go.
        model: the model of the market's venue.
        reach: lets the market reach an order, where the venue is simulated; None: it is real.
        rests_stops: each position's stop rests at the venue.  A simulated one has no need of it:
            it sells when the session does, and nothing happens to it while nobody watches.

    Attributes:
        withdrawals: (order, instrument) that the venue has to be told to cancel.
    """

    def __init__(
        self,
        account: str,
        epoch: int,
        append: Callable[[Record], None],
        instruments: Sequence[Instrument],
        model: Venue,
        reach: Reach | None = None,
        *,
        rests_stops: bool = False,
    ) -> None:
        self.rests_stops = rests_stops
        self._account, self._epoch = account, epoch
        self._append = append
        self._instruments = instruments
        self._model = model
        self._reach = reach
        self._heard: dict[str, OrderState] = {}
        self.withdrawals: list[tuple[str, str]] = []

    def placed(self, order: Order, reason: str | None) -> None:
        entry = order.leg == "entry"
        self._append(
            OrderIntent(
                client_order_id=order.order_id,
                uuid=order.uuid,
                account=self._account,
                epoch=self._epoch,
                leg=order.leg,
                attempt=order.attempt,
                instrument=self._instruments[order.token].name,
                stake_usd=order.stake_usd if entry else None,
                tokens=None if entry else order.tokens,
                decision_price=order.decision_price,
                submitted_at=moment_of(order.submitted_at),
                reason=reason,
                stop_price=order.trigger_price,
            )
        )

    def withdrawn(self, order: Order) -> bool:
        self.withdrawals.append((order.order_id, self._instruments[order.token].name))
        # In a simulation nothing can happen in between.
        return self._reach is not None

    def hear(self, state: OrderState) -> None:
        """Note what the venue said of an order."""
        self._heard[state.client_order_id] = state

    def due_at(self, submitted_at: int) -> int | None:
        # A real venue answers when it does.
        return None if self._reach is None else self._model.due_at(submitted_at)

    def execute(
        self, order: Order, state: TokenState, at: int, rules: TradeRules
    ) -> Fill | Refusal | None:
        if self._reach is not None and not self._has_news(order):
            try:
                self.hear(self._reach(order.order_id, state, at, rules))
            except OrderUnknown:
                return None
        known = self._heard.get(order.order_id)
        if known is None:
            return None
        if order.fills < len(known.fills):
            return known.fills[order.fills]
        if known.status in ("cancelled", "rejected"):
            why = known.why or known.status
            return Refusal(known.changed_at, why, known.costs_usd, known.stop_reached)
        return None

    def liquidate(
        self, order: Order, state: TokenState, at: int, rules: TradeRules
    ) -> Fill | Refusal:
        raise NotImplementedError("a live session ends with its positions open")

    def value_usd(self, tokens: float, state: TokenState) -> float:
        return self._model.value_usd(tokens, state)

    def range_usd(self, tokens: float, state: TokenState) -> tuple[float, float]:
        return self._model.range_usd(tokens, state)

    def touched(self, tokens: float, state: TokenState, stop: float, target: float) -> Touch | None:
        touch = self._model.touched(tokens, state, stop, target)
        # What rests at the venue is touched there; the session's own exits go to the market.
        return None if touch is None else Touch(touch.barrier)

    def affordable_usd(self, cash_usd: float) -> float:
        return self._model.affordable_usd(cash_usd)

    def expected_costs(
        self, stake_usd: float, max_impact: float, known: Mapping[str, Floats]
    ) -> dict[str, Floats]:
        return self._model.expected_costs(stake_usd, max_impact, known)

    def impact_capacity_usd(self, state: TokenState, max_impact: float) -> float | None:
        return self._model.impact_capacity_usd(state, max_impact)

    def _has_news(self, order: Order) -> bool:
        known = self._heard.get(order.order_id)
        return known is not None and (order.fills < len(known.fills) or known.has_ended)
