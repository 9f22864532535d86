"""The same commands on Kubernetes: each run is a job of the cluster, by the chart's configuration.

The cluster is a stand-in that starts the pods' own commands, with their own environment, as
processes; paths of the image become folders of the test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from report.record import counted

from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline_tests.conftest import KILLS
from trade_pipeline_tests.core.session import stored
from trade_pipeline_tests.deploy.chart import (
    DAGSTER_HOME,
    VALUES_FILE,
    code_of,
    instance_yaml,
    read_values,
)
from trade_pipeline_tests.deploy.kubernetes_api import KubernetesApi
from trade_pipeline_tests.reliability.serving import wait_for

PATIENCE = 300.0
FILE = """
name: stops
market: simulated
start: 2026-01-05
end: 2026-01-08
seeds: [1]
set: {simulator.pools_per_day: 30, simulator.burn_in_days: 1, simulator.trades_max: 400}
grid: {strategy.exits.stop_loss: [0.15, 0.3]}
"""


class Deployment:
    """The chart's code location, a database and a cluster."""

    def __init__(self, folder: Path, server: EmbeddedPostgres, database: Database) -> None:
        self.folder = folder
        self.database = database
        url = urlsplit(server.url("dagster", "dagster", "postgresql+psycopg2"))
        socket = parse_qs(url.query)
        password = {"postgresql-password": url.password or ""}
        with database.connect() as connection:
            records = server.url("postgres", connection.info.dbname)
        self.secrets = {
            "trade-pipeline": {"TRADE_PIPELINE_DATABASE_URL": records},
            "trade-pipeline-dagster": password,
        }
        text = VALUES_FILE.read_text()
        for path in ("/var/lib/trade-pipeline", "/etc/dagster", DAGSTER_HOME):
            text = text.replace(path, f"{folder}{path}")
        self.artifacts = f"{folder}/bucket"
        self.values = read_values(text.replace("s3://trade-pipeline/artifacts", self.artifacts))
        self.values["postgresql"] |= {
            "postgresqlUsername": url.username,
            "postgresqlHost": "localhost",
            "postgresqlParams": {"host": socket["host"][0], "port": socket["port"][0]},
        }
        self.api = KubernetesApi(folder, self.secrets)
        launcher = self.values["runLauncher"]["config"]["k8sRunLauncher"]
        launcher |= {"loadInclusterConfig": False, "kubeconfigFile": str(self.api.kubeconfig)}
        home = f"{folder}{DAGSTER_HOME}"
        configuration = yaml.safe_dump(instance_yaml(self.values, dagster_home=home))
        # Where the chart mounts it, and where the values do.
        for mounted in (home, f"{folder}/etc/dagster"):
            Path(mounted).mkdir(parents=True)
            Path(mounted, "dagster.yaml").write_text(configuration)

    def command(self, *words: str) -> subprocess.Popen[bytes]:
        """What `kubectl exec deploy/... -- trade-pipeline ...` starts in the code location."""
        code = code_of(self.values)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "DAGSTER_HOME": f"{self.folder}{DAGSTER_HOME}",
            "DAGSTER_CURRENT_IMAGE": f"{code['image']['repository']}:{code['image']['tag']}",
            "DAGSTER_PG_PASSWORD": self.secrets["trade-pipeline-dagster"]["postgresql-password"],
            **{one["name"]: one["value"] for one in code["env"]},
            **self.secrets["trade-pipeline"],
        }
        return subprocess.Popen(
            [sys.executable, "-m", "trade_pipeline.cli", *words], env=environment,
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def told(self, asked: subprocess.Popen[bytes]) -> Any:
        out, err = asked.communicate(timeout=PATIENCE)
        logs = "".join(self.api.log(name)[-2000:] for name in self.api.jobs)
        assert asked.returncode == 0, err.decode() + logs
        return json.loads(out)


@pytest.fixture
def deployment(
    tmp_path: Path, server: EmbeddedPostgres, fresh_database: Database
) -> Iterator[Deployment]:
    made = Deployment(tmp_path, server, fresh_database)
    with made.api:
        yield made


def test_a_replay_is_a_job_of_the_cluster(deployment: Deployment) -> None:
    stored.run(deployment.database, ArtifactStore(deployment.artifacts), days=1)
    told = deployment.told(deployment.command("replay", "--all", "--json"))
    assert (told["failed"], told["differs"], len(told["sessions"])) == ([], False, 1)
    (job,) = deployment.api.jobs.values()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    # Of a batch run, and not of the server that knows its code.
    assert container["resources"]["limits"]["memory"] == "8Gi"
    assert container["image"] == "registry.example.org/trade-pipeline:0.1.0"


@pytest.mark.reliability
@pytest.mark.skipif(KILLS < 50, reason="a minute: make reliability runs it")
def test_a_pod_that_is_lost_loses_and_doubles_nothing(deployment: Deployment) -> None:
    file = deployment.folder / "stops.yaml"
    file.write_text(FILE)
    asked = deployment.command("experiment", "run", "--json", str(file))

    def decides() -> bool:
        with deployment.database.connect("trade_reader") as connection:
            found = connection.execute("SELECT count(*) FROM trade.sessions").fetchone()
        return found is not None and found[0] > 0

    wait_for(decides, PATIENCE, "a session that has begun")
    lost = deployment.api.running()[0]
    deployment.api.kill(lost)
    told = deployment.told(asked)
    assert (told["failed"], told["stored"]) == ([], 2)
    assert len(deployment.api.jobs) == 3
    counted("operations.pod_deaths", 1, 1)
    for command in ("features", "build", "--json"), ("replay", "--all", "--json"):
        before = len(deployment.api.jobs)
        told = deployment.told(deployment.command(*command))
        assert told["failed"] == []
        assert len(deployment.api.jobs) > before
    assert told["differs"] is False
    assert len(told["sessions"]) == 2
