"""Dagster's instance: its home, its storage, and a run of the backtest job in this process."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.session.engine import Progress
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.server_account import ServerError
from trade_pipeline.defs.queue import BATCH, KIND
from trade_pipeline.defs.resources import no_progress
from trade_pipeline.settings import Settings

DAGSTER_URL = "TRADE_PIPELINE_DAGSTER_URL"
RANGE_TAG = "dagster/asset_partition_range_"
_EVENTS_TOGETHER = 1_000


@dataclass(frozen=True, slots=True)
class JobRun:
    """A finished run of a job.

    Attributes:
        failures: why it failed: what the checks that refuse say, or else one message a failed
            step; empty when it succeeded.
        materialized: the metadata of each asset that was made, by its name.
    """

    run_id: str
    failures: tuple[str, ...]
    materialized: Mapping[str, Mapping[str, Any]]

    @property
    def success(self) -> bool:
        return not self.failures

    @property
    def session_id(self) -> str | None:
        """The backtest's session; None when it failed before the session was stored."""
        return self.materialized.get("trade_candidates", {}).get("session_id")


def project_file(name: str) -> Path:
    """A file of the project: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / name
    return packaged if packaged.is_file() else package.parent / name


@contextmanager
def dagster_server(settings: Settings) -> Iterator[EmbeddedPostgres | None]:
    """The embedded server that keeps Dagster's storage; None when the settings name another."""
    if _names_storage(settings):
        yield None
        return
    with EmbeddedPostgres(settings.home / "postgres") as server:
        yield server


def dagster_environment(settings: Settings, server: EmbeddedPostgres | None) -> dict[str, str]:
    """What every process of Dagster needs in its environment; makes DAGSTER_HOME."""
    home = settings.home.resolve()
    dagster_home = home / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    configuration = yaml.safe_dump(dagster_yaml(settings), sort_keys=False)
    new = dagster_home / f".dagster.yaml.{os.getpid()}"
    # One that somebody else wrote may hold a password.
    new.touch(mode=0o600)
    new.write_text(configuration)
    new.replace(dagster_home / "dagster.yaml")
    environment = {
        "TRADE_PIPELINE_HOME": str(home),
        "DAGSTER_HOME": str(dagster_home),
        # A run over a month materialises each asset thirty times: stored together.
        "DAGSTER_EVENT_BATCH_SIZE": str(_EVENTS_TOGETHER),
    }
    if server is not None:
        environment[DAGSTER_URL] = server.url("dagster", "dagster", "postgresql+psycopg2")
    elif settings.dagster_url is not None:
        environment[DAGSTER_URL] = settings.dagster_url.get_secret_value()
    if settings.database_url is not None:
        environment["TRADE_PIPELINE_DATABASE_URL"] = settings.database_url.get_secret_value()
    if settings.extensions:
        environment["TRADE_PIPELINE_EXTENSIONS"] = settings.extensions
    if settings.artifacts_url is not None:
        environment["TRADE_PIPELINE_ARTIFACTS_URL"] = settings.artifacts_url
    if settings.broker_url is not None:
        environment["TRADE_PIPELINE_BROKER_URL"] = settings.broker_url.get_secret_value()
    if settings.dagster_yaml is not None:
        environment["TRADE_PIPELINE_DAGSTER_YAML"] = str(settings.dagster_yaml.resolve())
    return environment


def command_environment(settings: Settings) -> dict[str, str]:
    """`dagster_environment` for a command that another starts servers for.

    Raises:
        BadConfig: Dagster's storage is neither named nor was an embedded server ever started.
    """
    if _names_storage(settings):
        return dagster_environment(settings, None)
    try:
        return dagster_environment(settings, EmbeddedPostgres(settings.home / "postgres"))
    except ServerError:
        raise BadConfig(
            "dagster_url=None: set TRADE_PIPELINE_DAGSTER_URL, or start the embedded server "
            "with `trade-pipeline db start`"
        ) from None


def dagster_yaml(settings: Settings) -> dict[str, Any]:
    """Dagster's configuration: dagster.yaml, and over it what the settings ask for.

    The file that the settings name, if any, is taken as it is.

    Raises:
        BadConfig: that file cannot be read or holds no mapping, or `dagster_url` or `broker_url` is
            set as well.
    """
    if settings.dagster_yaml is not None:
        return _given_yaml(settings, settings.dagster_yaml)
    merged = _yaml(project_file("dagster.yaml"))
    if settings.broker_url is not None:
        merged = overlaid(merged, _yaml(project_file("dagster.celery.yaml")))
    runs = {"tag_concurrency_limits": [{"key": KIND, "value": BATCH, "limit": settings.batch_runs}]}
    return overlaid(merged, {"concurrency": {"runs": runs}})


def overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """What is above wins; mappings are merged, all else (lists, too) is replaced."""
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[name] = overlaid(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _names_storage(settings: Settings) -> bool:
    return settings.dagster_url is not None or settings.dagster_yaml is not None


def _given_yaml(settings: Settings, file: Path) -> dict[str, Any]:
    for name in ("dagster_url", "broker_url"):
        if getattr(settings, name) is not None:
            raise BadConfig(
                f"{name}=(hidden): dagster_yaml={str(file)!r} tells that already; unset one of them"
            )
    try:
        read = _yaml(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise BadConfig(f"dagster_yaml={str(file)!r}: {told}") from None
    if not isinstance(read, dict):
        raise BadConfig(f"dagster_yaml={str(file)!r}: no configuration of Dagster")
    return read


def _yaml(file: Path) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(file.read_text())
    return read


@contextmanager
def dagster_instance(
    settings: Settings, server: EmbeddedPostgres | None
) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance for this process; ``server`` keeps its storage (None: see DAGSTER_URL)."""
    with _environment(dagster_environment(settings, server)), dg.DagsterInstance.get() as instance:
        yield instance


def run_backtest_job(
    settings: Settings,
    *,
    first: date,
    last: date,
    market: str = "simulated",
    data: Path | None = None,
    seed: int = 7,
    experiment: str | None = None,
    config: Mapping[str, Any] | None = None,
    progress: Progress = no_progress,
    instance: dg.DagsterInstance | None = None,
) -> JobRun:
    """Run the backtest job over the days ``first`` to ``last`` (both included) in this process.

    The UI shows the run as any other.  A failure is in the result and is not raised.

    Args:
        progress: called with (events so far, market time in microseconds).
        instance: an open instance whose environment is set; unset: that of the settings.
    """
    asset_config = {
        "market": market,
        "data": None if data is None else str(data.resolve()),
        "seed": seed,
        "experiment": experiment,
        "config": dict(config or {}),
    }
    with dagster_server(settings) if instance is None else nullcontext() as server:
        opened = dagster_instance(settings, server) if instance is None else nullcontext(instance)
        with opened as used:
            return run_job(
                used,
                "backtest_job",
                {"backtest_session": asset_config},
                days=(first, last),
                progress=progress,
            )


def run_job(
    instance: dg.DagsterInstance,
    job: str,
    configs: Mapping[str, Mapping[str, Any]],
    *,
    days: tuple[date, date] | None = None,
    progress: Progress = no_progress,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> JobRun:
    """Run a job in this process.  A failure is in the result and is not raised.

    Args:
        configs: by the name of an asset or a check.
        days: first and last one, of a job on daily partitions.
        run_id: of the run; unset: a new one.
        tags: of the run, besides those of its job.
    """
    from trade_pipeline.definitions import defs

    first, last = days or (None, None)
    result = defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        run_config={
            "ops": {name: {"config": dict(config)} for name, config in configs.items()},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        run_id=run_id,
        tags=dict(tags or {})
        | {
            f"{RANGE_TAG}{end}": day.isoformat()
            for end, day in (("start", first), ("end", last))
            if day is not None
        },
        resources={"progress": progress},
        raise_on_error=False,
    )
    return _job_run(result)


def failures_of(events: Iterable[dg.DagsterEvent]) -> tuple[str, ...]:
    """What the checks that refuse say, or else one message a failed step, of a run's events."""
    refused, failures = [], []
    for event in events:
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed:
                refused.append(f"{check.check_name}: {check.description}")
        elif event.is_step_failure:
            data = event.step_failure_data
            told = data.user_failure_data
            failures.append(
                told.description if told and told.description else str(data.error_display_string)
            )
    return tuple(refused or failures)


def _job_run(result: dg.ExecuteInProcessResult) -> JobRun:
    made: dict[str, dict[str, Any]] = {}
    for event in result.all_events:
        if event.is_step_materialization:
            found = event.step_materialization_data.materialization
            made[found.asset_key.to_user_string()] = {
                name: value.value for name, value in found.metadata.items()
            }
    if result.success:
        return JobRun(result.run_id, (), made)
    told = failures_of(result.all_events) or ("the run failed: see its page in the UI",)
    return JobRun(result.run_id, told, made)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
