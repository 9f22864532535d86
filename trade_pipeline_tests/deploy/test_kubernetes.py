"""Kubernetes: the values of Dagster's chart become an instance that is this product's, and jobs
that a cluster takes.

What the chart makes of the values (chart.py) is judged by Dagster's and dagster-k8s' own schemas.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml
from dagster import DagsterRun
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster._serdes import ConfigurableClassData
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import (
    DagsterK8sJobConfig,
    UserDefinedDagsterK8sConfig,
    construct_dagster_k8s_job,
)
from dagster_postgres.utils import pg_config

from trade_pipeline.definitions import defs
from trade_pipeline.defs.instance import dagster_yaml
from trade_pipeline.settings import Settings
from trade_pipeline_tests.deploy.chart import (
    INSTANCE_MAP,
    code_of,
    instance_yaml,
    launcher_config,
    read_values,
)
from trade_pipeline_tests.deploy.commands import check_command
from trade_pipeline_tests.deploy.composition import DEPLOY
from trade_pipeline_tests.deploy.kubernetes_api import validate

VALUES = read_values()
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
CODE = code_of(VALUES)
SETTINGS = {f"TRADE_PIPELINE_{name.upper()}" for name in Settings.model_fields}
# A pod's parts have the same names in the chart's values.
_PODS = (CODE, VALUES["dagsterWebserver"], VALUES["dagsterDaemon"])


def _run_pod(job: str) -> dict[str, Any]:
    """The job of Kubernetes in which a run of a job is executed."""
    config = launcher_config(VALUES)
    judged = process_config(DagsterK8sJobConfig.config_type_run_launcher(), config)
    assert judged.success, judged.errors
    # As the launcher merges them: its own, and over it what the job's tags ask for.
    context = K8sContainerContext(
        **{name: config[name] for name in ("env_secrets", "volumes", "volume_mounts", "resources")},
        security_context=config["security_context"],
        run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(config["run_k8s_config"]),
    ).merge(
        K8sContainerContext.create_for_run(
            DagsterRun(job_name=job, tags=defs.resolve_job_def(job).tags), None,
            include_run_tags=True,
        )
    )  # fmt: skip
    made = construct_dagster_k8s_job(
        DagsterK8sJobConfig(
            job_image="registry.example.org/trade-pipeline:0.1.0",
            dagster_home=config["dagster_home"],
            instance_config_map=config["instance_config_map"],
            postgres_password_secret=config["postgres_password_secret"],
        ),
        args=["dagster", "api", "execute_run"], job_name="run",
        user_defined_k8s_config=context.run_k8s_config,
    )  # fmt: skip
    plain: dict[str, Any] = kubernetes.client.ApiClient().sanitize_for_serialization(made)
    return plain


@pytest.mark.parametrize("made", OBJECTS, ids=lambda one: one["kind"])
def test_a_cluster_takes_what_the_chart_has_no_place_for(made: dict[str, Any]) -> None:
    validate(made)


@pytest.mark.parametrize("part", _PODS, ids=["code", "webserver", "daemon"])
def test_a_pod_of_the_chart_is_confined_and_a_cluster_takes_it(part: dict[str, Any]) -> None:
    probes = {
        name: {key: value for key, value in part[name].items() if key != "enabled"}
        for name in ("readinessProbe", "livenessProbe")
        if name in part
    }
    for probe in probes.values():
        # Without a handler the chart asks the code server.
        if "httpGet" not in probe:
            probe["exec"] = {"command": ["dagster", "api", "grpc-health-check", "-p", "4000"]}
    container = {
        "name": "dagster",
        "image": f"{part['image']['repository']}:{part['image']['tag']}",
        "env": part["env"],
        "envFrom": [{"secretRef": one} for one in part["envSecrets"]],
        **{key: part[key] for key in ("securityContext", "volumeMounts", "resources")},
        **probes,
    }
    spec = {
        "securityContext": part["podSecurityContext"],
        "volumes": part["volumes"],
        "containers": [container],
    }
    validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "it"}, "spec": spec})
    assert part["podSecurityContext"]["runAsUser"] == 10001
    assert part["securityContext"]["readOnlyRootFilesystem"] is True
    named = {one["name"] for one in part["env"] if one["name"].startswith("TRADE_PIPELINE_")}
    assert named <= SETTINGS


@pytest.mark.parametrize("job", ["backtest_job", "live_job", "halt_job"])
def test_a_run_is_a_job_that_a_cluster_takes(job: str) -> None:
    made = _run_pod(job)
    validate(made)
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert made["spec"]["backoffLimit"] == 0
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"secretRef": {"name": "trade-pipeline"}} in container["envFrom"]
    assert {one["mountPath"] for one in container["volumeMounts"]} >= {"/tmp"}
    told = {one["name"]: one.get("value") for one in container["env"]}
    assert told["TRADE_PIPELINE_ARTIFACTS_URL"] == "s3://trade-pipeline/artifacts"
    assert container["resources"]["limits"]["memory"] == ("8Gi" if job == "backtest_job" else "4Gi")


def test_who_trades_is_placed_first_and_is_given_time_to_end() -> None:
    (priority,) = [one for one in OBJECTS if one["kind"] == "PriorityClass"]
    live, batch = _run_pod("live_job"), _run_pod("backtest_job")
    assert live["spec"]["template"]["spec"]["priorityClassName"] == priority["metadata"]["name"]
    assert "priorityClassName" not in batch["spec"]["template"]["spec"]
    assert live["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 60


def test_the_instance_is_the_products_own_but_for_where_runs_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "hidden")
    made = instance_yaml(VALUES)
    judged = process_config(dagster_instance_config_schema(), made)
    assert judged.success, judged.errors
    for name in ("schedule_storage", "run_storage", "event_log_storage"):
        judged = process_config(pg_config(), made.pop(name)["config"])
        assert judged.success, judged.errors
    assert made.pop("run_launcher")["class"] == "K8sRunLauncher"
    assert made.pop("compute_logs")["class"] == "NoOpComputeLogManager"
    assert made.pop("scheduler")["class"] == "DagsterDaemonScheduler"
    product = dagster_yaml(Settings(_env_file=None))
    product.pop("storage")
    # A cluster has more room, and a run waits for a node; a session is never resumed by Dagster.
    assert made["run_monitoring"].pop("start_timeout_seconds") >= 180
    assert product["run_monitoring"].pop("start_timeout_seconds") == 180
    assert made["run_monitoring"].pop("max_resume_run_attempts") == 0
    (limit,) = made["concurrency"]["runs"]["tag_concurrency_limits"]
    (own,) = product["concurrency"]["runs"]["tag_concurrency_limits"]
    assert limit.pop("limit") >= own.pop("limit")
    assert made == product
    coordinator = made["run_coordinator"]
    ConfigurableClassData(
        coordinator["module"], coordinator["class"], yaml.safe_dump(coordinator["config"])
    ).rehydrate(as_type=object)


def test_a_command_in_a_pod_finds_the_charts_configuration() -> None:
    told = {one["name"]: one["value"] for one in CODE["env"]}
    file = Path(told["TRADE_PIPELINE_DAGSTER_YAML"])
    assert file.name == "dagster.yaml"
    (mounted,) = [one for one in CODE["volumeMounts"] if one["mountPath"] == str(file.parent)]
    (volume,) = [one for one in CODE["volumes"] if one["name"] == mounted["name"]]
    assert volume["configMap"] == {"name": INSTANCE_MAP}
    # Its server may use less memory than a run.
    assert CODE["includeConfigInLaunchedRuns"] == {"enabled": False}


def test_nothing_reaches_the_ui_but_the_proxy() -> None:
    assert VALUES["ingress"]["enabled"] is False
    assert VALUES["dagsterWebserver"]["service"]["type"] == "ClusterIP"
    (policy,) = [one for one in OBJECTS if one["kind"] == "NetworkPolicy"]
    (proxy,) = [one for one in OBJECTS if one["kind"] == "Deployment"]
    (rule,) = policy["spec"]["ingress"]
    (admitted,) = rule["from"]
    assert admitted["podSelector"]["matchLabels"] == proxy["metadata"]["labels"]
    (container,) = proxy["spec"]["template"]["spec"]["containers"]
    told = {one["name"]: one["value"] for one in container["env"]}
    assert told["TRADE_PIPELINE_UI_PORT"] == str(VALUES["dagsterWebserver"]["service"]["port"])
    for name in told:
        assert name in SETTINGS or name.startswith("XDG_") or (
            f"{{${name}:" in (DEPLOY / "Caddyfile").read_text()
        ), name  # fmt: skip


def test_the_database_is_outside_and_every_event_can_be_written_to_it() -> None:
    postgres = VALUES["postgresql"]
    assert postgres["enabled"] is False
    assert VALUES["generatePostgresqlPasswordSecret"] is False
    assert postgres["postgresqlScheme"] == "postgresql+psycopg2"
    assert postgres["postgresqlParams"]["sslmode"] == "verify-full"


def test_the_commands_of_the_pods_are_those_of_the_product() -> None:
    check_command(
        ["dagster", "code-server", "start", "-h", "0.0.0.0", "-p", str(CODE["port"]),
         *CODE["codeServerArgs"]]
    )  # fmt: skip
    (migrate,) = [one for one in OBJECTS if one["kind"] == "Job"]
    (container,) = migrate["spec"]["template"]["spec"]["containers"]
    check_command(container["command"])
    tags = {one["image"]["tag"] for one in _PODS}
    assert tags == {container["image"].rpartition(":")[2]}


def test_values_are_no_secrets() -> None:
    text = json.dumps(VALUES)
    assert "postgresqlPassword" not in text
    assert not re.search(r"://[^/\"]*:[^/\"]*@", text)
