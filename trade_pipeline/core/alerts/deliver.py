"""Tells each channel what it was not told yet: at least once, and none waits for another."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from trade_pipeline.core.alerts.alert import Alert, join
from trade_pipeline.core.alerts.channels import Channel
from trade_pipeline.core.alerts.cursor import (
    Waiting,
    begin,
    failed,
    is_due,
    only_teller,
    told,
    waiting,
)
from trade_pipeline.core.alerts.read import read_alerts
from trade_pipeline.core.store.database import Database

Became = Literal["told", "nothing", "failed", "begins", "retries_later"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a channel.

    Attributes:
        channel: its label, which holds no secret.
        alerts: that it was told, or was to be told.
    """

    channel: str
    became: Became
    alerts: int = 0


def deliver(
    database: Database, channels: Sequence[Channel], *, patient: bool = False
) -> list[Delivery] | None:
    """Tell every channel what became visible since it was last told, in one message.

    A new channel is told what follows.  What was sent is noted afterwards, so that a process that
    dies in between makes it be sent again.

    Args:
        patient: leave out a channel that failed a moment ago.

    Returns:
        One for each channel; None: another process tells them now.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    with database.connect(autocommit=True) as connection, only_teller(connection) as alone:
        if not alone:
            return None
        found: list[Delivery] = []
        news: list[tuple[Channel, Waiting, list[Alert]]] = []
        read: dict[Waiting, list[Alert]] = {}
        for channel in channels:
            if begin(connection, channel.key):
                found.append(Delivery(channel.label, "begins"))
            elif patient and not is_due(connection, channel.key):
                found.append(Delivery(channel.label, "retries_later"))
            else:
                new = waiting(connection, channel.key)
                if new not in read:
                    read[new] = read_alerts(connection, new)
                news.append((channel, new, read[new]))
        with ThreadPoolExecutor(max_workers=max(1, len(news))) as pool:
            taken = list(pool.map(lambda one: _send(one[0], one[2]), news))
        for (channel, new, alerts), done in zip(news, taken, strict=True):
            if done:
                told(connection, channel.key, new, len(alerts))
                became: Became = "told" if alerts else "nothing"
            else:
                failed(connection, channel.key)
                became = "failed"
            found.append(Delivery(channel.label, became, len(alerts)))
    return found


def _send(channel: Channel, alerts: Sequence[Alert]) -> bool:
    return not alerts or channel.send(*join(alerts))
