"""The services of compose.yaml as processes: the login, a backtest, and a session that lives on."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import psutil
import pytest
from report.record import measured

from trade_pipeline.core.live.lease import holder_is_connected, read_lease
from trade_pipeline.core.live.supervision import holder_of
from trade_pipeline.core.store.database import Database
from trade_pipeline_tests.conftest import KILLS
from trade_pipeline_tests.core.session.stored import CONFIG
from trade_pipeline_tests.deploy.composition import Composition
from trade_pipeline_tests.deploy.ui import ACTIVE, Ui
from trade_pipeline_tests.reliability.serving import gone, wait_for

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.skipif(KILLS < 50, reason="five minutes: make reliability runs it"),
]
ACCOUNT = "paper"
# How long a session is looked at after something was restarted.
QUIET_SECONDS = 8.0
SUCCESSOR_SECONDS = 240.0
RUN_SECONDS = 600.0


class Deployment:
    """All services, up, and what was measured of them."""

    def __init__(self, services: Composition) -> None:
        self.services = services
        self.measured: list[tuple[str, float]] = []
        began = time.monotonic()
        services.up()
        self.measured.append(("all services are healthy", time.monotonic() - began))
        measured("operations.compose_healthy_s", [self.measured[-1][1]])
        authority = services.folder / "volumes/proxy-data/caddy/pki/authorities/local/root.crt"
        self.ui = Ui(services.https, authority, "operator", services.secret("ui_password"))
        self.database = Database.at(services.secret("trade_pipeline_database_url"))

    def holder(self) -> tuple[str | None, int]:
        """Who holds the account's lease now, and the newest epoch."""
        with self.database.connect("trade_reader") as connection:
            lease = read_lease(connection, ACCOUNT)
            held = holder_of(lease, holder_is_connected(connection, ACCOUNT))
        return held, 0 if lease is None else lease.epoch

    def market_time(self) -> str:
        """How far the session told that it has come; nothing while it has not told."""
        with self.database.connect("trade_reader") as connection:
            lease = read_lease(connection, ACCOUNT)
        return str((dict(lease.told) if lease else {}).get("market_time") or "")

    def trades(self) -> bool:
        """Whether there is one session that trades, and the UI shows its run alone."""
        held = self.holder()[0]
        active = {run for run, status in self.ui.runs("live_job").items() if status in ACTIVE}
        return held is not None and active == {held} and self.market_time() != ""

    def goes_on(self, what: str, before: tuple[str | None, int]) -> None:
        """The same session trades on."""
        reached = self.market_time()
        time.sleep(QUIET_SECONDS)
        assert self.holder() == before, what
        assert self.market_time() > reached, what
        wait_for(self.trades, 60, f"{what}: the run and the session say the same")

    def processes(self) -> list[psutil.Process]:
        """Whatever runs in the home of this deployment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TRADE_PIPELINE_HOME") == str(self.services.home):
                    found.append(process)
            except psutil.Error:
                continue
        return [one for one in found if one.pid != os.getpid()]


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    # PostgreSQL's account has to enter it: not below a test's own folder.
    folder = Path(tempfile.mkdtemp(prefix="compose", dir="/var/tmp"))
    folder.chmod(0o755)
    services = Composition(folder)
    try:
        made = Deployment(services)
        try:
            yield made
        finally:
            for what, seconds in made.measured:
                print(f"compose {what:<60} {seconds:6.1f} s")
    finally:
        services.close()
        shutil.rmtree(folder, ignore_errors=True)


def _ask_for_a_session(services: Composition) -> None:
    config = services.home / "account.json"
    config.write_bytes(orjson.dumps({"trading": CONFIG.model_dump(mode="json")}))
    services.run(
        "live",
        ["trade-pipeline", "live", "start", "--market", "simulated", "--start", "2022-01-01",
         "--end", "2022-02-01", "--speed", "300", "--seed", "3", "--config", str(config)],
    )  # fmt: skip


def _runs_a_backtest_on_a_batch_worker(deployment: Deployment) -> None:
    began = time.monotonic()
    trading = CONFIG.model_dump(mode="json", exclude_none=True)
    asked = {"market": "simulated", "seed": 7, "config": trading}
    run = deployment.ui.launch(
        "backtest_job",
        {"ops": {"backtest_session": {"config": asked}}},
        {f"dagster/asset_partition_range_{end}": day
         for end, day in (("start", "2022-01-01"), ("end", "2022-01-03"))},
    )  # fmt: skip

    def ended() -> bool:
        return deployment.ui.runs("backtest_job")[run] not in ACTIVE

    wait_for(ended, RUN_SECONDS, "the backtest's end")
    assert deployment.ui.runs("backtest_job")[run] == "SUCCESS", deployment.services.log("batch")
    deployment.measured.append(("a backtest from its launch to its end", time.monotonic() - began))
    assert run in deployment.services.log("batch")
    assert run not in deployment.services.log("live")
    with deployment.database.connect("trade_reader") as connection:
        stored = connection.execute(
            "SELECT (SELECT count(*) FROM trade.candidates), "
            "(SELECT count(*) FROM trade.artifacts WHERE uri LIKE 's3://trade-pipeline/%')"
        ).fetchone()
    assert stored is not None
    assert min(stored) > 0


def test_the_services_serve_who_logs_in_and_a_session_outlives_all_but_its_worker(
    deployment: Deployment,
) -> None:
    services, ui = deployment.services, deployment.ui
    for path in ("/", "/server_info", "/graphql"):
        assert ui.status(path) == 401
    wrong = Ui(services.https, ui.authority, "operator", "wrong")
    assert wrong.status_logged_in() == 401
    assert ui.status_logged_in() == 200
    # Another site's page makes a browser send its login.
    assert ui.status_logged_in("/graphql", Sec_Fetch_Site="cross-site") == 403

    _runs_a_backtest_on_a_batch_worker(deployment)

    began = time.monotonic()
    _ask_for_a_session(services)
    wait_for(deployment.trades, SUCCESSOR_SECONDS, "a session")
    deployment.measured.append(("from `live start` to a session", time.monotonic() - began))
    session = deployment.holder()
    assert session[0] in services.log("live")

    for name in ("webserver", "daemon", "code"):
        code, seconds = services.stop(name)
        assert code == 0, name
        services.start(name)
        back = services.wait_healthy(name)
        deployment.goes_on(f"{name} was restarted", session)
        deployment.measured.append((f"{name}: ended", seconds))
        deployment.measured.append((f"{name}: healthy again; the same session trades", back))

    worker = services.running.pop("live")
    below = psutil.Process(worker.pid).children(recursive=True)
    worker.kill()
    worker.wait()
    wait_for(lambda: gone(below), 30, "the end of the killed worker's session")
    # As its restart policy does.
    services.start("live")
    began = time.monotonic()
    wait_for(
        lambda: deployment.holder()[1] == session[1] + 1 and deployment.trades(),
        SUCCESSOR_SECONDS, "a successor",
    )  # fmt: skip
    deployment.measured.append(("SIGKILL of live: a successor trades", time.monotonic() - began))
    measured("operations.compose_successor_s", [deployment.measured[-1][1]])
    assert deployment.holder()[0] != session[0]

    ended = services.down()
    deployment.measured += [(f"{name}: ended", took) for name, (_, took) in ended.items()]
    assert {name: code for name, (code, _) in ended.items()} == dict.fromkeys(ended, 0)
    assert deployment.processes() == []
