"""Tells people at once what cannot be stored: that the database takes no writes.

Everything else waits in the records, and `deliver` reads it there.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from pydantic import SecretStr

from trade_pipeline.core.alerts.channels import channels_of

log = logging.getLogger("trade_pipeline.alerts")


def teller(urls: SecretStr | None) -> Callable[[str, str], None]:
    """A function that sends title and text by every channel, and for which nobody waits.

    Raises:
        BadConfig: see `channels_of`.
    """
    channels = channels_of(urls)

    def tell(title: str, text: str) -> None:
        for channel in channels:
            threading.Thread(
                target=_send, args=(channel.send, channel.label, title, text), daemon=True
            ).start()

    return tell


def _send(send: Callable[[str, str], bool], label: str, title: str, text: str) -> None:
    if not send(title, text):
        log.error("%s could not be told: %s", label, title)
