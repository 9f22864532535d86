"""A dossier as sections of plain blocks, which every renderer shows in its own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph; ``warns``: something that is missing or wrong."""

    text: str
    warns: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts.

    Attributes:
        title: what it shows; empty: the section's title says it.
        folded: long and seldom needed: shown on demand where that is possible.
        marks: by row, ``good``, ``bad`` or empty.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False
    marks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Bars:
    """Amounts by name as bars, positive ones to the right; drawn as a picture where possible.

    Attributes:
        unit: of the amounts; ``meanings``: (name, meaning) shown beside it.
    """

    title: str
    unit: str
    rows: Sequence[tuple[str, float]]
    draw: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, made when it is shown; ``instead``: what it shows, in words."""

    title: str
    draw: Callable[[], bytes]
    instead: str


Block = Note | Table | Bars | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a title and what to make of it."""

    title: str
    intro: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Page:
    """The dossier of one trade, ready to be shown.

    Attributes:
        verdict: the trade in one sentence; ``tone``: ``good``, ``bad`` or empty.
        subtitle: what kind of session it was and which model decided.
    """

    uuid: str
    verdict: str
    tone: str
    subtitle: str
    sections: Sequence[Section]


def printable(text: str) -> str:
    """A text without what changes how others are shown: controls, and marks of direction.

    Tokens are named by strangers.
    """
    return "".join(one if one.isprintable() or one == "\n" else "\ufffd" for one in text)
