"""What an experiment is: the markets, the variants that are compared on them, and by what."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field

from trade_pipeline.core.config import Config
from trade_pipeline.core.document import read_document
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import day_of, micros, moment_of
from trade_pipeline.core.market.source import MARKETS, market_in
from trade_pipeline.core.session.config import TradingConfig

Metric = Literal["pnl_per_day", "mean_return", "sharpe"]
METRICS: tuple[str, ...] = get_args(Metric)
SIMULATED = "simulated"
BASELINE = "baseline"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,79}")
# The market is the same for all variants: results on different ones say nothing of the settings.
_MARKET_SETTINGS = "simulator"


class _MarketFields(Config):
    CALLED: ClassVar[str] = "market"

    market: str | None = None
    data: str | None = None
    mentions: str | None = None
    start: str | None = None
    end: str | None = None


class _File(_MarketFields):
    CALLED: ClassVar[str] = "experiment"

    name: str | None = None
    description: str = ""
    markets: list[dict[str, Any]] | None = None
    seeds: list[int] = Field([7], strict=True)
    set: dict[str, Any] = Field({})
    grid: dict[str, list[Any]] | None = None
    variants: dict[str, dict[str, Any]] | None = None
    baseline: str | None = None
    metric: Metric = "pnl_per_day"
    pool: bool = False


class Days:
    """UTC days from ``start`` on; ``end`` is the day after the last."""

    __slots__ = ()
    start: date
    end: date

    @property
    def first_moment(self) -> datetime:
        return datetime.combine(self.start, time(), UTC)

    @property
    def end_moment(self) -> datetime:
        return datetime.combine(self.end, time(), UTC)


@dataclass(frozen=True, slots=True)
class MarketRange(Days):
    """A market and the UTC days on which the sessions decide; ``end`` is the day after the last."""

    kind: str
    data: Path | None
    mentions: Path | None
    start: date
    end: date

    def __str__(self) -> str:
        return f"{self.kind} {self.start} to {self.end}"


@dataclass(frozen=True, slots=True)
class Definition:
    """An experiment as its file tells it, every part of it checked.

    Attributes:
        variants: the settings of each, by name; the baseline is one of them.
        pool: whether markets different in kind are compared as one.
    """

    name: str
    description: str
    markets: tuple[MarketRange, ...]
    seeds: tuple[int, ...]
    variants: Mapping[str, TradingConfig]
    baseline: str
    metric: Metric
    pool: bool

    def seeds_on(self, market: MarketRange) -> tuple[int, ...]:
        """A recording draws nothing: another seed is the same session, not another observation."""
        return self.seeds if market.kind == SIMULATED else self.seeds[:1]


def read_definition(file: Path) -> Definition:
    """The experiment that a file tells; folders in it are relative to the file's.

    Raises:
        BadConfig: the file, a field, a setting, a day or a folder is wrong; nothing was started.
        BadMarketData: a folder holds no recording.
    """
    given = _File.parse(read_document(file))
    if given.name is None:
        raise BadConfig("name: missing; the experiment is stored under it")
    if not _NAME.fullmatch(given.name):
        raise BadConfig(
            f"name={given.name!r}: expected up to 80 letters, digits, dots, dashes or underscores"
        )
    seeds = tuple(given.seeds)
    if not seeds:
        raise BadConfig("seeds=[]: expected at least one")
    for seed in seeds:
        if seed < 0:
            raise BadConfig(f"seeds={seed}: expected integers of at least 0")
    if len(set(seeds)) < len(seeds):
        raise BadConfig(f"seeds={list(seeds)}: one is given twice")
    variants, baseline = _variants(given)
    return Definition(
        name=given.name,
        description=given.description,
        markets=_markets(given, file.resolve().parent),
        seeds=seeds,
        variants=variants,
        baseline=baseline,
        metric=given.metric,
        pool=given.pool,
    )


def _markets(given: _File, folder: Path) -> tuple[MarketRange, ...]:
    own = given.model_dump(include=set(_MarketFields.model_fields), exclude_none=True)
    if given.markets is None:
        return (_market("", given, folder),)
    if own:
        name, value = next(iter(own.items()))
        raise BadConfig(f"{name}={value!r}: beside markets; give it inside of each of them")
    if not given.markets:
        raise BadConfig("markets=[]: expected at least one")
    found: list[MarketRange] = []
    for number, one in enumerate(given.markets):
        where = f"markets[{number}]."
        try:
            fields = _MarketFields.parse(one)
        except BadConfig as error:
            raise BadConfig(f"{where}{str(error).partition(': ')[2]}") from None
        market = _market(where, fields, folder)
        for other in found:
            same = (other.kind, other.data) == (market.kind, market.data)
            if same and other.start < market.end and market.start < other.end:
                raise BadConfig(
                    f"{where}start={market.start}: these days are those of another market of the "
                    f"list ({other}), and would count twice"
                )
        found.append(market)
    return tuple(found)


def _market(where: str, given: _MarketFields, folder: Path) -> MarketRange:
    data, mentions = (
        _folder(where + name, folder, text)
        for name, text in (("data", given.data), ("mentions", given.mentions))
    )
    kind = given.market
    if kind is None:
        if data is None:
            raise BadConfig(f"{where}market: missing; give it, or data with a recording")
        kind = market_in(data)
    if kind not in MARKETS:
        raise BadConfig(f"{where}market={kind!r}: expected one of {', '.join(MARKETS)}")
    if kind == SIMULATED and data is not None:
        raise BadConfig(f"{where}data={given.data!r}: the simulated market reads no recording")
    if kind != SIMULATED and data is None:
        raise BadConfig(f"{where}data: missing; market {kind} needs the folder of its recording")
    for name, text in (("start", given.start), ("end", given.end)):
        if text is None:
            raise BadConfig(f"{where}{name}: missing; expected a day such as 2021-09-03")
    start = day_of(f"{where}start", given.start or "").date()
    end = day_of(f"{where}end", given.end or "").date()
    if end <= start:
        raise BadConfig(f"{where}end={end}: must be after {where}start={start}")
    return MarketRange(kind, data, mentions, start, end)


def _folder(named: str, base: Path, text: str | None) -> Path | None:
    if text is None:
        return None
    folder = (base / Path(text).expanduser()).resolve()
    if not folder.is_dir():
        raise BadConfig(f"{named}={text!r}: no such folder ({folder})")
    return folder


def require_inside(market: MarketRange, span: tuple[int, int]) -> None:
    """Refuse days of which a recording knows nothing.

    Args:
        span: when its first and last event were known, microseconds since 1970-01-01 UTC.

    Raises:
        BadConfig: the range begins before, or ends after it.
    """
    first, last = (moment_of(at).date() for at in span)
    for name, day, good in (
        ("start", market.start, micros(market.first_moment) <= span[1] and market.start >= first),
        ("end", market.end, market.end <= last + timedelta(days=1)),
    ):
        if not good:
            raise BadConfig(f"{name}={day}: the recording in {market.data} spans {first} to {last}")


def _variants(given: _File) -> tuple[dict[str, TradingConfig], str]:
    """The settings of every variant by its name, and the name of the baseline."""
    base = _flat("set", given.set)
    common = _settings("set", base)
    if given.grid is None and given.variants is None:
        raise BadConfig("grid, variants: both missing; there is nothing to compare")
    found: dict[str, TradingConfig] = {}
    grid = _grid(given.grid, base) if given.grid is not None else {}
    explicit = {
        name: _settings(f"variants.{name}", base | _changes(f"variants.{name}", one))
        for name, one in (given.variants or {}).items()
    }
    for name, settings in itertools.chain(grid.items(), explicit.items()):
        if name in found:
            raise BadConfig(f"variants.{name}: is a name of the grid's, too")
        for other, known in found.items():
            if known == settings:
                raise BadConfig(f"variants.{name}: the same settings as those of {other}")
        found[name] = settings
    baseline = given.baseline or _same_as(found, common) or BASELINE
    if given.baseline is None and baseline == BASELINE and BASELINE in found:
        if found[BASELINE] != common:
            raise BadConfig(
                f"variants.{BASELINE}: has this name and other settings than set; say which "
                "variant is the baseline"
            )
    elif baseline not in found:
        if baseline != BASELINE:
            raise BadConfig(f"baseline={baseline!r}: expected one of {', '.join(found)}")
        if twin := _same_as(found, common):
            raise BadConfig(f"baseline={baseline!r}: has the same settings as {twin}")
        found = {BASELINE: common, **found}
    if len(found) < 2:
        raise BadConfig(f"variants: {baseline} alone; expected at least two to compare")
    return found, baseline


def _same_as(variants: Mapping[str, TradingConfig], settings: TradingConfig) -> str | None:
    return next((name for name, one in variants.items() if one == settings), None)


def _grid(given: dict[str, list[Any]], base: dict[str, Any]) -> dict[str, TradingConfig]:
    if not given:
        raise BadConfig("grid={}: expected settings, each with the values to try")
    for name, values in given.items():
        if not values:
            raise BadConfig(f"grid.{name}=[]: expected the values to try")
        for number, value in enumerate(values):
            if value in values[:number]:
                raise BadConfig(f"grid.{name}={value!r}: is given twice")
            # Each alone, so that an error names its own field; together they are checked below.
            _settings(f"grid.{name}", base | _changes("grid", {name: value}))
    last = [name.rsplit(".", 1)[-1] for name in given]
    short = {
        name: part if last.count(part) == 1 else name
        for name, part in zip(given, last, strict=True)
    }
    found = {}
    for chosen in itertools.product(*given.values()):
        point = dict(zip(given, chosen, strict=True))
        called = ",".join(f"{short[name]}={value}" for name, value in point.items())
        found[called] = _settings(f"grid ({called})", base | _changes("grid", point))
    return found


def _changes(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a variant changes, by dotted names; not the market."""
    flat = _flat(where, given)
    for name in flat:
        if name.split(".")[0] == _MARKET_SETTINGS:
            raise BadConfig(
                f"{where}.{name}: variants are compared on the same market; give it under set"
            )
    return flat


def _flat(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Mapping) and value:
            inner = {f"{name}.{key}": one for key, one in _flat(where, value).items()}
        else:
            inner = {name: value}
        for key, one in inner.items():
            if key in flat:
                raise BadConfig(f"{where}.{key}: is given twice")
            flat[key] = one
    return flat


def _settings(where: str, flat: Mapping[str, Any]) -> TradingConfig:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, last = name.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
            if not isinstance(place, dict):
                raise BadConfig(f"{where}: {name}={value!r}: {group} has a value of its own")
        if isinstance(place.get(last), dict):
            raise BadConfig(f"{where}: {name}={value!r}: has settings of its own")
        place[last] = value
    try:
        return TradingConfig.parse(nested)
    except BadConfig as error:
        raise BadConfig(f"{where}: {str(error).partition(': ')[2]}") from None
