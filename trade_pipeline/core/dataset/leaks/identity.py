"""Features that say which row, token or moment it is instead of what is known of it.

A model learns such a column by heart.  By what is in the data:

- A clock that runs on: the value only rises (or falls) from the oldest to the newest decision.
  Cyclic clocks (hour, weekday) start again, and so does a token's age with each token.  With a
  single token its age is the wall clock, and is named.
- A token's name: constant over each token's decisions, and as many values as tokens.  The same by
  session.
- A code of the row: the order of some of the UUID's bytes, or one of its bits.

A hash of the address into few values, or a salted hash of the UUID, cannot be told from an honest
feature this way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.dataset.leaks.guard import DAY, Guard, decided, features_of, matrix
from trade_pipeline.core.dataset.leaks.power import centred, ranks
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd

Flags = npt.NDArray[np.bool_]

IDENTITY_COLUMNS = frozenset(
    {
        "uuid", "id", "index", "row", "row_number", "chain_id", "chain_seq", "session_id",
        "address", "token_address", "pool", "pool_address", "instrument", "token", "mint", "name",
        "symbol", "decided_at", "timestamp", "time", "date", "slot", "created_at", "known_at",
        "market", "kind", "decision", "feature_set", "vector_source", "target_return", "profit",
        "rug", "label_end", "shadow_return", "shadow_end", "shadow_reason", "realised_return",
        "realised_end", "realised_reason",
    }
)  # fmt: skip
SAME_ORDER = 0.999
# Less, as missing values leave the codes of the other rows a little uncentred.
SAME_CODE = 0.99
FEWEST_ROWS = 50
# A step function of time with as few values as this is a cyclic clock that has not come round yet,
# or a state that changed some times.
FEWEST_STEPS = 5
CYCLIC_VALUES = 24
CYCLE = 14 * DAY
FEWEST_GROUPS = 20
ALMOST_ALL = 0.98


def identity_features(frame: pd.DataFrame) -> Guard:
    """Features that are identity or wall clock, by name or by what is in the data.

    Returns:
        The guard; a reason says when there are too few rows to judge the data.

    Raises:
        BadConfig: an index value is not a UUID, or the rows are not sorted by decided_at.
    """
    names = features_of(frame)
    found: dict[str, str] = {
        name: "an identity, key or result column" for name in names if name in IDENTITY_COLUMNS
    }
    reasons: list[str] = []
    if len(frame) < FEWEST_ROWS:
        reasons.append(f"{len(frame)} rows, {FEWEST_ROWS} needed to judge the data: not judged")
    else:
        values = matrix(frame, names)
        ranked = ranks(values)
        for why, columns in (
            ("a clock that runs on", _runs_on(values, ranked, decided(frame))),
            ("constant by token, a value for each", _by_group(values, frame["instrument"])),
            ("constant by session, a value for each", _by_group(values, frame["session_id"])),
            ("a code of the row's UUID", _row_code(ranked, frame.index)),
        ):
            for i in np.flatnonzero(columns):
                found.setdefault(names[i], why)
    reasons = [f"{name}: {why}" for name, why in sorted(found.items())] + reasons
    return Guard("identity_features", not found, reasons, {"features": found}, sorted(found))


def _runs_on(values: Floats, ranked: Floats, at: Ints) -> Flags:
    """Columns in the order of time over all tokens, or steps of it."""
    found = np.zeros(values.shape[1], np.bool_)
    row = np.arange(len(at), dtype=np.float64)
    orders = np.column_stack([ranks(at[:, None].astype(np.float64))[:, 0], row])
    for i in range(values.shape[1]):
        known = ~np.isnan(ranked[:, i])
        column = values[known, i]
        if len(column) < FEWEST_ROWS:
            continue
        x = centred(ranked[known, i : i + 1])
        same = np.abs((x * centred(orders[known])).mean(axis=0)).max()
        moves = np.diff(column)
        if same < SAME_ORDER and not (moves >= 0).all() and not (moves <= 0).all():
            continue
        kinds = len(np.unique(column))
        cyclic = kinds <= CYCLIC_VALUES and np.ptp(at[known]) < CYCLE
        found[i] = kinds >= FEWEST_STEPS and not cyclic
    return found


def _by_group(values: Floats, keys: pd.Series[Any]) -> Flags:
    """Columns with one value in each group of rows, and another in each group."""
    group = keys.factorize()[0]
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    rows = values[order]
    low, high = np.fmin.reduceat(rows, starts), np.fmax.reduceat(rows, starts)
    count = np.add.reduceat(~np.isnan(rows), starts, axis=0, dtype=np.int64)
    several = (count >= 2).sum(axis=0)
    constant = ((low == high) & (count >= 2)).sum(axis=0)
    found = (several >= FEWEST_GROUPS) & (constant >= ALMOST_ALL * several)
    for i in np.flatnonzero(found):
        known = low[count[:, i] > 0, i]
        found[i] = len(np.unique(known)) >= ALMOST_ALL * len(known)
    return np.asarray(found)


def _row_code(ranked: Floats, index: pd.Index) -> Flags:
    """Columns of ranks that are some of the UUID's bytes, read either way, or one of its bits."""
    try:
        raw = b"".join(UUID(str(uuid)).bytes for uuid in index)
    except ValueError as error:
        raise BadConfig(f"index: {error}; the trade frame is indexed by uuid") from error
    octets = np.frombuffer(raw, np.uint8).reshape(len(index), 16)
    bits = np.unpackbits(octets, axis=1).astype(np.float64)
    read, weights = octets.astype(np.float64), 256.0 ** -np.arange(16)
    # Bytes from each position on, read forwards and backwards: a prefix of them keeps the order.
    forwards = [read[:, i:] @ weights[: 16 - i] for i in range(16)]
    backwards = [read[:, i::-1] @ weights[: i + 1] for i in range(16)]
    codes = np.hstack([ranks(np.column_stack([*forwards, *backwards])), bits])
    count = (~np.isnan(ranked)).sum(axis=0)
    same = np.abs(centred(ranked).T @ centred(codes)).max(axis=1) / np.maximum(count, 1)
    return np.asarray((same >= SAME_CODE) & (count >= FEWEST_ROWS))
