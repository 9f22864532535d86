"""Is the history untouched?  Asked by commands, of the database and of a dump of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from trade_pipeline import verify_proof
from trade_pipeline.core.store.address import parts_of
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.server import EmbeddedPostgres, binary
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.tracking import TradeTrackingSystem
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.integration.typed import run_in


def test_heads_proofs_and_edits_are_told_by_commands(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts, heads = str(tmp_path / "artifacts"), str(tmp_path / "heads")
    with create_database(server) as database:
        with database.connect() as connection:
            url = server.url("postgres", connection.info.dbname)
        run = run_in(
            monkeypatch,
            {
                "TRADE_PIPELINE_HOME": str(tmp_path),
                "TRADE_PIPELINE_DATABASE_URL": url,
                "TRADE_PIPELINE_ARTIFACTS_URL": artifacts,
                "TRADE_PIPELINE_HEADS_URL": heads,
            },
        )
        with TradeTrackingSystem(store=Store(database, ArtifactStore(artifacts, heads))) as tracker:
            trade = tracker.create_candidate("PEPE", "v1", 0.7, samples.ADDRESS, "test")
            young = run("verify", "--json")
            assert (young.code, young.facts["unanchored"], young.facts["heads"]) == (0, 2, 0)
            assert "2 records, the oldest 0.0 minutes old" in run("verify").out
            refused = run("ledger", "proof", str(trade.uuid), "-o", str(tmp_path / "none.json"))
            assert (refused.code, "ledger head" in refused.err) == (2, True)
            (head,) = run("ledger", "head", "--json").facts["heads"]
            assert head["records"] == 2
            assert "covered by a head already" in run("ledger", "head").out

        proof = tmp_path / "proof.json"
        assert run("ledger", "proof", str(trade.uuid), "-o", str(proof)).code == 0
        shown = subprocess.run(
            [sys.executable, verify_proof.__file__, proof, Path(heads, "000000/000000000.json")],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (shown.returncode, "HOLDS" in shown.stdout) == (0, True)

        untouched = run("verify", "--artifacts")
        assert (untouched.code, "untouched" in untouched.out) == (0, True)
        with psycopg.connect(url, autocommit=True) as superuser:
            superuser.execute("SET session_replication_role = replica")
            superuser.execute("UPDATE trade.candidates SET instrument = 'DOGE'")
        touched = run("verify")
        assert touched.code == 1
        assert f"candidates uuid={trade.uuid}" in touched.out
        assert "column instrument" in touched.out
        assert run("verify", "--json").facts["intact"] is False

        dump = tmp_path / "dump.pgdump"
        named = {"dbname": "PGDATABASE"}
        subprocess.run(
            [binary("pg_dump"), "--format=custom", "-f", dump],
            env={named.get(k, f"PG{k.upper()}"): v for k, v in parts_of(url).items()},
            check=True, timeout=60,
        )  # fmt: skip
    offline = run("verify", "--dump", str(dump), "--heads", heads, "--json")
    assert offline.code == 1
    assert offline.facts["problems"][0]["field"] == "instrument"
    nothing = run("verify", "--dump", str(tmp_path / "none"))
    assert (nothing.code, "no such file" in nothing.err) == (2, True)
