"""How a venue can fail."""

from __future__ import annotations

from trade_pipeline.core.errors import TradePipelineError


class VenueError(TradePipelineError):
    """The root of what a venue refuses or cannot do.  No message holds a key or a signature."""


class VenueRefused(VenueError):
    """The venue refuses a request, and would again."""


class InsufficientFunds(VenueRefused):
    """The account holds less than an order needs."""


class BelowMinimum(VenueRefused):
    """An order below the venue's smallest amount or value."""


class StopReached(VenueRefused):
    """The market has passed a stop's price already: it has to go to the market instead."""


class OrderUnknown(VenueError, LookupError):
    """The venue knows no order of this client order id."""


class VenueUnavailable(VenueError):
    """The venue cannot be reached, or not in time; asking later may help.

    Attributes:
        may_stand: an order may have been accepted whose answer was lost: `ExchangeVenue.resolve`
            tells, before anything is sent again.
    """

    def __init__(self, message: str, may_stand: bool = False) -> None:
        super().__init__(message)
        self.may_stand = may_stand


class VenueContradiction(VenueError):
    """Answers about one order that cannot all be true."""

    def __init__(self, client_order_id: str, what: str) -> None:
        super().__init__(f"order {client_order_id}: {what}")
        self.client_order_id = client_order_id
