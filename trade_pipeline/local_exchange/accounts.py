"""Balances by account and asset: free and locked, in units."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from trade_pipeline.local_exchange.errors import REJECTED, Refused
from trade_pipeline.local_exchange.orders import HOUSE, Order

INSUFFICIENT = "Account has insufficient balance for requested action."


@dataclass(slots=True)
class Balance:
    free: int = 0
    locked: int = 0


class Accounts:
    """Who holds what.  The house gives and takes without bound: its balances may be negative.

    Attributes:
        deposited: what was paid in from outside, by asset; all balances sum to it.
        touched: balances that changed since they were stored last.
    """

    def __init__(self) -> None:
        self.balances: dict[tuple[str, str], Balance] = defaultdict(Balance)
        self.deposited: dict[str, int] = defaultdict(int)
        self.touched: set[tuple[str, str]] = set()

    def balance(self, account: str, asset: str) -> Balance:
        """A balance that is going to change."""
        self.touched.add((account, asset))
        return self.balances[account, asset]

    def deposit(self, account: str, asset: str, amount: int) -> None:
        self.balance(account, asset).free += amount
        self.deposited[asset] += amount

    def lock(self, order: Order, asset: str, amount: int) -> None:
        """Set an amount aside for an order.

        Raises:
            Refused: less is free.
        """
        balance = self.balance(order.account, asset)
        if balance.free < amount:
            raise Refused(*REJECTED, INSUFFICIENT)
        balance.free -= amount
        balance.locked += amount
        order.locked += amount

    def unlock(self, order: Order, asset: str, keep: int = 0) -> None:
        """Give back what is set aside beyond what an order still needs."""
        balance = self.balance(order.account, asset)
        back = order.locked - keep
        balance.free += back
        balance.locked -= back
        order.locked = keep

    def pay(self, order: Order, asset: str, amount: int) -> None:
        """Take an amount for an order's trade, first from what is set aside for it."""
        balance = self.balance(order.account, asset)
        from_lock = min(order.locked, amount)
        order.locked -= from_lock
        balance.locked -= from_lock
        balance.free -= amount - from_lock
        assert balance.free >= 0 or order.account == HOUSE, "paid more than there was"

    def receive(self, account: str, asset: str, amount: int) -> None:
        self.balance(account, asset).free += amount

    def of(self, account: str) -> dict[str, Balance]:
        """The balances of an account by asset."""
        return {asset: held for (owner, asset), held in self.balances.items() if owner == account}

    def held(self) -> dict[str, int]:
        """What all accounts hold together, by asset."""
        held: dict[str, int] = defaultdict(int)
        for (_, asset), balance in self.balances.items():
            held[asset] += balance.free + balance.locked
        return dict(held)
