"""The leak guards on a stored dataset, and their verdicts as records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import psycopg

from trade_pipeline.core.dataset.dataset import data_hash, fit_preparation
from trade_pipeline.core.dataset.decisions import Decisions, read_decisions
from trade_pipeline.core.dataset.feature_table import feature_vectors
from trade_pipeline.core.dataset.leaks.guard import Guard
from trade_pipeline.core.dataset.leaks.suite import Prepared, Splits, run_guards
from trade_pipeline.core.dataset.membership import read_dataset
from trade_pipeline.core.dataset.rows import read_rows
from trade_pipeline.core.dataset.truncation import truncated_vectors
from trade_pipeline.core.features.preparation import Preparation
from trade_pipeline.core.features.registry import FEATURES, NAMES, SOURCE_DELAYS
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.session.backtest import rug_risk_of
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.stored import market_of, read_session, settings_of
from trade_pipeline.core.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from trade_pipeline.core.features.rug_risk import RugRisk

# The guards that need the market that the sessions ran on, and those that do not.
MARKET_GUARDS = ("compare_vectors", "delay_sensitive_features")
FRAME_GUARDS = (
    "separating_features", "identity_features", "overlapping_intervals", "preparation_guard",
    "stored_values",
)  # fmt: skip
GUARDS = (*MARKET_GUARDS, *FRAME_GUARDS)


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """What one guard said of a dataset."""

    TABLE: ClassVar[str] = "dataset_guards"
    KEY: ClassVar[tuple[str, ...]] = ("dataset_version", "evaluation", "guard")
    COLUMNS: ClassVar[tuple[str, ...]] = ("dataset_version", "evaluation", "guard", "passed")

    dataset_version: str
    evaluation: int
    guard: str
    passed: bool
    reasons: Sequence[str]
    numbers: Mapping[str, Any]
    culprits: Sequence[str]

    def row(self) -> tuple[Any, ...]:
        return (self.dataset_version, self.evaluation, self.guard, self.passed)


def guard_dataset(
    store: Store, dataset: str, feeds: Iterable[MarketFeed] = ()
) -> tuple[str, list[Guard]]:
    """Ask every guard about a stored dataset, and store the verdicts.

    Args:
        dataset: its version or its short name.
        feeds: the markets that its sessions ran on; without the one of some session
            `MARKET_GUARDS` fail, for what was not looked at is not proved.

    Returns:
        The dataset's version, and the verdicts in the order of `GUARDS`.

    Raises:
        BadConfig: no such dataset.
    """
    with store.database.connect() as connection:
        stored = read_rows(connection, dataset)
        record, config, rows = stored.record, stored.config, stored.rows
        version = record.dataset_version
        train = stored.split("train")
        known = _by_market(connection, store, record.session_ids, list(feeds), rows)
        preparation = Preparation.from_dict(record.preparation)
        found = run_guards(
            rows,
            shifted=None if known is None else known.shifted,
            splits=Splits(
                train, rows[rows["split"] != "train"], timedelta(hours=config.embargo_hours)
            ),
            prepared=Prepared(
                preparation.to_dict(),
                train,
                lambda frame: fit_preparation(
                    frame, frame.attrs["features"], config.max_features
                ).to_dict(),
            ),
        )
        guards = {guard.name: guard for guard in found}
        guards["stored_values"] = _stored_values(record.data_hash, rows)
        if known is None:
            reason = ["the market of some session was not given: not judged"]
            guards |= {name: Guard(name, False, reason) for name in MARKET_GUARDS}
        else:
            guards["compare_vectors"] = known.truncation
            guards["separating_features"] = _judged(guards["separating_features"], known)
        verdicts = [guards[name] for name in GUARDS]
        _record(connection, version, verdicts)
    return version, verdicts


def markets_of(
    store: Store, dataset: str, data: Path | None, mentions: Path | None = None
) -> list[MarketFeed]:
    """The markets that a dataset's sessions ran on: simulated anew, or the recording in a folder.

    Sessions on a recording that is not in the folder get none.

    Raises:
        BadConfig, BadMarketData: the folder holds no recording of the kind.
    """
    found: dict[str, MarketFeed] = {}
    with store.database.connect("trade_reader") as connection:
        for session_id in read_dataset(connection, dataset).session_ids:
            session = read_session(connection, session_id)
            if session.market_address in found or (session.market != "simulated" and data is None):
                continue
            feed = market_of(session, settings_of(store.artifacts, session), data, mentions)
            found[feed.content_address()] = feed
    return list(found.values())


def newest_verdicts(connection: psycopg.Connection, version: str) -> dict[str, bool]:
    """The newest evaluation of a dataset: which guard passed.  Empty where none was made."""
    rows = connection.execute(
        "SELECT guard, passed FROM trade.dataset_guards WHERE dataset_version = %(version)s "
        "AND evaluation = (SELECT max(evaluation) FROM trade.dataset_guards "
        "WHERE dataset_version = %(version)s)",
        {"version": version},
    )
    return {str(guard): bool(passed) for guard, passed in rows}


@dataclass(frozen=True, slots=True)
class _MarketAnswers:
    """What the markets say of a dataset's vectors.

    Attributes:
        proved: features with values that a market that ends at the decision gives as well.
    """

    shifted: pd.DataFrame
    truncation: Guard
    proved: frozenset[str]


def _by_market(
    connection: psycopg.Connection,
    store: Store,
    session_ids: Sequence[str],
    feeds: list[MarketFeed],
    rows: pd.DataFrame,
) -> _MarketAnswers | None:
    import pandas as pd

    from trade_pipeline.core.dataset.leaks.parity import compare_vectors

    by_address = {feed.content_address(): feed for feed in feeds}
    shifted, truncated = [], []
    for session_id in session_ids:
        session = read_session(connection, session_id)
        feed = by_address.get(session.market_address or "")
        if feed is None:
            return None
        settings = settings_of(store.artifacts, session)
        rug_risk = rug_risk_of(store.artifacts, settings)
        decisions = _only(read_decisions(connection, session_id), set(rows.index))
        names = [str(uuid) for uuid in decisions.uuid]
        late = delayed_vectors(feed, settings, decisions, rug_risk)
        shifted.append(pd.DataFrame(late, index=names, columns=list(NAMES)))
        cut, vectors = truncated_vectors(feed, settings, decisions, rug_risk=rug_risk)
        truncated.append(pd.DataFrame(vectors, index=[names[n] for n in cut], columns=list(NAMES)))
    recomputed = pd.concat(truncated)
    stored = rows.loc[rows.index.isin(recomputed.index)]
    stored.attrs["features"] = rows.attrs["features"]
    recomputed = recomputed.loc[stored.index]
    truncation = compare_vectors(stored, recomputed)
    known = recomputed.columns[recomputed.notna().any()]
    return _MarketAnswers(
        shifted=pd.concat(shifted).loc[rows.index],
        truncation=truncation,
        proved=frozenset(known) - set(truncation.culprits),
    )


def _judged(separating: Guard, known: _MarketAnswers) -> Guard:
    """The guard, without the features that a market that ends at the decision gives as well.

    What separates a label and was known beforehand is no leak: on real pools a day without sales
    tells nearly every rug.
    """
    proved = [name for name in separating.culprits if name in known.proved]
    if not proved:
        return separating
    told = (
        f"{', '.join(proved)}: separate a label, and are the same from a market that ends at the "
        "decision: known beforehand, no leak"
    )
    left = [name for name in separating.culprits if name not in known.proved]
    return replace(separating, passed=not left, reasons=[told, *separating.reasons], culprits=left)


def delayed_vectors(
    feed: MarketFeed, config: TradingConfig, decisions: Decisions, rug_risk: RugRisk | None
) -> Floats:
    """The vectors as they would be if each source were known later by its recording delay."""
    found = np.full((len(decisions), len(NAMES)), np.nan)
    for delay in sorted(set(SOURCE_DELAYS.values())):
        vectors, _ = feature_vectors(
            feed,
            config,
            decisions.instrument,
            decisions.at - delay,
            own=decisions.own,
            rug_risk=rug_risk,
        )
        columns = [n for n, f in enumerate(FEATURES) if SOURCE_DELAYS[f.source] == delay]
        found[:, columns] = vectors[:, columns]
    return found


def _only(decisions: Decisions, uuids: set[str]) -> Decisions:
    rows = [n for n, uuid in enumerate(decisions.uuid) if str(uuid) in uuids]
    return Decisions(
        [decisions.uuid[n] for n in rows],
        [decisions.instrument[n] for n in rows],
        decisions.at[rows],
        {name: values[rows] for name, values in decisions.own.items()},
    )


def _stored_values(expected: str, rows: pd.DataFrame) -> Guard:
    """Whether values and labels are those that the dataset's version covers."""
    same = data_hash(rows, rows.attrs["features"]) == expected
    reason = [] if same else ["values or labels are not those that the version covers"]
    return Guard("stored_values", same, reason, {"rows": len(rows)})


def _record(connection: psycopg.Connection, version: str, guards: Sequence[Guard]) -> None:
    row = connection.execute(
        "SELECT coalesce(max(evaluation), -1) + 1 FROM trade.dataset_guards "
        "WHERE dataset_version = %s",
        (version,),
    ).fetchone()
    assert row is not None
    append_bulk(
        connection,
        f"guards:{version}",
        [
            GuardVerdict(
                version, row[0], one.name, one.passed, one.reasons, one.numbers, one.culprits
            )
            for one in guards
        ],
    )
