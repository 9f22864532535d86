"""The order book of a symbol: the best price first, at one price the earliest."""

from __future__ import annotations

from bisect import insort
from itertools import count

from trade_pipeline.local_exchange.orders import HOUSE, Order

Entry = tuple[int, int, Order]


class Book:
    """Resting orders of both sides."""

    def __init__(self) -> None:
        self._sides: dict[str, list[Entry]] = {"BUY": [], "SELL": []}
        self._arrival = count()

    def add(self, order: Order) -> None:
        """Rest behind every order of the same price."""
        assert order.price is not None
        key = -order.price if order.side == "BUY" else order.price
        insort(self._sides[order.side], (key, next(self._arrival), order))

    def remove(self, order: Order) -> None:
        """Take an order out, where it rests."""
        side = self._sides[order.side]
        side[:] = [entry for entry in side if entry[2] is not order]

    def remove_house(self) -> None:
        for side in self._sides.values():
            side[:] = [entry for entry in side if entry[2].account != HOUSE]

    def side(self, side: str) -> list[Order]:
        """The orders of a side in the order in which they will be filled."""
        return [order for _, _, order in self._sides[side]]

    def best_against(self, order: Order) -> Order | None:
        """The order that fills another one next; None: none whose price it accepts."""
        against = self._sides["SELL" if order.side == "BUY" else "BUY"]
        if not against:
            return None
        best = against[0][2]
        assert best.price is not None
        if order.price is None:
            return best
        accepts = best.price <= order.price if order.side == "BUY" else best.price >= order.price
        return best if accepts else None

    def cost(self, quantity: int) -> list[tuple[int, int]]:
        """Price and quantity of the asks that a purchase at the market would take."""
        taken = []
        for ask in self.side("SELL"):
            if quantity == 0:
                break
            part = min(quantity, ask.remaining)
            assert ask.price is not None
            taken.append((ask.price, part))
            quantity -= part
        return taken

    def levels(self, side: str) -> list[tuple[int, int]]:
        """Price and quantity of each level, the best first."""
        levels: dict[int, int] = {}
        for order in self.side(side):
            assert order.price is not None
            levels[order.price] = levels.get(order.price, 0) + order.remaining
        return list(levels.items())
