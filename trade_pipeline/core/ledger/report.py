"""What a verification found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        kind: ``row`` (contradicts itself), ``chain`` (does not follow), ``head`` (is not what was
            anchored), ``file`` (of the heads), ``table`` or ``artifact``.
        what: in words.
        table, key, chain_id, seq: of the row, as far as they are known.
        field: the column, where it can be told.
        head: the first head that no longer holds because of it; None: it was not anchored yet.
    """

    kind: str
    what: str
    table: str | None = None
    key: str | None = None
    chain_id: str | None = None
    seq: int | None = None
    field: str | None = None
    head: int | None = None

    def __str__(self) -> str:
        row = " ".join(part for part in (self.table, self.key) if part)
        place = "" if self.chain_id is None else f" (chain {self.chain_id}, record {self.seq})"
        return f"{row}{place}: {self.what}" if row or place else self.what


@dataclass(frozen=True, slots=True)
class Behind:
    """The database ends before the heads do, and up to its end everything is as they say.

    Attributes:
        first, last: the heads that cover records which the database does not hold.
        missing: how many records these are.
    """

    first: int
    last: int
    missing: int


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """A verification.

    Attributes:
        records, chains: that were read.
        heads: that are there; ``last_head``: the number and time of the newest.
        last_holding: number of the last head that holds together with all before it; None: none.
        unanchored: records younger than the last head; ``unanchored_since``: when the oldest was
            recorded.
        problems: the first ones, that of the earliest head first; ``problem_count``: of all.
        behind: the newest records are missing, and nothing else is wrong; None: it is not so.
        stamped_days, days: UTC days with a time stamp that is right, and all that are closed.
        notes: what is no problem of the ledger and yet worth knowing.
    """

    records: int
    chains: int
    heads: int
    last_head: int | None
    last_head_at: datetime | None
    last_holding: int | None
    unanchored: int
    unanchored_since: datetime | None
    problems: tuple[Problem, ...]
    problem_count: int
    days: int
    stamped_days: int
    notes: Sequence[str]
    seconds: float
    behind: Behind | None = None

    def with_artifacts(self, problems: Sequence[Problem]) -> LedgerReport:
        """The same with what is wrong with artifacts."""
        return replace(
            self,
            problems=(*self.problems, *problems[:100]),
            problem_count=self.problem_count + len(problems),
        )

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem_count == 0

    @property
    def verdict(self) -> str:
        """In one sentence."""
        if self.problems:
            holding = (
                "no head holds"
                if self.last_holding is None
                else f"head {self.last_holding} is the last that holds"
            )
            if self.behind is not None:
                heads = f"heads {self.behind.first} to {self.behind.last}"
                return (
                    f"the database is older than its heads: {holding}, and "
                    f"{self.behind.missing:,} records that {heads} cover are missing from the ends "
                    "of chains. After a restore to an earlier moment, `trade-pipeline ledger "
                    "set-aside` goes on from here; otherwise they were removed"
                )
            return f"{self.problem_count} problems, {holding}; first: {self.problems[0]}"
        return (
            f"{self.records:,} records in {self.chains:,} chains are what {self.heads:,} heads say"
        )
