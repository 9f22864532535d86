"""How the exchange refuses: a status, a code and a message, as Binance gives them."""

from __future__ import annotations

BAD_PRECISION = (400, -1111)
BAD_PARAMETER = (400, -1102)
BAD_SYMBOL = (400, -1121)
BAD_TIMESTAMP = (400, -1021)
BAD_SIGNATURE = (400, -1022)
BAD_KEY = (401, -2015)
FILTER = (400, -1013)
REJECTED = (400, -2010)
CANCEL_REJECTED = (400, -2011)
NO_ORDER = (400, -2013)
TOO_MANY = (429, -1003)


class Refused(Exception):
    """A request that the exchange refuses.

    Attributes:
        status: of the HTTP answer; ``code`` and ``message``: of its body.
    """

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
