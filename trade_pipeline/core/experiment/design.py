"""An experiment as it is stored: which sessions it is made of, by content and not by folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Self, cast

import orjson

from trade_pipeline.core.canonical import address_of, canonical_bytes
from trade_pipeline.core.experiment.definition import SIMULATED, Days, Metric


@dataclass(frozen=True, slots=True)
class World(Days):
    """A market on which every variant trades once; ``end`` is the day after the last one."""

    kind: str
    address: str
    start: date
    end: date
    seed: int

    @property
    def recorded(self) -> bool:
        return self.kind != SIMULATED

    def __str__(self) -> str:
        seed = "" if self.recorded else f", seed {self.seed}"
        return f"{self.kind} {self.start} to {self.end}{seed}"


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant's settings: their address, and what differs from the defaults."""

    params_ptr: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Design:
    """What an experiment compares, and how; its address is the content address of all this."""

    name: str
    description: str
    metric: Metric
    baseline: str
    pool: bool
    worlds: tuple[World, ...]
    variants: Mapping[str, Variant]

    def canonical(self) -> bytes:
        """The canonical bytes; the order of worlds and variants is part of them."""
        content = asdict(self)
        content["variants"] = [{"name": n, **asdict(one)} for n, one in self.variants.items()]
        return canonical_bytes(content)

    @property
    def address(self) -> str:
        return address_of(self.canonical())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The design that these canonical bytes tell."""
        content: dict[str, Any] = orjson.loads(data)
        worlds = tuple(
            World(**one | {name: date.fromisoformat(one[name]) for name in ("start", "end")})
            for one in content.pop("worlds")
        )
        variants = {
            one["name"]: Variant(one["params_ptr"], one["settings"])
            for one in content.pop("variants")
        }
        content["metric"] = cast(Metric, content["metric"])
        return cls(**content, worlds=worlds, variants=variants)
