"""The channels by which people are told, each an Apprise URL that holds secrets.

No URL nor a part of it leaves this module: a channel is known by its number and its service, and in
the database by a slow hash.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from trade_pipeline.core.errors import BadConfig, printable

# A comma inside of a URL separates nothing.
_BETWEEN = re.compile(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]*://)|[\s,]+$")
# What Apprise and the HTTP client below it log names hosts and paths, and so tokens.
_TALKATIVE = ("apprise", "urllib3.connectionpool", "urllib3.util.retry", "urllib3.poolmanager")
_sending: ContextVar[bool] = ContextVar("sending an alert", default=False)


@dataclass(frozen=True, slots=True)
class Channel:
    """One place where people read.

    Attributes:
        number: in the setting, from 1.
        service: such as ``Telegram``.
        key: what the database knows it by.
    """

    number: int
    service: str
    key: str
    _server: Any = field(repr=False)

    @property
    def label(self) -> str:
        return f"channel {self.number} ({self.service})"

    def send(self, title: str, body: str) -> bool:
        """Send a message; whether it was taken."""
        import apprise

        message = apprise.Apprise(asset=_asset())
        message.add(self._server)
        with _silence():
            try:
                return bool(
                    message.notify(title=printable(title), body=printable(body), body_format="text")
                )
            except Exception:  # noqa: BLE001 - it failed, and what a plugin raises may show the URL
                return False


def channels_of(urls: SecretStr | None) -> list[Channel]:
    """The channels of the setting ``alert_urls``, in its order and each once.

    Raises:
        BadConfig: one is no URL that Apprise knows; it is named by its number.
    """
    given = "" if urls is None else urls.get_secret_value().strip(" \t\r\n,")
    if not given:
        return []
    return [
        _channel(number, url) for number, url in enumerate(dict.fromkeys(_BETWEEN.split(given)), 1)
    ]


def _channel(number: int, url: str) -> Channel:
    import apprise

    with _silence():
        try:
            server = apprise.Apprise.instantiate(url, asset=_asset(), suppress_exceptions=True)
        except Exception:  # noqa: BLE001 - what a plugin raises may show the URL
            server = None
    if server is None:
        raise BadConfig(
            f"TRADE_PIPELINE_ALERT_URLS: URL {number} is none that Apprise knows, or lacks a part "
            "(it is not shown, since it may hold secrets)"
        )
    # Some services take only short messages.
    server.overflow_mode = apprise.OverflowMode.SPLIT
    return Channel(number, str(server.service_name), _key(url), server)


@functools.lru_cache(maxsize=64)
def _key(url: str) -> str:
    """Slow to compute, so that nobody finds a weak password inside by trying."""
    made = hashlib.scrypt(url.encode(), salt=b"trade_pipeline.alerts", n=1 << 14, r=8, p=1)
    return made.hex()[:24]


def _asset() -> Any:
    import apprise

    # Nothing on the disk: a plugin's storage would hold tokens.
    return apprise.AppriseAsset(
        app_id="trade_pipeline", app_desc="trade_pipeline", storage_mode="memory"
    )


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing that is logged meanwhile by those who know a URL is heard."""
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_is_heard)
    token = _sending.set(True)
    try:
        yield
    finally:
        _sending.reset(token)


def _is_heard(_: logging.LogRecord) -> bool:
    return not _sending.get()
