"""Amounts and prices as whole units of 10^-8, so that sums are exact."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from trade_pipeline.local_exchange.errors import BAD_PRECISION, Refused

ONE = 10**8
# More than there is of any coin.
LARGEST = 10**30


def units(name: str, text: str) -> int:
    """Units of a decimal number such as ``0.1``.

    Raises:
        Refused: it is no number, negative, too large, or finer than a unit.
    """
    try:
        whole = Decimal(text).scaleb(8)
    except InvalidOperation:
        whole = Decimal("NaN")
    if not whole.is_finite() or not 0 <= whole <= LARGEST or whole != whole.to_integral_value():
        raise Refused(*BAD_PRECISION, f"Parameter '{name}' has bad precision or value.")
    return int(whole)


def decimals(amount: int) -> str:
    """Units as the dialect writes them: eight decimals."""
    sign, rest = ("-", -amount) if amount < 0 else ("", amount)
    return f"{sign}{rest // ONE}.{rest % ONE:08d}"


def value(price: int, quantity: int) -> int:
    """What a quantity costs, rounded down; buyer and seller get the same."""
    return price * quantity // ONE


def value_up(price: int, quantity: int) -> int:
    """The same rounded up: what a lock must hold."""
    return -(-price * quantity // ONE)
