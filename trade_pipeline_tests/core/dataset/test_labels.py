"""Which decisions are learned from, and as what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.labels import feature_names, labelled_decisions
from trade_pipeline.core.errors import BadConfig
from trade_pipeline_tests.core.dataset.frames import trade_frame
from trade_pipeline_tests.core.samples import START

CONFIG = DatasetConfig()


def changed(frame: pd.DataFrame, row: int, **values: Any) -> pd.DataFrame:
    frame = frame.copy()
    for name, value in values.items():
        frame.loc[frame.index[row], name] = value
    return frame


def replayed(frame: pd.DataFrame, session: str, prefix: str) -> pd.DataFrame:
    """The same decisions by another session; its UUIDs sort by the prefix."""
    again = frame.assign(session_id=session)
    again.index = prefix + again.index
    return again


def test_a_label_is_the_shadow_result_and_never_mixed_with_the_realised_one() -> None:
    frame = trade_frame(40)
    shadow, _ = labelled_decisions(frame, CONFIG)
    assert shadow["target_return"].equals(frame["shadow_return"].rename("target_return"))
    realised, left_out = labelled_decisions(frame, DatasetConfig(label="realised"))
    assert realised["target_return"].tolist() == frame["realised_return"].dropna().tolist()
    assert left_out["unended"] == 36


def test_profit_is_above_zero_and_a_rug_is_the_exit_or_the_loss_of_one() -> None:
    frame = trade_frame(5)
    frame["shadow_return"] = [0.0, 1e-9, -0.8, -0.79, -0.2]
    frame["shadow_reason"] = [*["stop_loss"] * 4, "rugpull_exit"]
    rows, _ = labelled_decisions(frame, CONFIG)
    assert rows["profit"].tolist() == [False, True, False, False, False]
    assert rows["rug"].tolist() == [False, False, True, False, True]
    stricter, _ = labelled_decisions(frame, DatasetConfig(rug_return=-0.79))
    assert stricter["rug"].tolist() == [False, False, True, True, True]


def test_a_result_that_ended_later_than_what_is_known_is_not_learned_from() -> None:
    frame = trade_frame(10)
    known = frame["shadow_end"].sort_values().iloc[6]
    rows, left_out = labelled_decisions(frame, DatasetConfig(known_until=known))
    assert (rows["label_end"] <= known).all()
    assert (len(rows), left_out["unended"]) == (7, 3)


@pytest.mark.parametrize("missing", ["shadow_return", "shadow_end", "shadow_reason"])
def test_a_decision_whose_label_has_not_ended_is_left_out_and_counted(missing: str) -> None:
    frame = trade_frame(10)
    rows, left_out = labelled_decisions(changed(frame, 3, **{missing: None}), CONFIG)
    assert frame.index[3] not in rows.index
    assert left_out == {
        "out_of_range": 0, "unended": 1, "duplicate": 0, "not_filled": 0,
    }  # fmt: skip


def test_a_column_without_any_result_means_that_nothing_has_ended() -> None:
    frame = trade_frame(4).assign(shadow_return=None, shadow_end=None, shadow_reason=None)
    rows, left_out = labelled_decisions(frame, CONFIG)
    assert rows.empty
    assert left_out["unended"] == 4


def test_a_decision_counts_once_however_many_sessions_replayed_it() -> None:
    frame = trade_frame(30)
    twice = pd.concat([replayed(frame, "t", "y-"), replayed(frame, "u", "z-"), frame])
    rows, left_out = labelled_decisions(twice, CONFIG)
    assert rows["session_id"].unique().tolist() == ["s"]
    assert left_out["duplicate"] == 60


def test_of_replayed_decisions_one_with_a_realised_result_stays() -> None:
    frame = trade_frame(30)
    untraded = frame.assign(realised_return=np.nan, realised_end=pd.NaT, realised_reason=None)
    rows, _ = labelled_decisions(pd.concat([replayed(untraded, "t", "!"), frame]), CONFIG)
    executed = rows["instrument"].groupby(rows["session_id"]).size()
    assert executed.to_dict() == {"s": 3, "t": 27}
    assert rows.loc[rows["session_id"] == "s", "realised_return"].notna().all()


def test_a_replay_whose_label_has_ended_stands_in_for_one_whose_label_has_not() -> None:
    frame = trade_frame(1)
    unended = replayed(frame, "t", "!").assign(shadow_return=np.nan)
    rows, left_out = labelled_decisions(pd.concat([unended, frame]), CONFIG)
    assert rows.index.tolist() == frame.index.tolist()
    assert (left_out["unended"], left_out["duplicate"]) == (1, 0)


def test_which_replay_stays_does_not_depend_on_the_order_of_the_rows() -> None:
    frame = trade_frame(30)
    twice = pd.concat([replayed(frame, "t", "1-"), frame, replayed(frame, "u", "!")])
    whole, _ = labelled_decisions(twice, CONFIG)
    for seed in range(5):
        shuffled, _ = labelled_decisions(twice.sample(frac=1, random_state=seed), CONFIG)
        pd.testing.assert_frame_equal(shuffled, whole)


def test_the_same_slot_of_another_token_or_market_is_another_decision() -> None:
    frame = trade_frame(2)
    same = changed(frame, 1, slot=frame["slot"].iloc[0])
    assert labelled_decisions(same, CONFIG)[1]["duplicate"] == 0
    elsewhere = changed(same, 1, instrument="token-0", market="spot-1h")
    assert labelled_decisions(elsewhere, CONFIG)[1]["duplicate"] == 0


def test_refused_entries_are_left_out_only_where_that_is_asked_for() -> None:
    frame = changed(trade_frame(10), 2, shadow_reason="not_filled")
    assert len(labelled_decisions(frame, CONFIG)[0]) == 10
    rows, left_out = labelled_decisions(frame, DatasetConfig(exclude_not_filled=True))
    assert frame.index[2] not in rows.index
    assert left_out["not_filled"] == 1


def test_a_range_holds_its_start_and_not_its_end() -> None:
    frame = trade_frame(10)
    config = DatasetConfig(start=frame["decided_at"].iloc[2], end=frame["decided_at"].iloc[5])
    rows, left_out = labelled_decisions(frame, config)
    assert rows.index.tolist() == frame.index[2:5].tolist()
    assert left_out["out_of_range"] == 7


def test_kinds_of_market_are_mixed_only_where_that_is_asked_for() -> None:
    frame = changed(trade_frame(10), 7, kind="simulated")
    with pytest.raises(BadConfig, match=r"kind=\['recorded', 'simulated'\]"):
        labelled_decisions(frame, CONFIG)
    assert len(labelled_decisions(frame, DatasetConfig(kinds_mixed=True))[0]) == 10
    before = DatasetConfig(end=frame["decided_at"].iloc[7])
    assert len(labelled_decisions(frame, before)[0]) == 7


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"feature_set": "set-2"}, r"feature_set=\['set-1', 'set-2'\]"),
        ({"shadow_return": np.inf}, "target_return=inf"),
        ({"shadow_end": START}, "label_end="),
        ({"decided_at": None}, "decided_at is missing"),
    ],
)
def test_an_unsound_row_is_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(BadConfig, match=named):
        labelled_decisions(changed(trade_frame(10), 4, **change), CONFIG)


def test_a_uuid_that_stands_twice_is_refused_by_name() -> None:
    frame = trade_frame(3)
    with pytest.raises(BadConfig, match=f"{frame.index[1]}.*more than once"):
        labelled_decisions(pd.concat([frame, frame.iloc[1:2]]), CONFIG)


def test_a_frame_without_a_column_is_refused_by_its_name() -> None:
    with pytest.raises(BadConfig, match="'realised_end' is missing"):
        labelled_decisions(trade_frame(3).drop(columns="realised_end"), CONFIG)


def test_features_that_are_absent_infinite_or_no_doubles_are_refused_by_name() -> None:
    frame = trade_frame(10)
    for spoilt, named in (
        (frame.drop(columns="noise"), "'noise' is missing"),
        (changed(frame, 1, sparse=-np.inf), "'sparse': holds an infinite"),
        (frame.assign(flat=3), "'flat': dtype int64"),
    ):
        spoilt.attrs["features"] = frame.attrs["features"]
        with pytest.raises(BadConfig, match=named):
            feature_names(spoilt)
    with pytest.raises(BadConfig, match="names of the feature columns"):
        feature_names(pd.DataFrame())
