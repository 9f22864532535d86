"""The newest feature vector of each token, from the cache or else from the database.

The cache is a Valkey or Redis; a value in it is the 8 bytes of ``known_at``, then the vector's
doubles, both little-endian, then the first 8 hex digits of the SHA-1 of all that.  A value that
does not fit this is none.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import orjson

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import micros, moment_of, uuid7_floor
from trade_pipeline.core.market.event import Floats, Ints
from trade_pipeline.core.store.database import Database, loss_reported

if TYPE_CHECKING:
    import redis

Source = Literal["cache", "database"]
NEVER = int(np.iinfo(np.int64).min)
"""``known_at`` of what was not found."""

_DIGITS = 8
# A server by URL may have no bound of its own; no token's state is of use after two days.
_EXPIRE_SECONDS = 2 * 24 * 3600

# An intact newer value stays; numbers in Lua are doubles, exact for microseconds until 2255.
_PUT = f"""
local function known_at(value)
    local size = #value - {_DIGITS}
    if size >= 8 and redis.sha1hex(value:sub(1, size)):sub(1, {_DIGITS}) == value:sub(size + 1) then
        return (struct.unpack('<i8', value))
    end
end
for i, key in ipairs(KEYS) do
    local stored = redis.call('GET', key)
    local before = stored and known_at(stored)
    if not before or known_at(ARGV[i]) >= before then
        redis.call('SET', key, ARGV[i], 'EX', {_EXPIRE_SECONDS})
    end
end
"""

_NEWEST = """
SELECT DISTINCT ON (c.instrument) c.instrument, f.known_at, f.content
FROM trade.candidates c
JOIN trade.feature_rows f ON f.uuid = c.uuid AND f.feature_set = %(feature_set)s
JOIN trade.sessions s ON s.session_id = c.session_id
WHERE s.market = %(market)s AND c.instrument = ANY(%(instruments)s)
  AND c.uuid >= %(first)s AND c.uuid < %(end)s AND f.uuid >= %(first)s AND f.uuid < %(end)s
  AND c.decided_at <= %(at)s AND f.known_at BETWEEN %(since)s AND %(at)s
