"""Commands about features: build the table, describe it, check it for leaks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trade_pipeline.cli.console import (
    err,
    out,
    print_json,
    print_table,
    rows_progress,
)
from trade_pipeline.cli.elsewhere import run_days, runs_elsewhere
from trade_pipeline.cli.inputs import Json, read_moment, read_settings
from trade_pipeline.core.errors import BadConfig

if TYPE_CHECKING:
    from trade_pipeline.core.market.feed import MarketFeed
    from trade_pipeline.core.records import Session
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.settings import Settings

app = typer.Typer(help="The feature vectors behind the decisions.", no_args_is_help=True)

SessionId = Annotated[
    str | None, typer.Option("--session", help="One session; unset, the newest backtest.")
]
Data = Annotated[Path | None, typer.Option(help="Folder of the recording that the session ran on.")]
Mentions = Annotated[
    Path | None, typer.Option(help="Folder with the hourly mention counts that it used.")
]


@app.command()
def build(
    session: SessionId = None,
    data: Data = None,
    mentions: Mentions = None,
    labels: Annotated[bool, typer.Option(help="Make the shadow outcomes as well.")] = True,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write the table here as Parquet, too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute a session's feature table from its market, compare it with what was stored at each
    decision, and store what is missing; then the label of every candidate.

    Where runs are executed elsewhere, by workers or a cluster, each day of the session is a run.
    """
    from trade_pipeline.core.store.store import Store

    settings = read_settings()
    with Store.open(settings) as store:
        found, feed = _session(store, session, data, mentions)
        if runs_elsewhere(settings):
            facts = _build_elsewhere(store, settings, found, data, mentions, labels)
        else:
            facts = _build_here(store, settings, found.session_id, feed, labels)
        if out_file is not None:
            out_file.write_bytes(store.artifacts.get(facts["table"]))
    if as_json:
        print_json(facts)
    else:
        _print_build(facts)
    if facts["differences"] or facts["failed"]:
        raise typer.Exit(1)


@app.command()
def online(
    market: Annotated[str, typer.Option(help="uniswap-v2, spot-1h or simulated.")],
    instruments: Annotated[list[str], typer.Argument(help="Names of tokens or pairs.")],
    at: Annotated[
        str | None, typer.Option(help="As known at this time (with a zone); unset, now.")
    ] = None,
    max_age_hours: Annotated[float, typer.Option(help="Older vectors are stale.")] = 24,
    as_json: Json = False,
) -> None:
    """The newest vector of some tokens, from the cache or else from the database."""
    from trade_pipeline.core.dataset.engineer import FeatureEngineer
    from trade_pipeline.core.features.hot import NEVER
    from trade_pipeline.core.features.registry import NAMES
    from trade_pipeline.core.ids import moment_of
    from trade_pipeline.core.market.source import MARKETS
    from trade_pipeline.core.store.store import Store

    if market not in MARKETS:
        raise BadConfig(f"market={market!r}: expected one of {', '.join(MARKETS)}")
    moment = None if at is None else read_moment("at", at)
    with Store.open(read_settings()) as store:
        read = FeatureEngineer(store=store).get_online_features(
            market, instruments, at=moment, max_age_hours=max_age_hours
        )
    found: list[dict[str, Any]] = [
        {
            "instrument": name,
            "source": source,
            "known_at": None if known_at == NEVER else moment_of(known_at).isoformat(),
            "vector": None if source is None else dict(zip(NAMES, vector, strict=True)),
        }
        for name, source, known_at, vector in zip(
            instruments, read.source, read.known_at.tolist(), read.vectors.tolist(), strict=True
        )
    ]
    if as_json:
        print_json({"notes": read.notes, "tokens": found})
        return
    for note in read.notes:
        err.print(note)
    for one in found:
        told = [{"feature": k, "value": v} for k, v in (one["vector"] or {}).items() if v == v]
        out.print(f"[bold]{one['instrument']}[/] {one['source'] or 'unknown'} {one['known_at']}")
        print_table("", told)


