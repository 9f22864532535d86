"""Commands about datasets: make one, list them, show one, and find those that hold a trade."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from trade_pipeline.cli.console import err, out, print_json, print_table
from trade_pipeline.cli.inputs import ConfigFile, Json, plain_settings, read_settings
from trade_pipeline.core.errors import BadConfig

app = typer.Typer(help="Versioned lists of trades in three splits.", no_args_is_help=True)


@app.command()
def build(
    market: Annotated[
        str | None, typer.Option(help="Only sessions on this kind of market.")
    ] = None,
    session: Annotated[
        list[str] | None, typer.Option(help="Only this session; may be given several times.")
    ] = None,
    config: ConfigFile = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, such as embargo_hours=24.")
    ] = None,
    include_imported: Annotated[
        bool,
        typer.Option(
            "--include-imported",
            help="With the trades of older bots, which have no features but the hour.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a dataset of every decision with an ended label, and store it."""
    from trade_pipeline.core.dataset.config import DatasetConfig
    from trade_pipeline.core.dataset.engineer import FeatureEngineer, default_config
    from trade_pipeline.core.session.stored import read_session
    from trade_pipeline.core.store.store import Store

    given = plain_settings(config, set_ or [])
    with Store.open(read_settings()) as store, err.status("reading the trades"):
        with store.database.connect("trade_reader") as connection:
            for one in session or ():
                read_session(connection, one)
        engineer = FeatureEngineer(store=store)
        frame = engineer.extract_all_features(
            sessions=session or None, market=market, include_imported=include_imported
        )
        if frame.empty:
            without = "" if include_imported else " (imported ones need --include-imported)"
            raise BadConfig(
                f"market={market!r}, session={session!r}: no decision is stored{without}"
            )
        label = {"label": default_config(frame).label}
        dataset = engineer.prepare_ml_dataset(frame, DatasetConfig.parse(label | given))
        is_new = engineer.store_dataset(dataset)
    facts = {
        "dataset": dataset.record.short_name,
        "version": dataset.version,
        "is_new": is_new,
        "counts": asdict(dataset.counts),
        "bounds": {name: asdict(bound) for name, bound in dataset.bounds.items()},
        "selected": dict(
            zip(dataset.preparation.features, dataset.preparation.scores, strict=True)
        ),
    }
    if as_json:
        print_json(facts)
        return
    out.print(f"[bold]{facts['dataset']}[/]{'' if is_new else ' (stored already)'}")
    print_table("Rows", [{"rows": name, "number": n} for name, n in asdict(dataset.counts).items()])
    print_table("Splits", [{"split": n, **asdict(b)} for n, b in dataset.bounds.items()])


@app.command(name="list")
def list_(as_json: Json = False) -> None:
    """Every stored dataset."""
    from trade_pipeline.core.dataset.membership import list_datasets
    from trade_pipeline.core.store.store import Store

    with Store.open(read_settings()) as store, store.database.connect("trade_reader") as connection:
        found = [asdict(one) for one in list_datasets(connection)]
    if as_json:
        print_json(found)
    elif found:
        counted = ("train", "validation", "test", "days")
        print_table(
            "Datasets",
            [
                {"name": one["short_name"], "market": one["market"], "kind": one["kind"]}
                | {name: one["counts"][name] for name in counted}
                for one in found
            ],
        )
    else:
        out.print("no dataset is stored")


@app.command()
def show(
    dataset: Annotated[str, typer.Argument(help="Version or short name.")],
    trades: Annotated[bool, typer.Option(help="List its trades with their splits.")] = False,
    as_json: Json = False,
) -> None:
    """One dataset: settings, counts, bounds, selected features, what its guards said."""
    from trade_pipeline.core.dataset.guards import newest_verdicts
    from trade_pipeline.core.dataset.membership import members_of, read_dataset
    from trade_pipeline.core.store.store import Store

    with Store.open(read_settings()) as store, store.database.connect("trade_reader") as connection:
        facts: dict[str, Any] = asdict(read_dataset(connection, dataset))
        facts["guards"] = newest_verdicts(connection, facts["dataset_version"])
        members = members_of(connection, dataset)
    if trades:
        facts["trades"] = members
    if as_json:
        print_json(facts)
        return
    for name in ("dataset_version", "name", "market", "kind", "feature_set"):
        out.print(f"{name.replace('_', ' '):>16}  {facts[name]}")
    for name in ("counts", "config", "guards"):
        print_table(name, [{"what": k, "value": v} for k, v in facts[name].items()])
    print_table("splits", [{"split": k, **v} for k, v in facts["bounds"].items()])
    if trades:
        print_table("trades", [{"uuid": k, "split": v} for k, v in members.items()])


@app.command()
def of(uuid: Annotated[str, typer.Argument(help="A trade's UUID.")], as_json: Json = False) -> None:
    """The datasets that hold a trade."""
    from trade_pipeline.core.dataset.membership import datasets_of
    from trade_pipeline.core.store.store import Store

    with Store.open(read_settings()) as store, store.database.connect("trade_reader") as connection:
        found = [
            {"version": version, "name": name, "split": split}
            for version, name, split in datasets_of(connection, uuid)
        ]
    if as_json:
        print_json(found)
    elif found:
        print_table(f"Datasets with {uuid}", found)
    else:
        out.print("no dataset holds this trade")
