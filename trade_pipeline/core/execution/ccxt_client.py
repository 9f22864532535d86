"""ccxt's client of one exchange account: how it is made, and what its failures mean."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Self

from pydantic import SecretStr

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.execution.venue_errors import (
    BelowMinimum,
    InsufficientFunds,
    OrderUnknown,
    StopReached,
    VenueError,
    VenueRefused,
    VenueUnavailable,
)
from trade_pipeline.core.market.providers.exchange import moved
from trade_pipeline.settings import Settings

LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class VenueAccount:
    """Which exchange, and as whom.

    Attributes:
        exchange: ccxt's id, such as ``binance``.
        url: another server that speaks the exchange's dialect, such as the local exchange.
        sandbox: the exchange's test network.
        call_seconds: longest wait for one answer.
        deadline_seconds: longest time that a call is repeated for.
        window_seconds: age at which the exchange refuses a request (``recvWindow``); an order whose
            answer was lost is given up, or sent again, only after it.
    """

    exchange: str
    key: SecretStr
    secret: SecretStr
    url: str | None = None
    sandbox: bool = False
    call_seconds: float = 5.0
    deadline_seconds: float = 30.0
    window_seconds: float = 5.0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The account that the settings name.

        Raises:
            BadConfig: exchange, key or secret is missing.
        """
        given = (settings.venue, settings.venue_key, settings.venue_secret)
        exchange, key, secret = given
        if exchange is None or key is None or secret is None:
            names = ("VENUE", "VENUE_KEY", "VENUE_SECRET")
            missing = [name for name, value in zip(names, given, strict=True) if value is None]
            text = ", ".join(f"TRADE_PIPELINE_{name}" for name in missing)
            raise BadConfig(f"{text}: not set, and a live session needs it")
        return cls(exchange, key, secret, settings.venue_url, settings.venue_sandbox)


class Meaning(Enum):
    """What a failure says about the request."""

    REFUSED = auto()
    NOT_NOW = auto()  # It was not carried out.
    LATE_CLOCK = auto()  # It was not carried out: our clock and the venue's differ.
    DUPLICATE = auto()  # An order of this id stands already.
    UNSURE = auto()  # It may have been carried out.


def open_client(account: VenueAccount) -> Any:
    """A client of ccxt that tells numbers as texts and logs nothing.

    Raises:
        BadConfig: ccxt knows no such exchange, it has no test network, or it tells precisions as
            digits, which few do.
    """
    import ccxt.async_support as ccxt
    from ccxt.base.decimal_to_precision import TICK_SIZE

    if account.exchange not in ccxt.exchanges:
        raise BadConfig(f"venue={account.exchange!r}: ccxt knows no such exchange")
    client: Any = getattr(ccxt, account.exchange)(
        {
            "apiKey": account.key.get_secret_value(),
            "secret": account.secret.get_secret_value(),
            "timeout": round(1_000 * account.call_seconds),
            "options": {
                "defaultType": "spot",
                "fetchMarkets": {"types": ["spot"]},
                "fetchMargins": False,
                "adjustForTimeDifference": True,
                "recvWindow": round(1_000 * account.window_seconds),
                "fetchOpenOrders": {"warnWithoutSymbol": False},
            },
        }
    )
    if client.precisionMode != TICK_SIZE:
        raise BadConfig(f"venue={account.exchange!r}: it tells its precisions as digits")
    # Exact: no number of the venue passes through a float.
    client.number = str
    # Its debug log holds keys and signatures.
    client.logger = logging.Logger("ccxt", logging.CRITICAL)
    # Needs more rights than trading does, and nothing here asks for it.
    client.has["fetchCurrencies"] = False
    if account.sandbox:
        if "test" not in client.urls:
            raise BadConfig(f"venue_sandbox=True: {account.exchange} has no test network")
        client.set_sandbox_mode(True)
    if account.url is not None:
        client.urls["api"] = moved(client.urls["api"], account.url.rstrip("/"))
    _refuse_what_is_no_json(client)
    return client


def _refuse_what_is_no_json(client: Any) -> None:
    """ccxt takes a garbled answer for an empty one, and that would mean: no order, no fill."""
    from ccxt.base.errors import BadResponse

    fetch = client.fetch

    async def checked(*args: Any, **kwargs: Any) -> Any:
        answer = await fetch(*args, **kwargs)
        if not isinstance(answer, dict | list):
            raise BadResponse("the answer is no JSON")
        return answer

    client.fetch = checked


def fence(client: Any, may_trade: Callable[[], None]) -> None:
    """Ask before each request that changes something, after it was stamped with the time."""
    sign = client.sign

    def fenced(path: str, api: Any, method: str, params: Any) -> Any:
        signed = sign(path, api, method, params)
        if method != "GET":
            may_trade()
        return signed

    client.sign = fenced


def meaning_of(error: Exception) -> Meaning:
    """What a failure of a request says about it."""
    from ccxt.base import errors

    if isinstance(error, errors.InvalidNonce):
        return Meaning.LATE_CLOCK
    if isinstance(error, errors.DDoSProtection | errors.RateLimitExceeded):
        return Meaning.NOT_NOW
    if isinstance(error, errors.DuplicateOrderId) or "duplicate order" in str(error).lower():
        return Meaning.DUPLICATE
    refusals = (
        errors.AuthenticationError, errors.ArgumentsRequired, errors.BadRequest,
        errors.OperationRejected, errors.InsufficientFunds, errors.InvalidOrder,
        errors.NotSupported,
    )  # fmt: skip
    return Meaning.REFUSED if isinstance(error, refusals) else Meaning.UNSURE


def told(error: Exception, account: VenueAccount) -> VenueError:
    """A failure as an error of ours, without keys, signatures or the addresses that hold them."""
    from ccxt.base import errors

    text = f"{account.exchange}: {scrubbed(f'{type(error).__name__} {error}', account)}"
    if isinstance(error, errors.InsufficientFunds):
        return InsufficientFunds(text)
    if isinstance(error, errors.OrderImmediatelyFillable):
        return StopReached(text)
    if isinstance(error, errors.OrderNotFound):
        return OrderUnknown(text)
    if meaning_of(error) is Meaning.REFUSED:
        return BelowMinimum(text) if "NOTIONAL" in text else VenueRefused(text)
    return VenueUnavailable(text)


def scrubbed(text: str, account: VenueAccount) -> str:
    """A text without queries, signatures, key and secret."""
    for secret in (account.key.get_secret_value(), account.secret.get_secret_value()):
        if secret:
            text = text.replace(secret, "***")
    text = re.sub(r"\?\S+", "", text)
    text = re.sub(r"(?i)(signature|apikey|secret)=?\S*", "***", text)
    return text[:LONGEST_MESSAGE]
