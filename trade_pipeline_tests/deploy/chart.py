"""What Dagster's chart makes of deploy/helm-values.yaml.

The chart itself is not here: this says in Python what its templates (1.13: configmap-instance.yaml,
instance/_run-launcher.tpl, deployment-user.yaml) write for the values that the file has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from trade_pipeline_tests.deploy.composition import DEPLOY

DAGSTER_HOME = "/opt/dagster/dagster_home"
VALUES_FILE = DEPLOY / "helm-values.yaml"
# The release of docs/deployment.md.
INSTANCE_MAP = "dagster-instance"
# What the templates pass on of the launcher's values.
_LAUNCHER = (
    "imagePullPolicy", "loadInclusterConfig", "kubeconfigFile", "volumes", "volumeMounts",
    "resources", "securityContext",
)  # fmt: skip


def read_values(text: str | None = None) -> dict[str, Any]:
    """The values, their aliases resolved."""
    read: dict[str, Any] = yaml.safe_load(VALUES_FILE.read_text() if text is None else text)
    return read


def code_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The only code location."""
    (code,) = values["dagster-user-deployments"]["deployments"]
    found: dict[str, Any] = code
    return found


def snake(key: str) -> str:
    return re.sub("([A-Z])", lambda m: f"_{m[1].lower()}", key)


def launcher_config(
    values: Mapping[str, Any], namespace: str = "default", dagster_home: str = DAGSTER_HOME
) -> dict[str, Any]:
    """The configuration of `K8sRunLauncher`."""
    given = values["runLauncher"]["config"]["k8sRunLauncher"]
    assert set(given) <= {*_LAUNCHER, "envSecrets", "runK8sConfig"}
    return {
        "job_namespace": namespace,
        "service_account_name": "dagster",
        "dagster_home": dagster_home,
        "instance_config_map": INSTANCE_MAP,
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        "env_secrets": [one["name"] for one in given["envSecrets"]],
        # The objects of Kubernetes beneath keep their own names.
        "run_k8s_config": {snake(key): one for key, one in given["runK8sConfig"].items()},
        **{snake(key): given[key] for key in _LAUNCHER if key in given},
    }


def instance_yaml(values: Mapping[str, Any], **given: str) -> dict[str, Any]:
    """dagster.yaml in the config map, which is Dagster's configuration in every pod.

    Raises:
        AssertionError: the chart would write a part itself that `additionalInstanceConfig` has.
    """
    daemon, postgres = values["dagsterDaemon"], values["postgresql"]
    parts = ("runCoordinator", "runMonitoring", "runRetries")
    assert not any(daemon[part]["enabled"] for part in parts)
    assert not any(daemon[part]["useThreads"] for part in ("sensors", "schedules"))
    assert not values["retention"]["enabled"]
    # Off unless it is turned on.
    assert "concurrency" not in values
    storage = {
        "postgres_db": {
            "username": postgres["postgresqlUsername"],
            "password": {"env": "DAGSTER_PG_PASSWORD"},
            "hostname": postgres["postgresqlHost"],
            "db_name": postgres["postgresqlDatabase"],
            "port": postgres["service"]["port"],
            "params": postgres["postgresqlParams"],
            "scheme": postgres["postgresqlScheme"],
        }
    }
    assert values["runLauncher"]["type"] == "K8sRunLauncher"
    assert values["computeLogManager"] == {"type": "NoOpComputeLogManager"}
    made = {
        "scheduler": {"module": "dagster.core.scheduler", "class": "DagsterDaemonScheduler"},
        "run_launcher": {
            "module": "dagster_k8s",
            "class": "K8sRunLauncher",
            "config": launcher_config(values, **given),
        },
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        },
        "telemetry": values["telemetry"],
        **{
            f"{name}_storage": {
                "module": f"dagster_postgres.{module}",
                "class": f"Postgres{kind}Storage",
                "config": storage,
            }
            for name, module, kind in (
                ("schedule", "schedule_storage", "Schedule"),
                ("run", "run_storage", "Run"),
                ("event_log", "event_log", "EventLog"),
            )
        },
    }
    more: dict[str, Any] = values["additionalInstanceConfig"]
    # The chart writes them one after the other.
    assert not set(made) & set(more)
    return made | more
