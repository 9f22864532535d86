"""From raw features to what a model is given: selected, complete, on one scale.

Everything is fitted on training rows alone.  The fitted state is plain numbers, so that it is kept
as JSON beside a dataset or a model, and needs no scikit-learn to be applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trade_pipeline.core.errors import BadConfig, first_problem, shown
from trade_pipeline.core.market.event import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd

MISSING_SUFFIX = "_missing"


def selection_scores(frame: pd.DataFrame, features: Sequence[str], target: Floats) -> Floats:
    """How far each feature's rank correlation with the target lies from zero, in standard errors.

    |Spearman's rho| * sqrt(n - 1) over the n rows in which the feature is known: without any
    relation rho has the mean 0 and the variance 1 / (n - 1) (Hotelling and Pabst 1936), so features
    with missing values are compared fairly, and the order is that of the p-values.  The sums are in
    whole numbers, so neither their order nor the machine matters.  NaN for a feature with fewer
    than two distinct known values, or a target that is constant beside them.
    """
    ranks = _ranks(target)
    return np.array(
        [_score(frame[name].to_numpy(np.float64), target, ranks) for name in features], np.float64
    )


def select_features(features: Sequence[str], scores: Floats, k: int) -> dict[str, float]:
    """The k features with the highest `selection_scores`, with these, in the given order.

    Of features with equal scores the first stay.  Fewer come back where fewer can be judged.
    """
    judged = np.flatnonzero(~np.isnan(scores))
    best = judged[np.argsort(-scores[judged], kind="stable")][:k]
    return {features[index]: float(scores[index]) for index in sorted(best.tolist())}


@dataclass(frozen=True, slots=True)
class Preparation:
    """A fitted preparation.

    Attributes:
        features: the selected ones, in the order of the feature set.
        scores: of each, by which it was selected (`selection_scores`).
        medians: of each in the training rows, for rows that do not have it.
        indicators: those of them that training rows lacked; each gets a column that says where.
        means, scales: of `columns` in the training rows, after filling in.
    """

    features: tuple[str, ...]
    scores: tuple[float, ...]
    medians: tuple[float, ...]
    indicators: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """What `transform` gives: the features, then the indicators of missing values."""
        return self.features + tuple(name + MISSING_SUFFIX for name in self.indicators)

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, features: Sequence[str], scores: Floats, max_features: int
    ) -> Preparation:
        """Select, and learn medians, means and scales from training rows.

        Features that are constant (or unknown) wherever the rows have them are left out.

        Args:
            frame: training rows only; their order is that of the summation.
            scores: `selection_scores` of the features in these rows.

        Raises:
            BadConfig: no feature is left, or one is too large for its variance to be a number.
        """
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import StandardScaler

        selected = select_features(features, scores, max_features)
        if not selected:
            raise BadConfig(
                f"features: none of {len(features)} varies and can be judged in "
                f"{len(frame)} training rows"
            )
        pipeline = Pipeline(
            [
                ("impute", SimpleImputer(strategy="median", add_indicator=True)),
                ("scale", StandardScaler()),
            ]
        )
        with np.errstate(over="ignore", invalid="ignore"):
            pipeline.fit(_matrix(frame, tuple(selected)))
        imputer, scaler = pipeline["impute"], pipeline["scale"]
        names = tuple(selected)
        fitted = cls(
            features=names,
            scores=tuple(selected.values()),
            medians=tuple(imputer.statistics_.tolist()),
            indicators=tuple(names[index] for index in imputer.indicator_.features_),
            means=tuple(scaler.mean_.tolist()),
            scales=tuple(scaler.scale_.tolist()),
        )
        unusable = ~(np.isfinite(fitted.means) & np.isfinite(fitted.scales))
        if unusable.any():
            raise BadConfig(
                f"feature {fitted.columns[int(unusable.argmax())]!r}: its values are too large "
                "for a finite variance"
            )
        return fitted

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The `columns` of some rows (float64, nothing missing), with the rows' index.

        Raises:
            BadConfig: a feature is not there.
        """
        import pandas as pd

        absent = [name for name in self.features if name not in frame.columns]
        if absent:
            raise BadConfig(f"feature {absent[0]!r}: the preparation needs it, the rows lack it")
        prepared = self.matrix(_matrix(frame, self.features))
        return pd.DataFrame(prepared, index=frame.index, columns=list(self.columns))

    def matrix(self, values: Floats) -> Floats:
        """The `columns` of rows whose values are those of `features`, in order."""
        missing = np.isnan(values)
        filled = np.where(missing, np.array(self.medians), values)
        flags = missing[:, [self.features.index(name) for name in self.indicators]]
        prepared: Floats = (np.hstack((filled, flags)) - np.array(self.means)) / np.array(
            self.scales
        )
        return prepared

    def to_dict(self) -> dict[str, Any]:
        """The state as plain data for JSON, which keeps every bit of the numbers."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Preparation:
        """The preparation of a state that `to_dict` gave.

        Raises:
            BadConfig: it is none.
        """
        try:
            read = _State.model_validate(state)
        except ValidationError as error:
            raise BadConfig(f"preparation: {first_problem(error, 'state')}") from None
        made = cls(**{name: tuple(values) for name, values in read})
        for names in (made.features, made.indicators, made.columns):
            if len(set(names)) < len(names):
                raise BadConfig("preparation: a feature is given twice")
        if unknown := set(made.indicators) - set(made.features):
            raise BadConfig(f"preparation: indicators={shown(min(unknown))}: is no feature")
        for name, expected in (
            ("scores", made.features),
            ("medians", made.features),
            ("means", made.columns),
            ("scales", made.columns),
        ):
            if len(getattr(made, name)) != len(expected):
                raise BadConfig(f"preparation: {name}: expected {len(expected)} numbers")
        return made


class _State(BaseModel):
    """What a stored preparation looks like."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    features: Annotated[list[str], Field(min_length=1)]
    scores: list[float]
    medians: list[float]
    indicators: list[str]
    means: list[float]
    scales: list[Annotated[float, Field(gt=0)]]


def _matrix(frame: pd.DataFrame, features: tuple[str, ...]) -> Floats:
    # By rows: sums down the columns then have one order, whatever the frame's layout is.
    return np.ascontiguousarray(frame[list(features)].to_numpy(np.float64))


def _score(values: Floats, target: Floats, targets: Ints) -> float:
    known = ~np.isnan(values)
    n = int(known.sum())
    ranks = _ranks(values[known])
    # Ranks among all rows serve every feature that all rows have.
    beside = targets if n == len(values) else _ranks(target[known])
    spread = float((ranks * ranks).sum()) * float((beside * beside).sum())
    if spread == 0:
        return float("nan")
    return abs(float((ranks * beside).sum())) / float(np.sqrt(spread)) * float(np.sqrt(n - 1))


def _ranks(values: Floats) -> Ints:
    """Twice the distance of each rank from the mean rank: ranks are whole or half."""
    from scipy.stats import rankdata

    doubled: Ints = (2 * rankdata(values)).astype(np.int64) - (len(values) + 1)
    return doubled
