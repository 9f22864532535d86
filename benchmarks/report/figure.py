"""What a figure is: its words, its unit, what is asked of it and what others reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Anchor:
    """What somebody else reaches at the same job.

    Attributes:
        name: the system and its version.
        value: in the figure's unit.
        source: who measured it and on what.
    """

    name: str
    value: float
    source: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the report.

    Attributes:
        key: its section and its name, ``ledger.verify_s``.
        words: what it is.
        unit: of its value; ``%`` is of one hundred, ``x`` is a ratio.
        part: the benchmark, or the file of tests, that measures it.
        more_is_better: which way is up.
        asked: the bound that it has to keep; None: none was set.
        anchors: what others reach.
        floor: the key of the machine's own figure that bounds it.
        headline: whether it stands in the table on top.
        only_full: it is measured by the full sizes only.
        optional: it needs what not every machine has, such as an installable Feast.
    """

    key: str
    words: str
    unit: str
    part: str
    more_is_better: bool = False
    asked: float | None = None
    anchors: tuple[Anchor, ...] = ()
    floor: str | None = None
    headline: bool = False
    only_full: bool = False
    optional: bool = False

    @property
    def section(self) -> str:
        return self.key.partition(".")[0]

    def keeps(self, value: float) -> bool | None:
        """Whether a value keeps the bound; None: none was set."""
        if self.asked is None:
            return None
        return value >= self.asked if self.more_is_better else value <= self.asked
