"""Which candidates a canary decides: tokens drawn by a salted hash, anew in every window of time.

Nothing is drawn at random and nothing is remembered, so a replay and another process draw the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field, field_validator

from trade_pipeline.core.config import Config
from trade_pipeline.core.market.event import HOUR

# Of windows, and of the fund.
SHARES = (0.1, 0.25, 0.5)
_DRAWN = 8  # bytes of the hash


def require_step(share: float) -> float:
    """A share that is one of the steps.

    Raises:
        ValueError: it is not.
    """
    if share not in SHARES:
        raise ValueError("must be one of " + ", ".join(map(str, SHARES)))
    return share


class Traffic(Config):
    """A canary, and what it may decide about."""

    CALLED: ClassVar[str] = "canary"

    model: str = Field(
        pattern="^sha256:[0-9a-f]{64}$", description="version of the registered model on trial"
    )
    share: float = Field(
        SHARES[0],
        description="of the tokens' windows that it decides, and of the fund that it trades with; "
        "min_stake_usd holds in its part, too, so that a small fund's is too small for any trade",
    )
    window_hours: int = Field(48, gt=0, description="how long a token stays in the arm it drew")
    salt: str = Field(
        "", pattern="^[ -~]{0,64}$", description="another one draws other tokens; ASCII"
    )

    _is_a_step = field_validator("share")(require_step)


@dataclass(frozen=True, slots=True)
class Arm:
    """Whose decision a candidate is.

    Attributes:
        propensity: the probability with which it got this arm.
    """

    canary: bool
    propensity: float


def arm(token_name: str, at_micros: int, traffic: Traffic) -> Arm:
    """The arm of a token at a moment, microseconds since 1970-01-01 UTC.

    It is the same until the window of time ends, however often the token is evaluated.
    """
    window = at_micros // (traffic.window_hours * HOUR)
    drawn = hashlib.blake2b(
        f"{window}\0{token_name}".encode(), digest_size=_DRAWN, key=traffic.salt.encode()
    ).digest()
    canary = int.from_bytes(drawn, "big") < traffic.share * 256**_DRAWN
    return Arm(canary, traffic.share if canary else 1.0 - traffic.share)
