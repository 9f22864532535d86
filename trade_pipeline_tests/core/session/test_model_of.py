"""The models that a session's settings name, and where they may decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from trade_pipeline.core.dataset.membership import read_dataset
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.session.backtest import canary_of, model_of
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.artifacts import ArtifactDamaged, ArtifactStore, record_artifact
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.traffic import Traffic
from trade_pipeline.core.training.record import ModelRecord
from trade_pipeline.core.training.registry import read_model, record_model
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.session import stored
from trade_pipeline_tests.core.training.strong import MARKET, RUG_RISK_MODEL, SETTINGS, Strong

OTHER = "sha256:" + "e" * 64


@pytest.fixture
def writer(strong_store: Store) -> Iterator[psycopg.Connection]:
    """A connection as ``trade_writer``; what a test writes is taken back."""
    with (
        strong_store.database.connect() as connection,
        connection.transaction(force_rollback=True),
    ):
        yield connection


def deciding(version: str, rug_risk_model: str | None) -> TradingConfig:
    return SETTINGS.model_copy(update={"model": version, "rug_risk_model": rug_risk_model})


def registered(
    writer: psycopg.Connection, store: Store, model: ModelRecord, data: bytes, **changes: Any
) -> str:
    """The version of a model that differs from another in its file or its record."""
    given = {k: v for k, v in asdict(model).items() if k not in ("model_version", "artifact")}
    return record_model(writer, store.artifacts, data, **(given | changes)).model_version


def learned_also_from(
    writer: psycopg.Connection, store: Store, strong: Strong, session: str, params: str | None
) -> str:
    """The version of the same model, as if another session had decided for its dataset, too."""
    append_now(
        writer,
        read_chain(writer, session),
        samples.session(session, market=MARKET, params_ptr=params),
    )
    dataset = read_dataset(writer, strong.dataset)
    version = "sha256:" + "d" * 64
    more = replace(dataset, dataset_version=version, session_ids=[*dataset.session_ids, session])
    append_now(writer, read_chain(writer, "dataset:more"), more)
    model = read_model(writer, strong.model)
    data = store.artifacts.get(model.artifact)
    return registered(writer, store, model, data, dataset_version=version)


def test_a_model_decides_beside_the_rug_model_that_it_learned_with(
    writer: psycopg.Connection, strong_store: Store, strong: Strong
) -> None:
    config = deciding(strong.model, RUG_RISK_MODEL)
    model = model_of(writer, strong_store.artifacts, config, MARKET)
    assert model is not None
    assert "rug_probability" in model.inputs


@pytest.mark.parametrize("given", [OTHER, None])
def test_another_rug_model_or_none_is_refused_and_both_are_named(
    writer: psycopg.Connection, strong_store: Store, strong: Strong, given: str | None
) -> None:
    with pytest.raises(BadConfig) as refused:
        model_of(writer, strong_store.artifacts, deciding(strong.model, given), MARKET)
    assert str(refused.value) == (
        f"rug_risk_model={given!r}: model={strong.model!r} reads rug_probability and learned from "
        f"that of {RUG_RISK_MODEL!r}; set that one"
    )


def test_a_session_beside_another_rug_model_does_not_begin(
    fresh_strong_store: Store, strong: Strong
) -> None:
    config = stored.CONFIG.model_copy(update={"model": strong.model})
    with pytest.raises(BadConfig, match=f"rug_risk_model=None.*{RUG_RISK_MODEL}"):
        stored.run(fresh_strong_store.database, fresh_strong_store.artifacts, config=config)
    with fresh_strong_store.database.connect("trade_reader") as connection:
        sessions = connection.execute("SELECT session_id FROM trade.sessions").fetchall()
    assert sessions == [("strong",)]


@pytest.mark.parametrize("second", [OTHER, None, "no settings"])
def test_a_model_that_learned_from_several_rug_models_decides_beside_none(
    writer: psycopg.Connection, strong_store: Store, strong: Strong, second: str | None
) -> None:
    params = None
    if second != "no settings":
        settings = TradingConfig(rug_risk_model=second).canonical()
        params = record_artifact(
            writer, strong_store.artifacts, settings, media_type="application/json"
        )
    version = learned_also_from(writer, strong_store, strong, "second", params)
    for given in (RUG_RISK_MODEL, OTHER, None):
        with pytest.raises(BadConfig, match=r"rug_risk_model=.*no session gives it all of them"):
            model_of(writer, strong_store.artifacts, deciding(version, given), MARKET)


def test_a_model_that_reads_no_rug_probability_decides_beside_any(
    writer: psycopg.Connection, strong_store: Store, strong: Strong
) -> None:
    record = read_model(writer, strong.model)
    data = strong_store.artifacts.get(record.artifact)
    # Its trees stay; the column is called otherwise.
    without = data.replace(b'"rug_probability"', b'"mentions_24h"')
    version = registered(writer, strong_store, record, without)
    for given in (RUG_RISK_MODEL, OTHER, None):
        assert model_of(writer, strong_store.artifacts, deciding(version, given), MARKET)


def test_a_model_decides_on_no_other_market_and_an_unknown_one_nowhere(
    writer: psycopg.Connection, strong_store: Store, strong: Strong
) -> None:
    with pytest.raises(BadConfig, match=r"learned on 'simulated'.*this session: 'spot-1h'"):
        model_of(writer, strong_store.artifacts, deciding(strong.model, RUG_RISK_MODEL), "spot-1h")
    with pytest.raises(BadConfig, match=f"model='{OTHER}': no such model is registered"):
        model_of(writer, strong_store.artifacts, deciding(OTHER, None), MARKET)


def trying(version: str, rug_risk_model: str | None = RUG_RISK_MODEL) -> TradingConfig:
    traffic = Traffic(model=version)
    return SETTINGS.model_copy(update={"canary": traffic, "rug_risk_model": rug_risk_model})


def test_a_canary_is_refused_for_what_a_model_in_production_would_be(
    writer: psycopg.Connection, strong_store: Store, strong: Strong
) -> None:
    artifacts = strong_store.artifacts
    canary = canary_of(writer, artifacts, trying(strong.model), MARKET)
    assert canary is not None
    assert "rug_probability" in canary.inputs
    assert canary_of(writer, artifacts, SETTINGS, MARKET) is None
    named = f"canary.model='{strong.model}'"
    with pytest.raises(BadConfig, match=rf"{named}.*'simulated'.*this session: 'spot-1h'"):
        canary_of(writer, artifacts, trying(strong.model), "spot-1h")
    with pytest.raises(BadConfig, match=f"canary.model='{OTHER}': no such model is registered"):
        canary_of(writer, artifacts, trying(OTHER), MARKET)
    with pytest.raises(BadConfig, match=f"rug_risk_model=None: {named} reads rug_probability"):
        canary_of(writer, artifacts, trying(strong.model, None), MARKET)


def test_a_canary_whose_file_is_missing_or_changed_is_refused_at_the_start(
    writer: psycopg.Connection, strong_store: Store, strong: Strong, tmp_path: Path
) -> None:
    named = f"canary.model='{strong.model}': "
    elsewhere = ArtifactStore(str(tmp_path))
    with pytest.raises(BadConfig, match=f"{named}its file .* is missing"):
        canary_of(writer, elsewhere, trying(strong.model), MARKET)
    address = read_model(writer, strong.model).artifact
    elsewhere.put(strong_store.artifacts.get(address))
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    file.write_bytes(b"{}")
    with pytest.raises(ArtifactDamaged, match=f"{named}.*have another hash"):
        canary_of(writer, elsewhere, trying(strong.model), MARKET)


def test_a_backtest_with_a_canary_is_stored_and_replayed(
    fresh_strong_store: Store, strong: Strong
) -> None:
    store = fresh_strong_store
    with store.database.connect() as connection:
        record = read_model(connection, strong.model)
        data = store.artifacts.get(record.artifact)
        version = registered(
            connection, store, record, data.replace(b'"rug_probability"', b'"mentions_24h"')
        )
    config = stored.CONFIG.model_copy(update={"canary": Traffic(model=version, share=0.5)})
    first = stored.run(store.database, store.artifacts, config=config)
    assert stored.run(store.database, store.artifacts, config=config).new_rows == 0
    with store.database.connect("trade_reader") as connection:
        found = connection.execute(
            "SELECT DISTINCT arm, model_version FROM trade.candidates WHERE session_id = %s",
            (first.session.session_id,),
        ).fetchall()
    assert set(found) == {("production", "heuristic-1"), ("canary", version)}
