"""What is traded: a symbol, its filters, and how the house quotes it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from trade_pipeline.local_exchange.errors import FILTER, Refused
from trade_pipeline.local_exchange.units import ONE, decimals, units, value

_NAME = "^[A-Za-z0-9]{1,40}$"
ORDER_TYPES = ("LIMIT", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT")


class Listing(BaseModel):
    """A symbol; numbers are decimal texts.

    Attributes:
        tick, step: prices and quantities are whole multiples of them.
        fee: fraction of what a trade brings, in the asset that it brings.
        spread: between the house's best prices, as a fraction; ``gap``: between its levels.
        depth: quote that the house offers at a level; ``levels``: on each side.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str = Field(pattern=_NAME)
    quote: str = Field("USDT", pattern=_NAME)
    tick: str = "0.00000001"
    step: str = "0.1"
    min_quantity: str = "0.1"
    min_notional: str = "5"
    fee: str = "0.001"
    spread: str = "0.002"
    gap: str = "0.002"
    depth: str = "500"
    levels: int = Field(10, ge=1, le=1000)

    @field_validator(
        "tick", "step", "min_quantity", "min_notional", "fee", "spread", "depth", "gap"
    )
    @classmethod
    def _is_amount(cls, text: str, info: Any) -> str:
        try:
            amount = units(info.field_name, text)
        except Refused as refused:
            raise ValueError(refused.message) from None
        if amount == 0 and info.field_name in ("tick", "step", "depth"):
            raise ValueError("expected more than 0")
        return text

    @property
    def symbol(self) -> str:
        return self.base + self.quote

    def amount(self, name: str) -> int:
        """A field in units."""
        return units(name, getattr(self, name))

    def check(self, quantity: int, price: int, *others: int) -> None:
        """An order's quantity at a price, and other prices of it, against the filters.

        Raises:
            Refused: with the name of the filter.
        """
        if any(p <= 0 or p % self.amount("tick") for p in (price, *others)):
            raise Refused(*FILTER, "Filter failure: PRICE_FILTER")
        if quantity < max(1, self.amount("min_quantity")) or quantity % self.amount("step"):
            raise Refused(*FILTER, "Filter failure: LOT_SIZE")
        if value(price, quantity) < self.amount("min_notional"):
            raise Refused(*FILTER, "Filter failure: NOTIONAL")

    def quotes(self, price: int) -> list[tuple[str, int, int]]:
        """The house's ladder around a price: side, price and quantity, the best first."""
        tick, step = self.amount("tick"), self.amount("step")
        ladder = []
        for level in range(self.levels):
            away = self.amount("spread") // 2 + level * self.amount("gap")
            for side, exact in (("BUY", price * (ONE - away)), ("SELL", price * (ONE + away))):
                # Down for bids and up for asks, so that they never meet.
                sign = 1 if side == "BUY" else -1
                at = sign * (sign * exact // ONE // tick) * tick
                if at <= 0:
                    continue
                quantity = self.amount("depth") * ONE // at // step * step
                if quantity > 0:
                    ladder.append((side, at, quantity))
        return ladder

    def facts(self) -> dict[str, Any]:
        """The symbol as exchangeInfo tells it."""
        highest = "9000000000.00000000"
        return {
            "symbol": self.symbol,
            "status": "TRADING",
            "baseAsset": self.base,
            "baseAssetPrecision": 8,
            "quoteAsset": self.quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "baseCommissionPrecision": 8,
            "quoteCommissionPrecision": 8,
            "orderTypes": list(ORDER_TYPES),
            "icebergAllowed": False,
            "ocoAllowed": False,
            "quoteOrderQtyMarketAllowed": False,
            "cancelReplaceAllowed": False,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "permissions": ["SPOT"],
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": decimals(self.amount("tick")),
                    "maxPrice": highest,
                    "tickSize": decimals(self.amount("tick")),
                },
                {
                    "filterType": "LOT_SIZE",
                    "minQty": decimals(self.amount("min_quantity")),
                    "maxQty": highest,
                    "stepSize": decimals(self.amount("step")),
                },
                {
                    "filterType": "NOTIONAL",
                    "minNotional": decimals(self.amount("min_notional")),
                    "applyMinToMarket": True,
                    "maxNotional": highest,
                    "applyMaxToMarket": False,
                    "avgPriceMins": 0,
                },
            ],
        }
