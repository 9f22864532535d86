"""The probability that a token is a rug pull, learnt from labelled tokens and calibrated.

Several gradient-boosted tree models that differ in their seed; the mean of their margins is turned
into a probability by Platt's logistic curve (Platt 1999, with his smoothed targets), fitted to
margins of rows that the models had not seen.  The curve has two parameters, never falls, and so
keeps the order of the margins even where few rugs are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.errors import BadConfig, first_problem
from trade_pipeline.core.features.calibration import Bools, fit_platt, platt_probability
from trade_pipeline.core.features.rug_metrics import best_threshold
from trade_pipeline.core.features.trees import read_trees
from trade_pipeline.core.market.event import Floats

if TYPE_CHECKING:
    import pandas as pd
    import xgboost as xgb

FORMAT = "rug-classifier-1"
# (rows to learn from, rows to predict): what the splitters of scikit-learn and purgedcv give.
Fold = tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.integer[Any]]]


@dataclass(frozen=True, slots=True)
class RugSettings:
    """How the trees grow; the defaults are strongly regularised, for a thousand rows and noise.

    Attributes:
        seeds: the models that are averaged differ by these only.
        rising, falling: features whose greater value never lowers, or never raises, the risk.
        threads: changes the speed, and may change the last bits of a model.
    """

    rounds: int = 400
    depth: int = 4
    learning_rate: float = 0.03
    min_child_weight: float = 4.0
    l2: float = 10.0
    row_share: float = 0.6
    column_share: float = 0.2
    seeds: tuple[int, ...] = (0, 1, 2)
    rising: tuple[str, ...] = ()
    falling: tuple[str, ...] = ()
    threads: int = 1


@dataclass(frozen=True, slots=True)
class RugClassifier:
    """A fitted classifier.

    Attributes:
        names: the features, in the order in which the models know them.
        threshold: the probability from which on calling a token a rug agreed best with the truth
            (Matthews correlation) out of fold.
        slope, offset: of the curve, in the models' margin (log odds).
    """

    names: tuple[str, ...]
    threshold: float
    slope: float
    offset: float
    settings: RugSettings
    _models: tuple[xgb.Booster, ...]

    @classmethod
    def fit(
        cls,
        features: pd.DataFrame,
        rug: Bools,
        *,
        folds: Sequence[Fold],
        weight: Floats | None = None,
        settings: RugSettings | None = None,
    ) -> RugClassifier:
        """Learn from labelled tokens.

        Args:
            features: one row a token, numbers; NaN is missing and stays so.
            rug: whether the token is known to be a rug.
            folds: time-ordered or grouped, so that no row is predicted by its own twin; the curve
                and the threshold come from the rows that they predict.
            weight: of the rows; all alike if not given.

        Raises:
            BadConfig: a column is no finite number, a length differs, a fold or the whole does not
                hold both rugs and others, or ``rising`` or ``falling`` names no feature.
        """
        settings = settings or RugSettings()
        names = tuple(str(name) for name in features.columns)
        if unknown := sorted({*settings.rising, *settings.falling} - set(names)):
            raise BadConfig(f"rising, falling: {unknown} are not among the features")
        values = _matrix(features, names)
        weights = np.ones(len(values)) if weight is None else np.asarray(weight, np.float64)
        for name, given in (("rug", rug), ("weight", weights)):
            if len(given) != len(values):
                raise BadConfig(f"{name}: {len(given)} values for {len(values)} rows of features")
        _check_classes("rug", rug)
        if not folds:
            raise BadConfig("folds: none given; the calibration needs rows predicted out of fold")
        margins, rows = [], []
        for number, (learn, predict) in enumerate(folds):
            _check_classes(f"folds[{number}]", rug[learn])
            models = _train(values[learn], rug[learn], weights[learn], names, settings)
            margins.append(_margin(models, values[predict], names))
            rows.append(predict)
        margin, row = np.concatenate(margins), np.concatenate(rows)
        _check_classes("the predicted rows of folds", rug[row])
        slope, offset = fit_platt(margin, rug[row], weights[row])
        probability = platt_probability(margin, slope, offset)
        return cls(
            names=names,
            threshold=best_threshold(rug[row], probability, weights[row]),
            slope=slope,
            offset=offset,
            settings=settings,
            _models=_train(values, rug, weights, names, settings),
        )

    def probability(self, features: pd.DataFrame) -> Floats:
        """The calibrated probability of a rug by row, 0..1; a row's does not depend on the others.

        Columns are found by name; further ones are ignored.

        Raises:
            BadConfig: a feature is missing or no finite number.
        """
        margin = _margin(self._models, _matrix(features, self.names), self.names)
        return platt_probability(margin, self.slope, self.offset)

    def to_bytes(self) -> bytes:
        """One JSON document, the models in xgboost's own open form; the same inputs on the same
        library give the same bytes."""
        models = [orjson.loads(bytes(model.save_raw("json"))) for model in self._models]
        return canonical_bytes(
            {
                "format": FORMAT,
                "names": list(self.names),
                "threshold": self.threshold,
                "slope": self.slope,
                "offset": self.offset,
                "settings": asdict(self.settings),
                "models": models,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> RugClassifier:
        """Read what `to_bytes` wrote; nothing in it is executed.

        Raises:
            BadConfig: it is no such document.
        """
        try:
            content = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise BadConfig(f"rug classifier: not JSON: {error}") from error
        return cls.from_document(content)

    @classmethod
    def from_document(cls, document: object) -> RugClassifier:
        """Read what `to_bytes` wrote as plain data.

        Raises:
            BadConfig: it is no such document.
        """
        try:
            content = _File.model_validate(document)
        except ValidationError as error:
            raise BadConfig(
                f"rug classifier: incomplete or damaged: {first_problem(error)}"
            ) from None
        return cls(
            names=tuple(content.names),
            threshold=content.threshold,
            slope=content.slope,
            offset=content.offset,
            settings=content.settings.read(),
            _models=tuple(
                read_trees(model, content.names, f"rug classifier: model {n}", "binary:logistic")
                for n, model in enumerate(content.models)
            ),
        )


class _Settings(BaseModel):
    """`RugSettings` in a file."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    rounds: int
    depth: int
    learning_rate: float
    min_child_weight: float
    l2: float
    row_share: float
    column_share: float
    seeds: list[int]
    rising: list[str]
    falling: list[str]
    threads: Annotated[int, Field(ge=0, le=1024)]

    def read(self) -> RugSettings:
        return RugSettings(
            **{name: tuple(v) if isinstance(v, list) else v for name, v in self}  # type: ignore[arg-type]
        )


