"""The data contract of each table: a blocking check that shows every rule and what came of it.

Great Expectations takes seconds to import, so a run imports it only when the check begins.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict

import dagster as dg
import psycopg

from trade_pipeline.core.dataset.membership import newest_dataset
from trade_pipeline.core.report.contract_samples import Sample, read_members, read_sample
from trade_pipeline.core.report.contracts import CONTRACTS
from trade_pipeline.core.report.expectations import (
    Contract,
    ContractResult,
    RuleResult,
    Severity,
    check_contract,
)
from trade_pipeline.defs.markdown import records_table
from trade_pipeline.defs.report import session_of_run
from trade_pipeline.defs.resources import TradeStore

CHECK = "contract"
# Broken rules that the description names; the table has all of them.
_NAMED = 3

Read = Callable[[psycopg.Connection, Contract, str], Sample]


def session_rows(connection: psycopg.Connection, contract: Contract, run_id: str) -> Sample:
    """The rows of the session that a run made or replayed."""
    return read_sample(connection, contract, session_of_run(connection, run_id))


def dataset_rows(connection: psycopg.Connection, contract: Contract, run_id: str) -> Sample:
    """The members of the newest dataset."""
    return read_members(connection, newest_dataset(connection))


def _contracts(name: str, reads: Mapping[str, Read]) -> dg.AssetChecksDefinition:
    """The contracts of assets that none of each other waits for: they are judged in one step."""

    @dg.multi_asset_check(
        name=name,
        specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=asset,
                description="Types, ranges, missing values, keys, names and freshness are as "
                "promised.",
                blocking=True,
            )
            for asset in reads
        ],
        can_subset=True,
    )
    def judge(
        context: dg.AssetCheckExecutionContext, store: TradeStore
    ) -> Iterator[dg.AssetCheckResult]:
        asked = context.selected_asset_check_keys
        with store.open() as opened, opened.database.connect("trade_reader") as connection:
            for asset, read in reads.items():
                if dg.AssetCheckKey(dg.AssetKey(asset), CHECK) in asked:
                    started = time.perf_counter()
                    sample = read(connection, CONTRACTS[asset], context.run.run_id)
                    found = check_contract(CONTRACTS[asset], sample.frame, sample.rows)
                    yield contract_check(found, sample, time.perf_counter() - started)

    return judge


session_contracts = _contracts(
    "session_contracts",
    dict.fromkeys(
        ("research_documents", "trade_candidates", "trade_executions", "trade_outcomes"),
        session_rows,
    ),
)
learning_contracts = _contracts(
    "learning_contracts", dict.fromkeys(("shadow_outcomes", "trade_features"), session_rows)
)
dataset_contracts = _contracts("dataset_contracts", {"training_dataset": dataset_rows})


def contract_check(found: ContractResult, sample: Sample, seconds: float) -> dg.AssetCheckResult:
    """What came of a contract as a check: it fails with ``ERROR`` when a critical rule did.

    Warnings alone pass, with severity ``WARN`` and their names: a failed check holds back an
    automation that waits for passed ones, whatever its severity.
    """
    critical, warnings = found.failures(Severity.CRITICAL), found.failures(Severity.WARNING)
    told = [f"{len(critical)} rules broken: {_named(critical)}"] if critical else []
    told += [f"{len(warnings)} warnings: {_named(warnings)}"] if warnings else []
    warned = warnings and not critical
    return dg.AssetCheckResult(
        check_name=CHECK,
        asset_key=found.asset,
        passed=found.passed,
        severity=dg.AssetCheckSeverity.WARN if warned else dg.AssetCheckSeverity.ERROR,
        description=f"{sample.source}: "
        + ("; ".join(told) or f"all {len(found.rows)} rules hold for {len(sample.frame)} rows"),
        metadata={
            "rows_of": sample.source,
            "rows": sample.rows,
            "rows_checked": len(sample.frame),
            "failed_critical": len(critical),
            "failed_warning": len(warnings),
            "seconds": seconds,
            "rules": dg.MetadataValue.md(
                records_table(
                    [
                        asdict(row) | {"passed": "yes" if row.passed else "NO"}
                        for row in sorted(found.rows, key=lambda row: row.passed)
                    ]
                )
            ),
        },
    )


def _named(rows: list[RuleResult]) -> str:
    named = [f"{row.column}: {row.expected}; found {row.examples}" for row in rows[:_NAMED]]
    return " | ".join([*named, "..."] if len(rows) > _NAMED else named)
