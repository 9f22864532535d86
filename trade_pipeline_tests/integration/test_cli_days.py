"""Commands that hand days to workers where a broker is set; here a stand-in executes the runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from trade_pipeline.core.ledger.append import append_now
from trade_pipeline.core.ledger.chain import Chain
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.defs import daily_runs
from trade_pipeline.defs.instance import run_job
from trade_pipeline.defs.launched_runs import LAUNCH, Launch, LaunchFailed
from trade_pipeline.defs.process_group import Told
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.replay.tampering import forge
from trade_pipeline_tests.core.replay.test_backtest import assigned
from trade_pipeline_tests.integration.test_cli import DAYS, SMALL, Run, home, run

__all__ = ["home", "run"]

# What says how long something took, or whether it was there already.
UNSTABLE = ("seconds", "new_rows", "new")

Failing = Callable[[Launch], bool]


@pytest.fixture
def session(run: Run) -> str:
    out = run("backtest", "--market", "simulated", *DAYS, *SMALL, "--seed", "3", "--json")[1]
    name: str = json.loads(out)["session_id"]
    return name


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Launch]]:
    """Sets a broker, whose workers are this process; gives what was launched."""

    def start(fails: Failing = lambda launch: False) -> list[Launch]:
        seen: list[Launch] = []

        def launch_and_wait(
            instance: dg.DagsterInstance,
            launches: Sequence[Launch],
            *,
            advance: Callable[[float], None],
        ) -> list[LaunchFailed]:
            failed = []
            for done, one in enumerate(launches, 1):
                seen.append(one)
                if fails(one):
                    failed.append(LaunchFailed(one, "the-run", "its worker was lost 3 times"))
                else:
                    made = run_job(
                        instance, one.job, one.configs, days=one.days,
                        tags={LAUNCH: one.address()},
                    )  # fmt: skip
                    if made.failures:
                        failed.append(LaunchFailed(one, made.run_id, "; ".join(made.failures)))
                advance(done)
            return failed

        monkeypatch.setenv("TRADE_PIPELINE_BROKER_URL", "redis://localhost:1/0")
        monkeypatch.setattr(daily_runs, "launch_and_wait", launch_and_wait)
        return seen

    return start


def stable(facts: Any) -> Any:
    """Facts without what differs from one call to the next."""
    if isinstance(facts, dict):
        return {name: stable(value) for name, value in facts.items() if name not in UNSTABLE}
    return [stable(one) for one in facts] if isinstance(facts, list) else facts


def test_features_and_labels_that_workers_made_are_told_as_if_made_here(
    run: Run, session: str, workers: Callable[..., list[Launch]], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    command = ("features", "build", "--session", session, "--json")
    launched = workers()
    code, out, _ = run(*command, "--out", str(tmp_path / "workers.parquet"))
    there = json.loads(out)
    assert (code, there["failed"]) == (0, [])
    assert there["labels"]["new"] == there["labels"]["labelled"] > 0
    assert [(one.job, str((one.days or ("",))[0])) for one in launched] == [
        (job, day)
        for job in ("features_job", "labelling_job")
        for day in ("2026-01-05", "2026-01-06")
    ]
    monkeypatch.delenv("TRADE_PIPELINE_BROKER_URL")
    code, out, _ = run(*command, "--out", str(tmp_path / "here.parquet"))
    here = json.loads(out)
    assert code == 0
    assert (here["labels"]["new"], here["labels"]["corrected"]) == (0, 0)
    # A token of both days was published by both.
    assert there.pop("published") >= here.pop("published") > 0
    assert there.pop("missing_share") == pytest.approx(here.pop("missing_share"))
    assert stable(there) == stable(here)
    tables = [(tmp_path / f"{name}.parquet").read_bytes() for name in ("workers", "here")]
    assert tables[0] == tables[1]


def test_a_day_that_no_worker_could_make_is_named_and_ends_with_code_one(
    run: Run, session: str, workers: Callable[..., list[Launch]]
) -> None:
    workers(lambda launch: str((launch.days or ("",))[0]) == "2026-01-06")
    code, out, _ = run("features", "build", "--session", session, "--no-labels", "--json")
    facts = json.loads(out)
    assert code == 1
    assert [(one["day"], one["why"]) for one in facts["failed"]] == [
        ("2026-01-06", "its worker was lost 3 times")
    ]
    assert facts["rows"] > 0
    workers(lambda launch: True)
    code, out, _ = run("features", "build", "--session", session)
    assert code == 1
    assert "its worker was lost 3 times" in out
    code, out, _ = run("replay", "--all")
    assert code == 1
    assert "identical" not in out.splitlines()[-1]


def test_a_command_that_is_told_to_end_says_how_to_go_on(
    run: Run, session: str, workers: Callable[..., list[Launch]]
) -> None:
    def told(launch: Launch) -> bool:
        raise Told

    workers(told)
    code, out, err = run("features", "build", "--session", session)
    assert (code, out) == (130, "")
    assert "give the command again" in err


def test_replays_by_workers_find_the_same_and_leave_out_nothing(
    run: Run, session: str, home: Path, workers: Callable[..., list[Launch]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with EmbeddedPostgres(home / "postgres") as server:
        store = Store.in_folder(home)
        with store.database.connect("trade_writer", autocommit=True) as connection:
            # It begins today, which is no partition before it has ended.
            append_now(connection, Chain("by hand"), samples.session("by hand", mode="manual"))
            (seq,) = connection.execute(
                "SELECT min(chain_seq) FROM trade.candidates WHERE chain_id = %s", (session,)
            ).fetchone() or (None,)
        command = ("replay", "--all", "--json")
        assert seq is not None
        for differs in (False, True):
            if differs:
                forge(
                    server, store, "candidates", seq, assigned("confidence", 0.875), chain=session
                )
            monkeypatch.delenv("TRADE_PIPELINE_BROKER_URL", raising=False)
            code, out, _ = run(*command)
            here = json.loads(out)
            launched = workers()
            there_code, out, _ = run(*command)
            assert (code, there_code) == (int(differs), int(differs))
            assert stable(json.loads(out)) == stable(here)
            assert here["differs"] is differs
            assert {one["session_id"] for one in here["sessions"]} == {session, "by hand"}
            assert [one.job for one in launched] == ["replay_job"]
        code, out, _ = run("replay", "--session", session)
        assert code == 1
        assert "confidence: stored 0.875" in out
        assert launched[-1].configs["replayed_records"]["session"] == session
        code, out, err = run("replay", "--session", "nobody")
        assert (code, out) == (2, "")
        assert "session_id='nobody': no such session is stored" in err
        code, out, err = run("replay", "--all", "--data", "/nowhere")
        assert (code, out) == (2, "")
        store.close()