ORDER BY c.instrument, f.known_at DESC, c.uuid DESC
"""

_logger = logging.getLogger("trade_pipeline.features")


@dataclass(frozen=True, slots=True)
class HotRead:
    """What the cache holds of some tokens, a row each.

    Attributes:
        known_at: microseconds since 1970-01-01 UTC; NEVER where nothing was found.
        vectors: the features; NaN where nothing was found.
        found: whether an intact value is there.
        damaged: how many values are there that cannot be read.
    """

    known_at: Ints
    vectors: Floats
    found: npt.NDArray[np.bool_]
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """The newest features of some tokens, a row each.

    Attributes:
        vectors: the features; NaN where they are known nowhere.
        known_at: microseconds since 1970-01-01 UTC; NEVER where they are known nowhere.
        source: where each row is from; None where it is known nowhere.
        notes: for people, why not all is from the cache.
    """

    vectors: Floats
    known_at: Ints
    source: list[Source | None]
    notes: list[str]


class HotFeatures:
    """The cache's newest vector per market and token, of one feature set.

    Args:
        client: of a Valkey or Redis, with short timeouts; None: there is no cache.
        feature_set: version of the definitions.
        names: of the features, in the order of the vectors.
    """

    def __init__(self, client: redis.Redis | None, feature_set: str, names: Sequence[str]) -> None:
        self.feature_set = feature_set
        self.names = tuple(names)
        self.client = client
        self._value = np.dtype([("known_at", "<i8"), ("vector", "<f8", (len(self.names),))])
        self._state = "used"

    def put(self, market: str, instruments: Sequence[str], known_at: Ints, vectors: Floats) -> bool:
        """Store vectors, in one round trip; one that is older than the stored one changes nothing.

        Args:
            known_at: microseconds since 1970-01-01 UTC, by row.
            vectors: (instruments, names).

        Returns:
            Whether the cache took them; a cache that is down is said to the log once.

        Raises:
            BadConfig: the shapes do not fit.
        """
        import redis

        if known_at.shape != (len(instruments),):
            raise BadConfig(f"known_at: shape {known_at.shape}: expected ({len(instruments)},)")
        if vectors.shape != (len(instruments), len(self.names)):
            raise BadConfig(
                f"vectors: shape {vectors.shape}: expected ({len(instruments)}, {len(self.names)})"
            )
        if self.client is None or not instruments:
            return self.client is not None
        rows = np.empty(len(instruments), self._value)
        rows["known_at"], rows["vector"] = known_at, vectors
        values = [body + _checksum(body) for body in (row.tobytes() for row in rows)]
        keys = self._keys(market, instruments)
        try:
            self.client.eval(_PUT, len(keys), *keys, *values)
        except redis.RedisError as error:
            self.report("unavailable", f"cache unavailable: {error}")
            return False
        if self._state == "unavailable":
            self.report("used", "the cache is in use again")
        return True

    def get(self, market: str, instruments: Sequence[str]) -> HotRead:
        """Read vectors, in one round trip.

        Raises:
            redis.RedisError: the cache does not answer as one.
        """
        read = self.nothing(len(instruments))
        if self.client is None or not instruments:
            return read
        values: Any = self.client.mget(self._keys(market, instruments))
        size = self._value.itemsize
        bodies, damaged = [], 0
        for row, value in enumerate(values):
            if value is None:
                continue
            if len(value) == size + _DIGITS and _checksum(value[:size]) == value[size:]:
                read.found[row] = True
                bodies.append(value[:size])
            else:
                damaged += 1
        stored = np.frombuffer(b"".join(bodies), self._value)
        read.known_at[read.found] = stored["known_at"]
        read.vectors[read.found] = stored["vector"]
        return replace(read, damaged=damaged)

    def nothing(self, tokens: int) -> HotRead:
        """What is read where nothing is there."""
        return HotRead(
            np.full(tokens, NEVER),
            np.full((tokens, len(self.names)), np.nan),
            np.zeros(tokens, bool),
        )

    def report(self, state: str, note: str) -> None:
        """Say to the log what has become of the cache, when it is another state than before."""
        if state != self._state:
            self._state = state
            _logger.log(logging.INFO if state == "used" else logging.WARNING, "%s", note)

    def _keys(self, market: str, instruments: Sequence[str]) -> list[str]:
        # No market, set or token has a NUL in its name, so no two of them share a key.
        prefix = f"trade_pipeline\0features\0{market}\0{self.feature_set}\0"
        return [prefix + instrument for instrument in instruments]


def read_features(
    hot: HotFeatures,
    database: Database,
    market: str,
    instruments: Sequence[str],
    at: int,
    max_age: int,
) -> Read:
    """The newest features of some tokens as they could be known at a moment.

    What the cache lacks, holds damaged, from after ``at`` or from before ``at - max_age`` comes
    from the stored feature rows of the market's candidates, in one query.  There an infinity is
    NaN.

    Args:
        market: of the sessions whose candidates count.
        at: the moment, microseconds since 1970-01-01 UTC.
        max_age: how much earlier they may be known, microseconds.

    Raises:
        StoreUnavailable: the database is needed and does not answer.
        BadConfig: the stored rows of this feature set have another number of features.
    """
    import redis

    failure = None
    try:
        read = hot.get(market, instruments)
    except redis.RedisError as error:
        failure = error
        read = hot.nothing(len(instruments))
    known_at, vectors = read.known_at, read.vectors
    stale, later = read.found & (known_at < at - max_age), known_at > at
    wanted = ~read.found | stale | later
    known_at[wanted], vectors[wanted] = NEVER, np.nan
    source: list[Source | None] = [None if row else "cache" for row in wanted.tolist()]
    rows = np.flatnonzero(wanted).tolist()
    if rows:
        names = [instruments[row] for row in rows]
        stored = _newest(database, hot, market, names, at, max_age)
        for row, name in zip(rows, names, strict=True):
            if name in stored:
                known_at[row], vectors[row] = stored[name]
                source[row] = "database"
    missing = len(rows) - int(stale.sum()) - int(later.sum()) - read.damaged
    if failure is not None:
        why = [f"cache unavailable: {failure}"]
    elif hot.client is None:
        why = ["no cache"]
    else:
        counts = {"not in the cache": missing, "stale": stale.sum(), "from later": later.sum()}
        why = [f"{n} {what}" for what, n in (counts | {"damaged": read.damaged}).items() if n]
    notes = []
    if rows:
        total = len(instruments)
        notes.append(
            f"{', '.join(why)}: {source.count('database')} of {total} tokens from PostgreSQL"
        )
        if None in source:
            notes.append(f"{source.count(None)} of {total} tokens are known nowhere")
    behind = read.damaged or (stale & (known_at != NEVER)).any()
    state = "unavailable" if failure else "behind" if behind else "used"
    if instruments:
        hot.report(state, "; ".join(notes) if state != "used" else "the cache is in use again")
    return Read(vectors, known_at, source, notes)


def _newest(
    database: Database,
    hot: HotFeatures,
    market: str,
    instruments: Sequence[str],
    at: int,
    max_age: int,
) -> dict[str, tuple[int, Floats]]:
    """The newest stored vector by instrument, and when it was known."""
    since = moment_of(max(at - max_age, 0))
    given = {
        "feature_set": hot.feature_set,
        "market": market,
        "instruments": list(instruments),
        "since": since,
        "at": moment_of(at),
        # A UUID's time is the decision's, in milliseconds, and nothing is known after that.
        "first": uuid7_floor(since),
        "end": uuid7_floor(moment_of(at + 1000)),
    }
    with loss_reported(), database.connect("trade_reader", autocommit=True) as connection:
        found = connection.execute(_NEWEST, given).fetchall()
    newest: dict[str, tuple[int, Floats]] = {}
    for instrument, known_at, content in found:
        vector = np.array(orjson.loads(content)["vector"], np.float64)
        if len(vector) != len(hot.names):
            raise BadConfig(
                f"names: {len(hot.names)} features: the rows of feature_set={hot.feature_set!r} "
                f"have {len(vector)}"
            )
        newest[instrument] = micros(known_at), vector
    return newest


def _checksum(body: bytes) -> bytes:
    return hashlib.sha1(body).hexdigest()[:_DIGITS].encode()
