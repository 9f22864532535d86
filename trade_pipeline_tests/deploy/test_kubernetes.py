"""Kubernetes: the values of Dagster's chart become an instance that is this product's, and jobs
that a cluster takes.

The chart's templates are not here; what they make of the values is Dagster's own configuration in
snake case, which Dagster's and dagster-k8s' schemas judge.
"""

from __future__ import annotations

import json
import re
from typing import Any

import kubernetes
import kubernetes_validate
import pytest
import yaml
from dagster import DagsterRun
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster._serdes import ConfigurableClassData
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job

from trade_pipeline.definitions import defs
from trade_pipeline.defs.instance import dagster_yaml
from trade_pipeline.settings import Settings
from trade_pipeline_tests.deploy.commands import check_command
from trade_pipeline_tests.deploy.composition import DEPLOY

VALUES: dict[str, Any] = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
(CODE,) = VALUES["dagster-user-deployments"]["deployments"]
LAUNCHER = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
VERSION = "1.32"
SETTINGS = {f"TRADE_PIPELINE_{name.upper()}" for name in Settings.model_fields}
# A pod's parts have the same names in the chart's values.
_PODS = (CODE, VALUES["dagsterWebserver"], VALUES["dagsterDaemon"])


def _named(key: str) -> str:
    return re.sub("([A-Z])", lambda m: f"_{m[1].lower()}", key)


def _snake(value: Any) -> Any:
    """As the chart writes dagster.yaml."""
    if isinstance(value, dict):
        return {_named(key): _snake(one) for key, one in value.items()}
    return [_snake(one) for one in value] if isinstance(value, list) else value


def _validate(made: dict[str, Any]) -> None:
    kubernetes_validate.validate(made, VERSION, strict=True)


def _run_pod(job: str) -> dict[str, Any]:
    """The job of Kubernetes in which a run of a job is executed."""
    shared = {
        "env_secrets": [one["name"] for one in CODE["envSecrets"]],
        "env": CODE["env"],
        "volumes": CODE["volumes"],
        "volume_mounts": CODE["volumeMounts"],
    }
    launcher = {
        "image_pull_policy": LAUNCHER["imagePullPolicy"],
        "resources": LAUNCHER["resources"],
        "security_context": LAUNCHER["securityContext"],
        # The objects of Kubernetes beneath keep their own names.
        # The objects of Kubernetes beneath keep their own names.
        "run_k8s_config": {_named(k): v for k, v in LAUNCHER["runK8sConfig"].items()},
    }
    tags = defs.resolve_job_def(job).tags
    # As the launcher merges them: its own, the code location's, the run's tags.
    context = K8sContainerContext.create_from_config({"k8s": launcher})
    context = context.merge(K8sContainerContext.create_from_config({"k8s": shared}))
    of_run = K8sContainerContext.create_for_run(
        DagsterRun(job_name=job, tags=tags), None, include_run_tags=True
    )
    context = context.merge(of_run)
    made = construct_dagster_k8s_job(
        DagsterK8sJobConfig(
            job_image="registry.example.org/trade-pipeline:0.1.0",
            dagster_home="/opt/dagster/dagster_home",
            instance_config_map="dagster-instance",
            postgres_password_secret="trade-pipeline-dagster",
        ),
        args=["dagster", "api", "execute_run"], job_name="run",
        user_defined_k8s_config=context.run_k8s_config,
    )  # fmt: skip
    plain: dict[str, Any] = kubernetes.client.ApiClient().sanitize_for_serialization(made)
    return plain


@pytest.mark.parametrize("made", OBJECTS, ids=lambda one: one["kind"])
def test_a_cluster_takes_what_the_chart_has_no_place_for(made: dict[str, Any]) -> None:
    _validate(made)


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
    _validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "it"}, "spec": spec})
    assert part["podSecurityContext"]["runAsUser"] == 10001
    assert part["securityContext"]["readOnlyRootFilesystem"] is True
    named = {one["name"] for one in part["env"] if one["name"].startswith("TRADE_PIPELINE_")}
    assert named <= SETTINGS


@pytest.mark.parametrize("job", ["backtest_job", "live_job", "halt_job"])
def test_a_run_is_a_job_that_a_cluster_takes(job: str) -> None:
    made = _run_pod(job)
    _validate(made)
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert made["spec"]["backoffLimit"] == 0
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"secretRef": {"name": "trade-pipeline"}} in container["envFrom"]
    assert {one["mountPath"] for one in container["volumeMounts"]} >= {"/tmp"}


def test_who_trades_is_placed_first_and_is_given_time_to_end() -> None:
    (priority,) = [one for one in OBJECTS if one["kind"] == "PriorityClass"]
    live, batch = _run_pod("live_job"), _run_pod("backtest_job")
    assert live["spec"]["template"]["spec"]["priorityClassName"] == priority["metadata"]["name"]
    assert "priorityClassName" not in batch["spec"]["template"]["spec"]
    assert live["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 60


def test_the_instance_is_the_products_own_but_for_where_runs_go() -> None:
    daemon = VALUES["dagsterDaemon"]
    coordinator = daemon["runCoordinator"]["config"]["customRunCoordinator"]
    runs = VALUES["concurrency"]["runs"]
    made = {
        "run_coordinator": coordinator,
        "concurrency": {
            "runs": {
                "max_concurrent_runs": runs["maxConcurrentRuns"],
                "tag_concurrency_limits": runs["tagConcurrencyLimits"],
            },
            "pools": _snake(VALUES["concurrency"]["pools"]),
        },
        "run_monitoring": _snake(daemon["runMonitoring"]),
        "run_retries": _snake(daemon["runRetries"]),
        "sensors": _snake(daemon["sensors"]),
        "schedules": _snake(daemon["schedules"]),
        "retention": {
            name: {"purge_after_days": VALUES["retention"][name]["purgeAfterDays"]}
            for name in ("schedule", "sensor")
        },
        "telemetry": VALUES["telemetry"],
        **VALUES["additionalInstanceConfig"],
    }
    judged = process_config(dagster_instance_config_schema(), made)
    assert judged.success, judged.errors
    product = dagster_yaml(Settings(_env_file=None))
    # A cluster has more room, and a run waits for a node; a session is never resumed by Dagster.
    assert made["run_monitoring"].pop("start_timeout_seconds") >= 180
    assert product["run_monitoring"].pop("start_timeout_seconds") == 180
    assert made["run_monitoring"].pop("max_resume_run_attempts") == 0
    (limit,) = made["concurrency"]["runs"]["tag_concurrency_limits"]
    (own,) = product["concurrency"]["runs"]["tag_concurrency_limits"]
    assert limit.pop("limit") >= own.pop("limit")
    # The database is told by the chart's own values.
    product.pop("storage")
    assert made == product
    ConfigurableClassData(
        coordinator["module"], coordinator["class"], yaml.safe_dump(coordinator["config"])
    ).rehydrate(as_type=object)


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
