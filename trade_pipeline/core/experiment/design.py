"""An experiment as it is stored: which sessions it is made of, by content and not by folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Annotated, Any, Self

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from trade_pipeline.core.canonical import address_of, canonical_bytes
from trade_pipeline.core.errors import BadConfig, first_problem
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
        """The design that these canonical bytes tell.

        Raises:
            BadConfig: they tell none.
        """
        try:
            # It has no whole number beyond 64 bits, which pydantic's reader has.
            read = _File.model_validate(orjson.loads(data))
        except orjson.JSONDecodeError as error:
            raise BadConfig(f"experiment: is no JSON: {error}") from None
        except ValidationError as error:
            raise BadConfig(f"experiment: {first_problem(error)}") from None
        variants = {one.name: Variant(one.params_ptr, one.settings) for one in read.variants}
        if len(variants) < len(read.variants) or read.baseline not in variants:
            raise BadConfig(f"experiment: baseline={read.baseline!r}: expected one of the variants")
        return cls(
            name=read.name,
            description=read.description,
            metric=read.metric,
            baseline=read.baseline,
            pool=read.pool,
            worlds=tuple(World(**dict(one)) for one in read.worlds),
            variants=variants,
        )


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def _day(given: object) -> date:
    if not isinstance(given, str):
        raise ValueError("expected a day such as 2026-01-01")
    return date.fromisoformat(given)


_Day = Annotated[date, BeforeValidator(_day)]


class _World(_Part):
    kind: str
    address: str
    start: _Day
    end: _Day
    seed: Annotated[int, Field(ge=0, lt=1 << 63)]


class _Variant(_Part):
    name: str
    params_ptr: str
    settings: dict[str, Any]


class _File(_Part):
    """What `canonical` wrote."""

    name: str
    description: str
    metric: Metric
    baseline: str
    pool: bool
    worlds: list[_World]
    variants: list[_Variant]
