"""Datasets: a version for what they are, and training that knows nothing of what comes after."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.canonical import canonical_bytes, is_address
from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.dataset import Dataset, build_dataset, data_hash
from trade_pipeline.core.dataset.record import dataset_version
from trade_pipeline.core.dataset.split import SPLITS, overlapping_labels
from trade_pipeline.core.errors import BadConfig
from trade_pipeline_tests.core.dataset.frames import FEATURES, VERSIONS, trade_frame

CONFIG = DatasetConfig(embargo_hours=6)


def built(
    frame: pd.DataFrame, config: DatasetConfig = CONFIG, versions: dict[str, str] = VERSIONS
) -> Dataset:
    frame.attrs["features"] = FEATURES
    return build_dataset(frame, config, feature_versions=versions)


FRAME = trade_frame()
DATASET = built(FRAME)


def after_training(frame: pd.DataFrame) -> pd.Series:
    """Which rows were decided after the last training label ended."""
    return frame["decided_at"] > DATASET.bounds["train"].label_end


def test_every_split_has_prepared_rows_with_target_and_weight() -> None:
    for name in SPLITS:
        split = DATASET.splits[name]
        assert split.x.columns.tolist() == list(DATASET.preparation.columns)
        assert not split.x.isna().any(axis=None)
        assert split.x.index.equals(split.rows.index)
        assert split.y.tolist() == FRAME.loc[split.rows.index, "shadow_return"].tolist()
        assert len(split.weights) == len(split.y)
        assert 0 < split.weights.min() < split.weights.max() <= 1


def test_members_counts_and_bounds_say_what_is_in_the_splits() -> None:
    members, counts = DATASET.members, DATASET.counts
    everywhere = pd.concat([DATASET.splits[name].rows for name in SPLITS])
    assert list(members) == everywhere.index.tolist()
    assert counts.train + counts.validation + counts.test == len(members)
    assert len(members) + counts.purged + counts.embargoed == len(FRAME)
    assert counts.purged > 0
    assert counts.embargoed > 0
    executed = sum(FRAME.index.get_loc(uuid) % 10 == 0 for uuid in members)
    assert (counts.executed, counts.shadow) == (executed, len(members) - executed)
    assert counts.days == everywhere["decided_at"].dt.date.nunique()
    for name in SPLITS:
        bounds, rows = DATASET.bounds[name], DATASET.splits[name].rows
        assert (bounds.first, bounds.last) == (rows["decided_at"].min(), rows["decided_at"].max())
        assert bounds.label_end == rows["shadow_end"].max()
    assert DATASET.bounds["train"].label_end < DATASET.bounds["validation"].first


def test_no_label_of_a_split_meets_one_of_another() -> None:
    rows = pd.concat([DATASET.splits[name].rows for name in SPLITS])
    split = pd.Series(DATASET.members)[rows.index].to_numpy()
    assert overlapping_labels(rows, {n: np.flatnonzero(split == n) for n in SPLITS}) == []


def test_labels_of_one_name_on_two_markets_do_not_share_their_weight() -> None:
    frame = trade_frame()
    frame.loc[frame.index[::2], "market"] = "spot-1h"
    frame["instrument"] = "one"
    alone = built(trade_frame().assign(instrument=[f"{n % 2}" for n in range(400)]))
    dataset = built(frame)
    assert dataset.record.market == "spot-1h+uniswap-v2"
    assert dataset.splits["train"].weights.tolist() == alone.splits["train"].weights.tolist()


def test_the_record_holds_what_the_version_covers_and_where_it_comes_from() -> None:
    record = DATASET.record
    assert is_address(DATASET.version)
    assert record.short_name == f"trades-{DATASET.version[7:15]}"
    content = {name: getattr(record, name) for name in record.__slots__}
    assert dataset_version(content, DATASET.members) == record.dataset_version
    assert (record.market, record.kind, record.feature_set) == ("uniswap-v2", "recorded", "set-1")
    assert record.session_ids == ["s"]
    assert b"NaN" not in canonical_bytes(record)


@settings(deadline=None, max_examples=10)
@given(st.randoms(use_true_random=False))
def test_the_version_does_not_depend_on_the_order_of_the_rows(random: np.random.Generator) -> None:
    order = list(range(len(FRAME)))
    random.shuffle(order)
    shuffled = built(FRAME.iloc[order])
    assert shuffled.version == DATASET.version
    assert shuffled.record == DATASET.record


def test_an_unknown_value_has_one_meaning_whatever_its_bits() -> None:
    frame = trade_frame()
    unknown = np.array([0xFFF8000000000001], np.uint64).view(np.float64)[0]
    frame["sparse"] = frame["sparse"].fillna(unknown)
    frame["unknown"] = unknown
    assert frame["unknown"].to_numpy().tobytes() != FRAME["unknown"].to_numpy().tobytes()
    assert built(frame).version == DATASET.version


def with_value(name: str, value: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[list(DATASET.members)[-1], name] = value
        return frame

    return change


CHANGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "a member less": lambda frame: frame.drop(index=list(DATASET.members)[-1]),
    "a member's label": with_value("shadow_return", 0.123),
    "a member's feature": with_value("noise", 0.123),
    "a member's feature that is unknown now": with_value("noise", np.nan),
    "a member's label end": lambda frame: frame.assign(
        shadow_end=frame["shadow_end"]
        + pd.to_timedelta((frame.index == list(DATASET.members)[-1]).astype(int), unit="us")
    ),
    "a rug": lambda frame: frame.assign(
        shadow_reason=frame["shadow_reason"].where(
            frame.index != list(DATASET.members)[-1], "rugpull_exit"
        )
    ),
    "the feature set": lambda frame: frame.assign(feature_set="set-2"),
    "a session's identity": lambda frame: frame.set_axis(
        frame.index.where(frame.index != list(DATASET.members)[-1], "f" * 36)
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_content_is_another_version(
    change: Callable[[pd.DataFrame], pd.DataFrame],
) -> None:
    assert built(change(trade_frame())).version != DATASET.version


@pytest.mark.parametrize(
    "config",
    [
        {"name": "others"}, {"rug_return": -0.5}, {"embargo_hours": 6.5}, {"max_features": 49},
        {"kinds_mixed": True}, {"train_fraction": 0.55, "test_fraction": 0.25},
    ],
    ids=str,
)  # fmt: skip
def test_another_configuration_is_another_version(config: dict[str, object]) -> None:
    other = built(FRAME, DatasetConfig.model_validate({"embargo_hours": 6} | config))
    assert other.version != DATASET.version


def test_another_version_of_one_feature_is_another_version() -> None:
    assert built(FRAME, versions=VERSIONS | {"noise": "2"}).version != DATASET.version
    assert built(FRAME, versions=VERSIONS | {"stranger": "2"}).version == DATASET.version


def test_a_member_in_another_split_is_another_version() -> None:
    content = {name: getattr(DATASET.record, name) for name in DATASET.record.__slots__}
    for uuid, split in list(DATASET.members.items())[::50]:
        other = next(name for name in SPLITS if name != split)
        moved = {**DATASET.members, uuid: other}
        assert dataset_version(content, moved) != DATASET.version


def test_rows_that_do_not_become_members_make_no_other_version() -> None:
    extra = trade_frame(401).iloc[400:].assign(shadow_return=np.nan)
    more = built(pd.concat([trade_frame(), extra]))
    assert more.counts.unended == 1
    assert more.version == DATASET.version


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1_000), st.sampled_from([1.0, 1e6]))
def test_other_values_after_training_change_nothing_of_the_preparation(
    seed: int, scale: float
) -> None:
    frame, other = trade_frame(), trade_frame(seed=seed)
    late = after_training(frame)
    names = [*FEATURES, "shadow_return", "realised_return", "shadow_reason"]
    frame.loc[late, names] = other.loc[late, names]
    frame.loc[late, ["noise", "momentum"]] *= scale
    frame.loc[late & (other["noise"] > 0), "momentum"] = np.nan
    dataset = built(frame)
    assert dataset.members == DATASET.members
    assert dataset.preparation == DATASET.preparation
    pd.testing.assert_frame_equal(
        dataset.splits["train"].x, DATASET.splits["train"].x, check_exact=True
    )


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(340, 399), min_size=1, max_size=60, unique=True))
def test_more_rows_in_the_test_period_change_nothing_of_the_preparation(rows: list[int]) -> None:
    extra = trade_frame(seed=9).iloc[rows].assign(instrument="another")
    extra.index = "f" + extra.index.str[1:]
    dataset = built(pd.concat([trade_frame(), extra]))
    assert dataset.counts.test == DATASET.counts.test + len(rows)
    assert dataset.preparation == DATASET.preparation
    trained = [uuid for uuid, split in dataset.members.items() if split == "train"]
    assert trained == DATASET.splits["train"].rows.index.tolist()


def test_training_values_do_change_the_preparation() -> None:
    frame = trade_frame()
    frame.loc[frame.index[0], "noise"] += 1
    assert built(frame).preparation.means != DATASET.preparation.means


def test_too_few_decisions_for_three_splits_are_refused_with_their_numbers() -> None:
    with pytest.raises(BadConfig, match=r"2 decisions give train=.*, test=0 .*at least 1 in each"):
        built(trade_frame(2))
    with pytest.raises(BadConfig, match=r"60 decisions give .*validation=0.*embargoed"):
        built(trade_frame(60), DatasetConfig(embargo_hours=48))
    with pytest.raises(BadConfig, match="no decision has an ended label"):
        built(trade_frame(10).assign(shadow_end=pd.NaT))


def test_the_hash_of_the_data_can_be_taken_again_of_rows_in_any_order() -> None:
    rows = pd.concat([DATASET.splits[name].rows for name in reversed(SPLITS)])
    assert data_hash(rows, FEATURES) == DATASET.record.data_hash


def test_a_feature_without_a_version_is_refused_by_name() -> None:
    with pytest.raises(BadConfig, match="'sparse' has none"):
        built(FRAME, versions={n: "1" for n in FEATURES if n != "sparse"})


def test_bounds_are_utc_and_stored_as_such() -> None:
    assert DATASET.bounds["train"].first.utcoffset() == timedelta(0)
    first = f"{DATASET.bounds['test'].first:%Y-%m-%dT%H:%M:%SZ}".encode()
    assert first in canonical_bytes(DATASET.record.bounds)