@app.command()
def describe(
    session: SessionId = None,
    values: Annotated[
        bool, typer.Option(help="Also what is missing, how values spread, and what drifts.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Every feature: family, unit, definition, source, version; with --values, of a session."""
    from trade_pipeline.core.features.registry import FEATURES, feature_set

    facts: dict[str, Any] = {
        "feature_set": feature_set(),
        "features": [asdict(feature) for feature in FEATURES],
    }
    if values:
        from trade_pipeline.core.dataset.frame import read_trade_frame
        from trade_pipeline.core.dataset.profile import profile_features
        from trade_pipeline.core.session.stored import read_session
        from trade_pipeline.core.store.store import Store

        with (
            Store.open(read_settings()) as store,
            store.database.connect("trade_reader") as connection,
        ):
            session_id = read_session(connection, session or _newest(connection)).session_id
            frame = read_trade_frame(connection, sessions=[session_id], include_imported=True)
        # The later half against the earlier one.
        later = frame["decided_at"] > frame["decided_at"].median()
        profiles = profile_features(frame, frame.attrs["features"], later)
        facts |= {"session_id": session_id, "profile": [asdict(one) for one in profiles]}
    if as_json:
        print_json(facts)
        return
    out.print(f"[bold]feature set {facts['feature_set']}[/], {len(facts['features'])} features")
    shown = ("name", "family", "unit", "definition", "source", "version")
    print_table("Features", [{k: one[k] for k in shown} for one in facts["features"]])
    if values:
        print_table(f"Values of session {facts['session_id']}", facts["profile"])


@app.command()
def check(
    dataset: Annotated[
        str | None, typer.Option(help="Version or short name; unset, the newest dataset.")
    ] = None,
    data: Data = None,
    mentions: Mentions = None,
    as_json: Json = False,
) -> None:
    """Ask every leak guard about a stored dataset, and keep the verdicts beside it.

    The recording must be given: what cannot be recomputed fails.  Ends with 1 when a guard fails.
    """
    from trade_pipeline.core.dataset.guards import guard_dataset, markets_of
    from trade_pipeline.core.dataset.membership import newest_dataset
    from trade_pipeline.core.store.store import Store

    with Store.open(read_settings()) as store:
        with store.database.connect("trade_reader") as connection:
            name = dataset or newest_dataset(connection)
        with err.status("asking the guards"):
            feeds = markets_of(store, name, data, mentions)
            version, guards = guard_dataset(store, name, feeds)
    facts = {
        "dataset": version,
        "passed": all(guard.passed for guard in guards),
        "guards": [asdict(guard) for guard in guards],
    }
    if as_json:
        print_json(facts)
    else:
        print_table(
            f"Guards of {version}",
            [
                {"guard": g.name, "passed": g.passed, "reasons": "; ".join(g.reasons[:3])}
                for g in guards
            ],
        )
    if not facts["passed"]:
        raise typer.Exit(1)


def _build_here(
    store: Store, settings: Settings, session_id: str, feed: MarketFeed, labels: bool
) -> dict[str, Any]:
    from trade_pipeline.core.dataset.feature_build import build_features
    from trade_pipeline.core.features.hot import HotFeatures
    from trade_pipeline.core.features.registry import NAMES, feature_set
    from trade_pipeline.core.outcome.shadow import label_session
    from trade_pipeline.core.store.valkey_server import open_cache

    with open_cache(settings) as client, rows_progress("computing vectors") as progress:
        made = build_features(
            store.database,
            store.artifacts,
            feed,
            session_id,
            hot=HotFeatures(client, feature_set(), NAMES),
            progress=progress,
        )
    facts = made.facts() | {"labels": None, "failed": []}
    if labels:
        with rows_progress("following every candidate") as progress:
            labelled = label_session(
                store.database, store.artifacts, feed, session_id, progress=progress
            )
        facts["labels"] = asdict(labelled)
    return facts


def _build_elsewhere(
    store: Store,
    settings: Settings,
    session: Session,
    data: Path | None,
    mentions: Path | None,
    labels: bool,
) -> dict[str, Any]:
    """The same by a run for each day, whose results are put together."""
    from trade_pipeline.core.dataset.feature_build import joined
    from trade_pipeline.core.outcome.shadow import summed
    from trade_pipeline.core.session.stored import decision_days
    from trade_pipeline.defs.features import BUILDS
    from trade_pipeline.defs.outcomes import LABELS

    config = {
        "market": session.market,
        "data": None if data is None else str(data.resolve()),
        "mentions": None if mentions is None else str(mentions.resolve()),
        "session": session.session_id,
    }
    with store.database.connect("trade_reader") as connection:
        days = decision_days(connection, session.session_id)
    made, failed = run_days(
        settings, "features_job", "trade_features", config, days, "days of vectors"
    )
    facts = joined(store, session.session_id, [build for one in made for build in one[BUILDS]])
    facts["labels"] = None
    if labels:
        labelled, more = run_days(
            settings, "labelling_job", "shadow_outcomes", config, days, "days of labels"
        )
        failed += more
        facts["labels"] = summed(
            session.session_id, [run for one in labelled for run in one[LABELS]]
        )
    facts["failed"] = failed
    return facts


def _session(
    store: Store, session: str | None, data: Path | None, mentions: Path | None
) -> tuple[Session, MarketFeed]:
    """A session, and its market."""
    from trade_pipeline.core.session.stored import (
        market_of,
        read_session,
        require_market,
        settings_of,
    )

    with store.database.connect("trade_reader") as connection:
        stored = read_session(connection, session or _newest(connection))
    feed = market_of(stored, settings_of(store.artifacts, stored), data, mentions)
    require_market(stored, feed)
    return stored, feed


def _newest(connection: Any) -> str:
    """The newest backtest.

    Raises:
        BadConfig: there is none.
    """
    row = connection.execute(
        "SELECT session_id FROM trade.sessions WHERE mode = 'backtest' "
        "ORDER BY recorded_at DESC LIMIT 1"
    ).fetchone()
    if row is None:
        raise BadConfig("no session is stored: run `trade-pipeline backtest` first")
    return str(row[0])


def _print_build(facts: dict[str, Any]) -> None:
    out.print(f"[bold]session {facts['session_id']}[/], feature set {facts['feature_set']}")
    shown = ("rows", "new_rows", "differences", "published", "missing_share", "table", "seconds")
    for name in shown:
        value = facts[name]
        out.print(
            f"{name.replace('_', ' '):>16}  {value if isinstance(value, str) else f'{value:,}'}"
        )
    print_table("Runs that failed", facts["failed"])
    print_table("Values that differ from what was stored", facts["first_differences"])
    if facts["labels"] is not None:
        print_table("Labels", [{"what": k, "value": v} for k, v in facts["labels"].items()])