class _File(BaseModel):
    """What `to_bytes` wrote; the models are checked by `read_trees`."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    format: Literal["rug-classifier-1"]
    names: Annotated[list[str], Field(min_length=1)]
    threshold: float
    slope: float
    offset: float
    settings: _Settings
    models: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=100)]


def _matrix(features: pd.DataFrame, names: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """The columns in order, as the models see them."""
    if missing := [name for name in names if name not in features.columns]:
        raise BadConfig(f"features: missing {missing}")
    if words := [name for name in names if features[name].dtype.kind not in "fiub"]:
        raise BadConfig(f"features: {words} are not numbers")
    wide = features[list(names)].to_numpy(np.float64)
    with np.errstate(over="ignore"):
        values = wide.astype(np.float32)
    if infinite := [names[i] for i in np.flatnonzero(np.isinf(values).any(axis=0)).tolist()]:
        raise BadConfig(f"features: {infinite} hold infinite values, or larger ones than 3.4e38")
    return values


def _check_classes(name: str, rug: Bools) -> None:
    rugs = int(np.count_nonzero(rug))
    if not 0 < rugs < len(rug):
        raise BadConfig(f"{name}: {rugs} rugs among {len(rug)} rows; both kinds are needed")


def _train(
    values: npt.NDArray[np.float32],
    rug: Bools,
    weight: Floats,
    names: tuple[str, ...],
    settings: RugSettings,
) -> tuple[xgb.Booster, ...]:
    import xgboost as xgb

    matrix = xgb.DMatrix(
        values, rug, weight=weight, feature_names=list(names), nthread=settings.threads
    )
    parameters = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "nthread": settings.threads,
        "max_depth": settings.depth,
        "learning_rate": settings.learning_rate,
        "min_child_weight": settings.min_child_weight,
        "reg_lambda": settings.l2,
        "subsample": settings.row_share,
        "colsample_bytree": settings.column_share,
        "monotone_constraints": tuple(
            (name in settings.rising) - (name in settings.falling) for name in names
        ),
    }
    return tuple(
        xgb.train({**parameters, "seed": seed}, matrix, settings.rounds) for seed in settings.seeds
    )


def _margin(
    models: Sequence[xgb.Booster], values: npt.NDArray[np.float32], names: tuple[str, ...]
) -> Floats:
    """Mean log odds of the models, added in their order: numpy may sum a single row's otherwise."""
    import xgboost as xgb

    matrix = xgb.DMatrix(values, feature_names=list(names), nthread=1)
    total = np.zeros(len(values))
    for model in models:
        total += model.predict(matrix, output_margin=True)
    return total / len(models)
