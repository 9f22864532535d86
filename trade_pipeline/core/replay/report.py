"""What a replay found, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from trade_pipeline.core.records import Session
from trade_pipeline.core.replay.comparison import LIMIT
from trade_pipeline.core.replay.difference import Difference
from trade_pipeline.core.session.version import code_version

# From what a session was computed again: its market; what its account recorded; what is stored of
# each decision; nothing, so that only hashes were checked.
Source = Literal["market", "recording", "records", "hashes"]


@dataclass(frozen=True, slots=True)
class SessionReplay:
    """A session, or one trade of it, computed again.

    Attributes:
        trades: decisions, skipped ones included: each is ``identical`` (every record was computed
            again and is the same), ``different``, ``in_part`` (what was computed is the same) or
            ``not_computed``.
        records: that were compared.
        found: how many differences; ``differences`` are the first of them.
        uncomputed: what was not computed, and why -> of how many trades.
        notes: what a reader has to know besides.
        before: of one trade's replay: the first difference of the session before it.
    """

    session: Session
    source: Source
    trades: int
    identical: int = 0
    different: int = 0
    in_part: int = 0
    not_computed: int = 0
    records: int = 0
    found: int = 0
    differences: Sequence[Difference] = ()
    uncomputed: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    before: Difference | None = None
    seconds: float = 0.0

    @property
    def same_code(self) -> bool:
        return self.session.code_version == code_version()

    @property
    def code_text(self) -> str | None:
        """What the code has to do with the result; None: it is the one that stored it."""
        if self.same_code:
            return None
        stored, here = self.session.code_version, code_version()
        if self.source == "hashes":
            return f"stored by code {stored}, this is code {here}"
        if self.found:
            return f"stored by code {stored}, replayed by code {here}: the result is not the same"
        return f"code changed since ({stored} -> {here}), result the same"

    def facts(self) -> dict[str, Any]:
        """The result for programs."""
        plain = {
            name: getattr(self, name)
            for name in (
                "source", "trades", "identical", "different", "in_part", "not_computed",
                "records", "found", "uncomputed", "notes", "seconds",
            )
        }  # fmt: skip
        return {
            "session_id": self.session.session_id,
            "mode": self.session.mode,
            "market": self.session.market,
            "stored_code": self.session.code_version,
            "code": code_version(),
            "code_text": self.code_text,
            **plain,
            "differences": [one.facts() for one in self.differences],
            "before": None if self.before is None else self.before.facts(),
        }


@dataclass(frozen=True, slots=True)
class Replay:
    """All that was replayed."""

    sessions: Sequence[SessionReplay]

    @property
    def totals(self) -> dict[str, int]:
        """Sums over the sessions."""
        names = ("trades", "identical", "different", "in_part", "not_computed", "records", "found")
        return {n: sum(getattr(one, n) for one in self.sessions) for n in names}

    @property
    def first(self) -> Difference | None:
        """The first difference, if any."""
        return next((one for session in self.sessions for one in session.differences), None)

    @property
    def differs(self) -> bool:
        return any(one.found for one in self.sessions)

    def facts(self) -> dict[str, Any]:
        """The result for programs."""
        first = self.first
        return {
            "code": code_version(),
            "differs": self.differs,
            **self.totals,
            "first_difference": None if first is None else asdict(first) | {"text": first.text},
            "differences_shown_per_session": LIMIT,
            "sessions": [one.facts() for one in self.sessions],
        }


def joined(parts: Sequence[Mapping[str, Any]], order: Sequence[str]) -> dict[str, Any]:
    """The facts of replays of different sessions, as those of one replay of all of them.

    Args:
        parts: of `Replay.facts`.
        order: ids of sessions, in the order in which they are told.
    """
    place = {session: n for n, session in enumerate(order)}
    sessions = sorted(
        (one for part in parts for one in part["sessions"]),
        key=lambda one: place[one["session_id"]],
    )
    empty = Replay([])
    found = [one for session in sessions for one in session["differences"]]
    return {
        **empty.facts(),
        "differs": any(part["differs"] for part in parts),
        **{name: sum(part[name] for part in parts) for name in empty.totals},
        "first_difference": found[0] if found else None,
        "sessions": sessions,
    }
