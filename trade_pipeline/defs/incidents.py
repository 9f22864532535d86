"""Watches the machinery around trading: what is stale, too full or failed becomes an incident.

Incidents are records; `alert_sensor` tells of them as of everything else.  The checks named `fresh`
show the same facts at their assets.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from trade_pipeline.defs.dagster_incidents import (
    ASSETS,
    RUNS,
    TICKS,
    ended_runs,
    failed_ticks,
    stale_assets,
)
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.settings import Settings

WATCHED = ("market_events", "live_session", "production_model")
FRESH = "fresh"
# Subjects of what is read from the records and of the disks.
_STALE = ("live session of ", "market data of ", "training of ", "monitoring of ")
_DISK = "disk of the "
# A sensor that is new looks so far back for runs that failed.
_AT_FIRST = timedelta(hours=1)


def _stale(store: TradeStore) -> dict[str, dict[str, str | None]]:
    """Why each subject of an asset is stale, or None, by asset."""
    from trade_pipeline.core.freshness.policy import FreshnessConfig
    from trade_pipeline.core.freshness.read import read_freshness

    config = FreshnessConfig.parse(Settings().freshness)
    found: dict[str, dict[str, str | None]] = {asset: {} for asset in WATCHED}
    with store.open() as opened, opened.database.connect("trade_reader") as connection:
        for one in read_freshness(connection, config):
            found[one.asset][one.subject] = one.stale(datetime.now(UTC))
    return found


def _told(stale: Mapping[str, str | None]) -> tuple[bool, str]:
    """Whether an asset is fresh, and what is to be said of it."""
    wrong = [f"{subject}: {why}" for subject, why in stale.items() if why is not None]
    if wrong:
        return False, "; ".join(wrong)
    return True, f"as it should be: {', '.join(stale)}" if stale else "nothing of it is traded now"


@dg.multi_asset_check(
    name="freshness",
    specs=[
        dg.AssetCheckSpec(
            FRESH,
            asset=asset,
            description="Of the accounts that are wanted now: not older than it may be "
            "(TRADE_PIPELINE_FRESHNESS). Looked at twice a minute by incident_sensor.",
        )
        for asset in WATCHED
    ],
    can_subset=True,
)
def freshness(
    context: dg.AssetCheckExecutionContext, store: TradeStore
) -> Iterator[dg.AssetCheckResult]:
    """How old the market data, the sessions and the models of wanted accounts are."""
    wanted = {key.asset_key.to_user_string() for key in context.selected_asset_check_keys}
    for asset, stale in _stale(store).items():
        if asset in wanted:
            passed, text = _told(stale)
            yield dg.AssetCheckResult(
                check_name=FRESH,
                asset_key=asset,
                passed=passed,
                severity=dg.AssetCheckSeverity.ERROR,
                description=text,
            )


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Notes what is stale, too full or failed as incidents, of which alert_sensor "
    "tells; starts no run.",
)
def incident_sensor(
    context: dg.SensorEvaluationContext, store: TradeStore
) -> dg.SensorResult | dg.SkipReason:
    """Once when it begins and once when it is over."""
    from trade_pipeline.core.freshness.read import least_free
    from trade_pipeline.core.incidents.incident import note_all, open_incidents
    from trade_pipeline.core.store.room import disks_of

    since = (
        datetime.fromisoformat(context.cursor) if context.cursor else datetime.now(UTC) - _AT_FIRST
    )
    stale = _stale(store)
    runs, upto = ended_runs(context.instance, since)
    with store.open() as opened, opened.database.connect(autocommit=True) as connection:
        least = least_free(connection)
        full = {f"{_DISK}{one.holds}": one.lacks(least) for one in disks_of(opened)}
        every = {subject: why for one in stale.values() for subject, why in one.items()}
        changed = note_all(connection, _STALE, every)
        changed |= note_all(connection, (_DISK,), full)
        changed |= note_all(connection, TICKS, failed_ticks(context.instance))
        changed |= note_all(connection, ASSETS, stale_assets(context.instance))
        # Of jobs that nobody ran since, nothing is new.
        still = {
            one.subject: one.reason
            for one in open_incidents(connection)
            if one.subject.startswith(RUNS)
        }
        changed |= note_all(connection, RUNS, still | runs)
        now_open = [one.subject for one in open_incidents(connection)]
    _show(context.instance, stale, changed)
    context.update_cursor(upto.isoformat())
    return dg.SkipReason("; ".join(now_open) or "nothing is wrong")


def _show(
    instance: dg.DagsterInstance,
    stale: Mapping[str, Mapping[str, str | None]],
    changed: set[str],
) -> None:
    """Give the assets' checks what changed, so that the UI has it without a run."""
    # What is over because nobody wants it any more is in no asset's list.
    gone = any(
        subject.startswith(_STALE) and not any(subject in one for one in stale.values())
        for subject in changed
    )
    for asset, subjects in stale.items():
        if gone or changed & set(subjects):
            passed, text = _told(subjects)
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=dg.AssetKey(asset),
                    check_name=FRESH,
                    passed=passed,
                    severity=dg.AssetCheckSeverity.ERROR,
                    description=text,
                    metadata={},
                )
            )
