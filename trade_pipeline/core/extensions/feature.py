"""A feature of the user's own: one function over the events that were known at each decision."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.extensions.load import error_line
from trade_pipeline.core.market.event import HOUR, Floats, Ints
from trade_pipeline.core.market.windows import LOOKBACK, EventWindows

MAX_WINDOW_HOURS = LOOKBACK // HOUR
_NAME = re.compile(r"[a-z][a-z0-9_]{1,62}")

Compute = Callable[["Events", "Known"], Floats]


@dataclass(frozen=True, slots=True)
class DeclaredFeature:
    """What a user's module declared; see `feature`."""

    name: str
    family: str
    unit: str
    definition: str
    source: str
    window_hours: int
    low: float | None
    high: float | None
    compute: Compute
    module: str


_DECLARED: dict[str, DeclaredFeature] = {}
# Whether the features were read: later ones would be in no vector.
_READ: set[bool] = set()


def feature(
    *,
    unit: str,
    window_hours: int,
    source: str = "trades",
    family: str = "market",
    low: float | None = None,
    high: float | None = None,
) -> Callable[[Compute], Compute]:
    """Declare a function as a feature; its name is the feature's, its docstring the definition.

    The function is given `Events` and `Known` and returns a number a decision; what is not finite
    is unknown.  The value of a decision must not depend on the others that it is asked beside.

    Args:
        unit: of the value, such as ``fraction``, ``USD`` or ``count``.
        window_hours: how far back it looks, 1 to 96.
        source: whose data it is made from: ``trades``, ``token facts``, ``social feeds``, ``venue``
            or ``clock``; the leak guards delay it as they delay the source.
        family: ``market``, ``onchain``, ``social``, ``rug`` or ``execution``.
        low, high: bounds that hold for every value, for the data contract.

    Raises:
        BadConfig: a field that cannot be, or a name that is taken.
    """

    def declare(compute: Compute) -> Compute:
        name, module = compute.__name__, compute.__module__
        definition = " ".join((compute.__doc__ or "").split())
        if not _NAME.fullmatch(name):
            raise BadConfig(f"feature {name!r}: expected a name of small letters, digits and _")
        if not definition:
            raise BadConfig(f"feature {name!r}: its docstring must say what it is")
        if not unit:
            raise BadConfig(f"feature {name!r}: unit={unit!r}: expected a unit, such as fraction")
        if type(window_hours) is not int or not 1 <= window_hours <= MAX_WINDOW_HOURS:
            raise BadConfig(
                f"feature {name!r}: window_hours={window_hours!r}: expected 1 to {MAX_WINDOW_HOURS}"
            )
        there = _DECLARED.get(name)
        if there is not None and there.module != module:
            raise BadConfig(f"feature {name!r}: the name is taken by {there.module}")
        if _READ and there is None:
            raise BadConfig(
                f"feature {name!r}: declared after the features were read; name its module "
                f"{module!r} in TRADE_PIPELINE_EXTENSIONS"
            )
        _DECLARED[name] = DeclaredFeature(
            name, family, unit, definition, source, window_hours, low, high, compute, module
        )
        return compute

    return declare


def declared_features() -> list[DeclaredFeature]:
    """All that were declared, by name; from now on no more can be."""
    _READ.add(True)
    return [_DECLARED[name] for name in sorted(_DECLARED)]


class Known(Mapping[str, Floats]):
    """Columns by name that can be read and not written."""

    def __init__(self, columns: Mapping[str, Floats]) -> None:
        self._columns = columns

    def __getitem__(self, name: str) -> Floats:
        column = self._columns[name].view()
        column.flags.writeable = False
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


class Events:
    """The events behind some decisions, one token at one moment each.

    Windows end at the decision (inclusive) and reach back at most as far as the feature declared.
    Values of an event are ``columns`` of `MarketBatch` names or made from them, all of one length.

    Attributes:
        at: of each decision, microseconds since 1970-01-01 UTC.
        columns: by name, a value an event of all tokens: arguments of `total`, `highest`, `lowest`.
            They hold events after the decisions as well, so use them in windows only.
    """

    def __init__(self, windows: EventWindows, window_hours: int) -> None:
        self._windows, self._hours = windows, window_hours
        self.at: Ints = windows.at
        self.columns = Known(windows.columns)

    def __len__(self) -> int:
        return len(self._windows)

    def as_of(self, name: str, hours_ago: float = 0) -> Floats:
        """A column as it was known some hours before each decision; NaN where no event was."""
        return self._windows.as_of(name, self._micros(hours_ago, 0))

    def hourly(self, name: str, hours: int) -> Floats:
        """A column at each full hour back: rows of ``hours + 1``, oldest first."""
        self._micros(hours, 1)
        return self._windows.hourly(name, hours)

    def total(self, values: Floats, hours: float) -> Floats:
        """Sum of a value an event over the last hours; 0 over none."""
        return self._windows.total(values, self._micros(hours, 0))

    def highest(self, values: Floats, hours: float) -> Floats:
        """Largest value over the last hours; NaN over none."""
        return self._windows.highest(values, self._micros(hours, 0))

    def lowest(self, values: Floats, hours: float) -> Floats:
        """Smallest value over the last hours; NaN over none."""
        return self._windows.lowest(values, self._micros(hours, 0))

    def count(self, hours: float) -> Floats:
        """Number of events of the last hours."""
        return self._windows.count(self._micros(hours, 0))

    def _micros(self, hours: float, least: int) -> int:
        if not least <= hours <= self._hours:
            raise BadConfig(f"looks back {hours} hours, declared window_hours={self._hours}")
        return int(hours * HOUR)


def compute_feature(
    one: DeclaredFeature, windows: EventWindows, known: Mapping[str, Floats]
) -> Floats:
    """A declared feature of some decisions.

    Raises:
        BadConfig: the function fails, or does not give a number a decision.
    """
    named = f"feature {one.name!r} of {one.module}"
    try:
        with np.errstate(all="ignore"):
            found = one.compute(Events(windows, one.window_hours), Known(known))
            values = np.array(found, np.float64)
    except Exception as error:
        raise BadConfig(f"{named}: {error_line(error)}") from error
    if values.shape != (len(windows),):
        raise BadConfig(
            f"{named}: gave shape {values.shape}, expected a number for each of "
            f"{len(windows)} decisions"
        )
    return values
