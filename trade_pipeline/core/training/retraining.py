"""When a new model should be trained: enough is new, or decisions are unlike those learned from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import orjson
import psycopg

from trade_pipeline.core.dataset.membership import newest_dataset, read_dataset
from trade_pipeline.core.features.preparation import Preparation
from trade_pipeline.core.features.registry import NAMES, feature_set
from trade_pipeline.core.features.vector import matrix_of

MIN_NEW_OUTCOMES = 1_000
# Newest decisions whose features are compared with the training rows, and at least as many.
_RECENT, _MIN_RECENT = 1_000, 200
# A feature has moved when its mean has, by this many standard deviations of the training rows;
# a market has when this share of the selected features has.
_SHIFT, _SHARE = 1.0, 0.25


@dataclass(frozen=True, slots=True)
class RetrainingNeed:
    """What speaks for a new model since a dataset was made.

    Attributes:
        dataset: version of the newest dataset.
        new_outcomes: shadow and realised outcomes that were stored after it; trades of older bots
            tell nothing new of this one's features.
        moved: features whose mean has moved; empty where too few decisions are new.
        features: that were looked at.
    """

    dataset: str
    new_outcomes: int
    moved: tuple[str, ...]
    features: int

    @property
    def reason(self) -> str | None:
        """Why to train now; None: there is no reason."""
        if self.new_outcomes >= MIN_NEW_OUTCOMES:
            return f"{self.new_outcomes} outcomes since the dataset"
        if self.features and len(self.moved) >= _SHARE * self.features:
            return f"{len(self.moved)} of {self.features} features moved: {', '.join(self.moved)}"
        return None


def retraining_need(connection: psycopg.Connection) -> RetrainingNeed:
    """What is new since the newest dataset.

    Raises:
        BadConfig: no dataset is stored.
    """
    version = newest_dataset(connection)
    record = read_dataset(connection, version)
    row = connection.execute(
        "SELECT count(*) FROM trade.outcomes o WHERE o.recorded_at > "
        "(SELECT recorded_at FROM trade.datasets WHERE dataset_version = %s) "
        "AND o.chain_id NOT IN (SELECT session_id FROM trade.sessions WHERE mode = 'imported')",
        (version,),
    ).fetchone()
    assert row is not None
    vectors = [
        orjson.loads(content)["vector"]
        for (content,) in connection.execute(
            "SELECT f.content FROM trade.feature_rows f JOIN trade.candidates c USING (uuid) "
            "JOIN trade.sessions s USING (session_id) "
            "WHERE s.market = %s AND f.feature_set = %s AND c.uuid >= trade.uuid7_floor(%s) "
            "ORDER BY c.uuid DESC LIMIT %s",
            (record.market, record.feature_set, record.bounds["test"]["label_end"], _RECENT),
        )
    ]
    if record.feature_set != feature_set():
        # Their features are not the present ones: a dataset of these has to be built first.
        vectors = []
    preparation = Preparation.from_dict(record.preparation)
    moved = _moved(preparation, vectors) if len(vectors) >= _MIN_RECENT else ()
    return RetrainingNeed(
        dataset=version,
        new_outcomes=int(row[0]),
        moved=moved,
        features=len(preparation.features) if len(vectors) >= _MIN_RECENT else 0,
    )


def _moved(preparation: Preparation, vectors: list[list[float | None]]) -> tuple[str, ...]:
    values = matrix_of(vectors)[:, [NAMES.index(name) for name in preparation.features]]
    shift = preparation.matrix(values)[:, : len(preparation.features)].mean(axis=0)
    moved = np.flatnonzero(np.abs(shift) > _SHIFT)
    return tuple(preparation.features[index] for index in moved.tolist())
