"""How well rugs are told from other tokens, beside a plain gradient boosting: one command.

    python benchmarks/rug.py --data DIR

DIR is a folder of recordings with ``rug_benchmarks`` and ``uniswap_v2``.  Every figure is of tokens
that the model did not learn from; thresholds and calibrations come from the training rows alone.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

# One core for every model, before any of them is loaded: seconds that can be compared.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import numpy.typing as npt
import pandas as pd
from report.record import computed
from rug_early import (
    SETTINGS,
    Horizon,
    known_by,
    read_horizons,
    recency,
    time_folds,
)
from rug_tables import read_kang, read_tm
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold
from xgboost import XGBClassifier

from trade_pipeline.core.features.rug_classifier import Fold, RugClassifier, RugSettings
from trade_pipeline.core.features.rug_metrics import auc_gain, best_threshold, rug_metrics
from trade_pipeline.core.market.event import DAY, Floats

Bools = npt.NDArray[np.bool_]

# What is aimed at: AUC by horizon; F1 of the safe class and Matthews correlation; AUC.
EARLY_TARGETS = {1: "AUC .88", 6: "AUC .92", 24: "AUC .89"}
KANG_TARGET, TM_TARGET = "F1 .896 MCC .884", "AUC .970"
# Plain enough data and many rows: the trees may grow as they like.
KANG_SETTINGS = RugSettings(
    rounds=300, depth=6, learning_rate=0.1, min_child_weight=1.0, l2=1.0,
    row_share=1.0, column_share=1.0, seeds=(0,),
)  # fmt: skip
TM_SETTINGS = RugSettings(min_child_weight=2.0, l2=3.0, row_share=0.7, column_share=0.3)
DAILY_SETTINGS = replace(SETTINGS, seeds=(0,))


@dataclass(frozen=True)
class Predicted:
    """Probabilities of test tokens, and the threshold of each."""

    probability: Floats
    threshold: Floats
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of recordings")
    data = parser.parse_args().data
    began = time.perf_counter()
    print(
        f"{'data':9} {'model':40} {'AUC':>5} {'gain over plain':>18} {'prec':>5} {'recall':>6} "
        f"{'F1safe':>6} {'MCC':>5} {'Brier':>5} {'ECE':>5} {'s':>4}  target"
    )
    horizons = read_horizons(data)
    print(f"(features of {sum(len(h.rug) for h in horizons)} rows computed from the tape in "
          f"{time.perf_counter() - began:.1f} s)")  # fmt: skip
    for horizon in horizons:
        early(horizon)
    given, ours, rug = read_kang(data)
    plain = cross_predicted(given, rug, boosted)
    show("kang", "plain boosting, given columns", rug, plain)
    found = cross_predicted(ours, rug, lambda x, y: classifier(x, y, KANG_SETTINGS))
    show("kang", "classifier", rug, found, plain, KANG_TARGET)
    told = rug_metrics(rug, found.probability, found.threshold)
    computed("rugs.kang_f1", told.safe_f1, size=f"{len(rug):,} pools")
    computed("rugs.kang_mcc", told.mcc, size=f"{len(rug):,} pools")
    given, ours, rug = read_tm(data)
    plain = cross_predicted(given, rug, boosted)
    show("tm", "plain boosting, given columns", rug, plain)
    found = cross_predicted(ours, rug, lambda x, y: classifier(x, y, TM_SETTINGS))
    show("tm", "classifier", rug, found, plain, TM_TARGET, "tm")
    print(f"total {time.perf_counter() - began:.0f} s")


def early(horizon: Horizon) -> None:
    """Train on the oldest pools, test on the others.

    A rug of the training pools that became known only after the test began is (1) dropped, which
    still uses later knowledge: that the pools kept as no rugs stayed alive; or (2) not a rug yet,
    as on the day, with a model a day for the pools judged on it, which knows nothing from later.
    """
    name, train = f"early {horizon.hours}h", horizon.train
    rug, at = horizon.rug, horizon.test_begins
    test = np.arange(len(rug)) >= train
    known = ~test & ~(rug & (horizon.rug_at >= at))
    later = int((~test & ~known).sum())
    print(
        f"{name}: {train} pools to learn from, {later} of them rugs that became known later; "
        f"{int(test.sum())} to test, {rug[test].mean():.0%} rugs"
    )
    for title, rows in (
        ("plain boosting, later rugs known (peeks)", ~test),
        ("plain boosting, later rugs dropped", known),
    ):
        plain = timed(lambda rows=rows: plain_early(horizon, rows, test))
        show(name, title, rug[test], plain)
    dropped = timed(lambda: early_dropped(horizon, known, test))
    show(
        name,
        "classifier, later rugs dropped",
        rug[test],
        dropped,
        plain,
        EARLY_TARGETS[horizon.hours],
        f"early_{horizon.hours}h_dropped",
    )
    daily = timed(lambda: early_daily(horizon, test))
    show(
        name,
        "classifier, as known, learning daily",
        rug[test],
        daily,
        plain,
        EARLY_TARGETS[horizon.hours],
        f"early_{horizon.hours}h_daily",
    )
    for b in rug_metrics(rug[test], daily.probability, 0.5).reliability:
        print(f"    learning daily: probability {b.low:.1f}-{b.high:.1f}: {b.tokens:4} pools, "
              f"mean {b.mean_probability:.2f}, rugs {b.rug_share:.2f}")  # fmt: skip


def plain_early(horizon: Horizon, rows: Bools, test: Bools) -> tuple[Floats, Floats]:
    given, rug = horizon.given, horizon.rug
    learn = given[rows], rug[rows]
    inside = np.full(len(learn[1]), np.nan)
    for fit, out in time_folds(len(inside)):
        inside[out] = boosted_early(learn[0].iloc[fit], learn[1][fit], learn[0].iloc[out])
    threshold = best_threshold(learn[1], inside, np.ones(len(inside)))
    return boosted_early(*learn, given[test]), np.full(int(test.sum()), threshold)


def boosted_early(features: pd.DataFrame, rug: Bools, of: pd.DataFrame) -> Floats:
    model = HistGradientBoostingClassifier(random_state=0).fit(features, rug)
    return model.predict_proba(of)[:, 1]


def early_dropped(horizon: Horizon, known: Bools, test: Bools) -> tuple[Floats, Floats]:
    model = RugClassifier.fit(
        horizon.features[known],
        horizon.rug[known],
        weight=recency(horizon.created_at[known], horizon.test_begins),
        folds=time_folds(int(known.sum())),
        settings=SETTINGS,
    )
    probability = model.probability(horizon.features[test])
    return probability, np.full(len(probability), model.threshold)


def early_daily(horizon: Horizon, test: Bools) -> tuple[Floats, Floats]:
    probability, threshold = np.full(len(test), np.nan), np.full(len(test), np.nan)
    day = horizon.seen_at // DAY
    for begins in np.unique(day[test]).tolist():
        today = test & (day == begins)
        rows, rug, weight = known_by(horizon, max(begins * DAY, horizon.test_begins))
        model = RugClassifier.fit(
            horizon.features.iloc[rows],
            rug,
            weight=weight,
            folds=time_folds(len(rows), 3),
            settings=DAILY_SETTINGS,
        )
        probability[today] = model.probability(horizon.features[today])
        threshold[today] = model.threshold
    return probability[test], threshold[test]


Fitted = Callable[[pd.DataFrame], Floats]


def cross_predicted(
    features: pd.DataFrame,
    rug: Bools,
    fit: Callable[[pd.DataFrame, Bools], tuple[Fitted, float]],
) -> Predicted:
    """Every token predicted by the model of the other four folds."""

    def run() -> tuple[Floats, Floats]:
        probability, threshold = np.empty(len(rug)), np.empty(len(rug))
        for learn, out in StratifiedKFold(5, shuffle=True, random_state=0).split(rug, rug):
            predict, threshold[out] = fit(features.iloc[learn], rug[learn])
            probability[out] = predict(features.iloc[out])
        return probability, threshold

    return timed(run)


def boosted(features: pd.DataFrame, rug: Bools) -> tuple[Fitted, float]:
    model = XGBClassifier(n_estimators=400, max_depth=5, n_jobs=1, random_state=0)
    model.fit(features, rug)
    return lambda of: model.predict_proba(of)[:, 1].astype(np.float64), 0.5


def classifier(features: pd.DataFrame, rug: Bools, settings: RugSettings) -> tuple[Fitted, float]:
    inner: list[Fold] = list(StratifiedKFold(3, shuffle=True, random_state=1).split(rug, rug))
    model = RugClassifier.fit(features, rug, folds=inner, settings=settings)
    return model.probability, model.threshold


def timed(run: Callable[[], tuple[Floats, Floats]]) -> Predicted:
    began = time.perf_counter()
    probability, threshold = run()
    return Predicted(probability, threshold, time.perf_counter() - began)


def show(
    data: str,
    title: str,
    rug: Bools,
    found: Predicted,
    plain: Predicted | None = None,
    target: str = "",
    key: str | None = None,
) -> None:
    m = rug_metrics(rug, found.probability, found.threshold)
    gain = ""
    if plain is not None:
        low, high = auc_gain(rug, found.probability, plain.probability, draws=1000)
        gain = f"{low:+.3f} to {high:+.3f}"
        if key is not None:
            gained = m.auc - rug_metrics(rug, plain.probability, plain.threshold).auc
            computed(f"rugs.{key}_auc", m.auc, size=f"{len(rug):,} pools")
            computed(f"rugs.{key}_gain", gained, low=low, high=high, size=f"{len(rug):,} pools")
    print(
        f"{data:9} {title:40} {m.auc:5.3f} {gain:>18} {m.precision:5.3f} {m.recall:6.3f} "
        f"{m.safe_f1:6.3f} {m.mcc:5.3f} {m.brier:5.3f} {m.ece:5.3f} {found.seconds:4.0f}  {target}",
        flush=True,
    )


if __name__ == "__main__":
    main()
