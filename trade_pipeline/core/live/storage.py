"""What a session does about a store that fills up, or whose database takes no writes.

Entries stop and go on by themselves.  Exits go on: while there is little room, they are recorded as
ever; while the database takes no writes, a venue elsewhere is sent them all the same, and they are
recorded when it takes writes again.  A session that dies before finds at the venue what was sold:
the names of its orders follow from the trades.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.reconcile import Facts, Finding
from trade_pipeline.core.live.records import OrderIntent
from trade_pipeline.core.records import Record
from trade_pipeline.core.store.room import Room, WritesRefused

log = logging.getLogger("trade_pipeline.live")
# A database that took no writes is asked again after this.
_RETRY_SECONDS = 0.5

# Tells people at once (title, text): what cannot be stored, the alerts never read.
Tell = Callable[[str, str], None]


def tell_nobody(title: str, text: str) -> None:
    """There is no channel; the log has it."""


class StorageGuard:
    """Whether the session's store takes what has to be stored.

    Args:
        lease: of the session.
        room: of the disks of this machine.
        tell: called when the database begins to take no writes, and when that is over.

    Attributes:
        unrecorded: client order ids of exits that were sent without a record.
    """

    def __init__(self, lease: Lease, room: Room, tell: Tell) -> None:
        self._lease, self._room, self._tell = lease, room, tell
        self._why: str | None = None
        self._since = self._again_at = 0.0
        self._had_room = True
        self.unrecorded: set[str] = set()

    @property
    def refuses(self) -> bool:
        """Whether the database takes no writes, as far as is known."""
        return self._why is not None

    def refusal(self) -> str | None:
        """Why no entry is allowed now, or None."""
        if self.refuses or self._lease.refused is not None:
            return "writes_refused"
        return "disk_low" if self._room.lacks() is not None else None

    def why(self) -> str | None:
        """The same for people."""
        why = self._why or self._lease.refused or self._room.lacks()
        if (why is None) != self._had_room:
            self._had_room = why is None
            what = "there is room again" if why is None else f"no entries: {why}"
            log.warning("account %s: %s", self._lease.account, what)
        return why

    def may_write(self) -> bool:
        """Whether it is time to try: not before the lease could be renewed, without which the
        database would take this session for one that is over."""
        if not self.refuses:
            return True
        return self._lease.refused is None and time.monotonic() >= self._again_at

    def refused(self, error: WritesRefused, waiting: Sequence[Record]) -> list[OrderIntent]:
        """The database took nothing of what waits.  Gives the exits that are sent all the same.

        Those at the market: a stop that would rest is watched by the session meanwhile.
        """
        now = time.monotonic()
        self._again_at = now + _RETRY_SECONDS
        if self._why is None:
            self._why, self._since = str(error), now
            self._told(
                "The database takes no writes",
                f"{error}. Entries are stopped; exits are sent and recorded later.",
            )
        return self.due(waiting)

    def due(self, waiting: Sequence[Record]) -> list[OrderIntent]:
        """Exits among what waits that were not sent so far; they count as sent now."""
        exits = [
            one
            for one in waiting
            if isinstance(one, OrderIntent)
            and one.leg == "exit"
            and one.stop_price is None
            and one.client_order_id not in self.unrecorded
        ]
        self.unrecorded.update(one.client_order_id for one in exits)
        return exits

    def accepted(self, intents: Sequence[OrderIntent]) -> tuple[list[OrderIntent], Finding | None]:
        """The database took what waited.  Gives the orders to be sent now, and what is to be noted.

        Exits were sent before.  Entries are too old, and stops may have been taken back meanwhile:
        the comparison with the venue lets them lapse, and a position's stop is placed anew.
        """
        if self._why is None:
            return list(intents), None
        facts: Facts = {
            "why": self._why,
            "seconds": round(time.monotonic() - self._since, 3),
            "exits": len(self.unrecorded),
        }
        sent, self.unrecorded, self._why = self.unrecorded, set(), None
        self._told(
            "The database takes writes again",
            f"After {facts['seconds']:g} s; {facts['exits']} exits of that time are recorded now. "
            "Entries are allowed again.",
        )
        left = [
            one
            for one in intents
            if one.leg == "exit" and one.stop_price is None and one.client_order_id not in sent
        ]
        return left, Finding("writes_refused", True, facts=facts)

    def _told(self, title: str, text: str) -> None:
        log.error("account %s: %s: %s", self._lease.account, title, text)
        self._tell(f"{title}: account {self._lease.account}", text)
