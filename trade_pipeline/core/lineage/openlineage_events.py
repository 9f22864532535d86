"""A lineage as OpenLineage events: a run of a job for everything that was done.

The same thing has the same run, whenever and however often it is exported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    dataset_version_dataset,
    documentation_dataset,
    documentation_job,
    input_statistics_input_dataset,
    job_type_job,
    nominal_time_run,
    parent_run,
    processing_engine_run,
)
from openlineage.client.serde import Serde

from trade_pipeline.core.errors import StoreUnavailable
from trade_pipeline.core.lineage.activities import Activity, activities, merged
from trade_pipeline.core.lineage.graph import Kind, Lineage, Node

NAMESPACE = "trade_pipeline"
PRODUCER = f"urn:trade-pipeline:{version('trade-pipeline')}"
# Runs are named in it.
_RUNS = uuid5(NAMESPACE_URL, "urn:trade-pipeline:run")
# Kinds whose ids are content addresses, and so versions.
_VERSIONED = (Kind.DATASET, Kind.MODEL, Kind.PARAMS, Kind.ARTIFACT)


def events_of(found: Iterable[Lineage]) -> list[RunEvent]:
    """A START and a COMPLETE event for everything that was done, the oldest first."""
    nodes, edges = merged(found)
    return [
        _event(one, state)
        for one in activities(nodes, edges)
        for state in (RunState.START, RunState.COMPLETE)
    ]


def run_id(activity: str, key: str) -> UUID:
    """The run of an activity; a decision's is not the trade's own UUID, which names an object."""
    return uuid5(_RUNS, f"{activity}:{key}")


def write(events: Sequence[RunEvent], file: Path) -> None:
    """Write events as JSON, one a line."""
    file.write_text("".join(f"{Serde.to_json(event)}\n" for event in events))


def emit(events: Sequence[RunEvent]) -> None:
    """Send events to where the library's own settings say.

    Raises:
        StoreUnavailable: one was not taken; those before it were.
    """
    client = OpenLineageClient()
    try:
        for number, event in enumerate(events):
            try:
                client.emit(event)
            except Exception as error:
                # Each transport has errors of its own, and all of them say that it was not taken.
                raise StoreUnavailable(
                    f"OPENLINEAGE_URL: event {number + 1} of {len(events)} was not taken: {error}"
                ) from error
    finally:
        client.close()


def _event(one: Activity, state: RunState) -> RunEvent:
    return RunEvent(
        eventTime=one.at.isoformat(),
        eventType=state,
        producer=PRODUCER,
        run=Run(runId=str(run_id(one.kind, one.id)), facets=_run_facets(one)),
        job=Job(
            namespace=NAMESPACE,
            name=one.kind,
            facets={
                "jobType": job_type_job.JobTypeJobFacet(
                    processingType="BATCH", integration="TRADE_PIPELINE", jobType=one.kind.upper(),
                    producer=PRODUCER,
                ),
                "documentation": documentation_job.DocumentationJobFacet(
                    description=one.name, producer=PRODUCER
                ),
            },
        ),
        inputs=[_input(node) for node, _ in one.used.values()],
        outputs=[OutputDataset(NAMESPACE, _name(n), facets=_facets(n)) for n in one.made.values()],
    )  # fmt: skip


def _run_facets(one: Activity) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if one.within is not None:
        facets["parent"] = parent_run.ParentRunFacet(
            run=parent_run.Run(runId=str(run_id("session", one.within.id))),
            job=parent_run.Job(namespace=NAMESPACE, name="session"),
            producer=PRODUCER,
        )
    start, end = one.facts.get("range_start"), one.facts.get("range_end")
    if start is not None:
        facets["nominalTime"] = nominal_time_run.NominalTimeRunFacet(
            nominalStartTime=start.isoformat(),
            nominalEndTime=None if end is None else end.isoformat(),
            producer=PRODUCER,
        )
    if (code := one.facts.get("code_version")) is not None:
        facets["processing_engine"] = processing_engine_run.ProcessingEngineRunFacet(
            version=str(code), name=NAMESPACE, producer=PRODUCER
        )
    return facets


def _input(node: Node) -> InputDataset:
    more: dict[str, Any] = {}
    if node.kind is Kind.TRADES:
        more["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=node.facts["trades"], producer=PRODUCER
        )
    return InputDataset(NAMESPACE, _name(node), facets=_facets(node), inputFacets=more)


def _facets(node: Node) -> dict[str, Any]:
    facets: dict[str, Any] = {
        "documentation": documentation_dataset.DocumentationDatasetFacet(
            description=f"{node.kind.value.replace('_', ' ')} {node.name or node.id}",
            producer=PRODUCER,
        )
    }
    if node.kind in _VERSIONED:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(
            datasetVersion=node.id, producer=PRODUCER
        )
    return facets


def _name(node: Node) -> str:
    return f"{node.kind.value}/{node.id}"
