"""The sensor and the commands that tell people, as the daemon and a user run them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import dagster as dg
import pytest

from trade_pipeline import cli
from trade_pipeline.core.store.store import Store
from trade_pipeline.definitions import defs
from trade_pipeline.defs.alerts import alert_sensor
from trade_pipeline_tests.core.alerts.conftest import Readers, readers

__all__ = ["readers"]
SETTING = "TRADE_PIPELINE_ALERT_URLS"


def tick() -> str:
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance, resources=dict(defs.resources or {}))
        return str(alert_sensor.evaluate_tick(context).skip_message)


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["trade-pipeline", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def halted(store: Store, reasons: Sequence[str]) -> None:
    with store.database.connect(autocommit=True) as connection:
        for reason in reasons:
            connection.execute(
                "INSERT INTO trade.halts (account, action, reason, by_whom) "
                "VALUES ('a', 'halt', %s, 'me')",
                (reason,),
            )


def test_the_sensor_is_on_and_says_what_it_did_and_why_not(
    store: Store, readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert alert_sensor.default_status == dg.DefaultSensorStatus.RUNNING
    monkeypatch.delenv(SETTING, raising=False)
    assert tick() == f"{SETTING} is not set: nobody is told anything"
    monkeypatch.setenv(SETTING, "hunter2")
    with pytest.raises(dg.Failure, match="URL 1 is none that Apprise knows") as refused:
        tick()
    assert "hunter2" not in str(refused.value)
    monkeypatch.setenv(SETTING, readers.url("sensor"))
    assert tick() == "channel 1 (JSON): begins"
    halted(store, ["one", "two"])
    assert tick() == "channel 1 (JSON): told, 2 alerts"
    assert len(readers.read("sensor")) == 1


def test_a_test_message_tells_which_channel_failed_and_not_its_url(
    store: Store,
    readers: Readers,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(SETTING, f"{readers.url('good')} {readers.url('hunter2')}")
    readers.deaf.add("hunter2")
    assert command(monkeypatch, "alerts", "test", "--json") == 1
    told = capsys.readouterr()
    assert json.loads(told.out) == [
        {"channel": "channel 1 (JSON)", "sent": True},
        {"channel": "channel 2 (JSON)", "sent": False},
    ]
    assert "hunter2" not in told.out + told.err
    assert readers.read("good") == [("trade_pipeline: a test", "Alerts will come here.")]


def test_what_waits_is_delivered_by_a_command_which_fails_when_a_channel_does(
    store: Store,
    readers: Readers,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(SETTING, f"{readers.url('here')} {readers.url('there')}")
    assert command(monkeypatch, "alerts", "send") == 0
    halted(store, ["three"])
    readers.deaf.add("there")
    capsys.readouterr()
    assert command(monkeypatch, "alerts", "send", "--json") == 1
    assert json.loads(capsys.readouterr().out) == [
        {"channel": "channel 1 (JSON)", "became": "told", "alerts": 1},
        {"channel": "channel 2 (JSON)", "became": "failed", "alerts": 1},
    ]
    assert "three" in readers.read("here")[0][1]


def test_without_a_channel_the_commands_say_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    for word in ("test", "send"):
        assert command(monkeypatch, "alerts", word) == 2
        assert f"{SETTING}: not set" in capsys.readouterr().err
