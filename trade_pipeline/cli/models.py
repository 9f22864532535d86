"""Commands about models: train one, ask its gates, list, show, compare and explain them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from trade_pipeline.cli.console import err, out, print_json, print_table, rows_progress
from trade_pipeline.cli.inputs import ConfigFile, Json, plain_settings, read_settings

app = typer.Typer(help="Trained models, and the gates that let one decide.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="Version or short name.")]


@app.command()
def train(
    dataset: Annotated[
        str | None, typer.Option(help="Version or short name; unset, the newest dataset.")
    ] = None,
    config: ConfigFile = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, such as trials=20.")
    ] = None,
    estimator: Annotated[
        str | None, typer.Option(help="Own estimator, module:Class, instead of trees.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a model on a stored dataset and register it.  It may not decide before its gates."""
    from trade_pipeline.core.extensions.load import name_module

    pairs = list(set_ or [])
    if estimator is not None:
        name_module(estimator)
        pairs.append(f"estimator={estimator}")

    from trade_pipeline.core.dataset.membership import newest_dataset
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.core.training.config import TrainingConfig
    from trade_pipeline.core.training.register import train_model

    settings = TrainingConfig.parse(plain_settings(config, pairs))
    with Store.open(read_settings()) as store:
        with store.database.connect("trade_reader") as connection:
            chosen = dataset or newest_dataset(connection)
        with rows_progress("searching hyper-parameters") as progress:
            record = train_model(store, chosen, settings, progress)
    facts = {
        "model": record.short_name,
        "version": record.model_version,
        "market": record.market,
        "params": dict(record.params),
        "validation": dict(record.metrics["validation"]),
    }
    if as_json:
        print_json(facts)
        return
    out.print(f"[bold]{record.short_name}[/]  ask its gates: trade-pipeline models evaluate")
    print_table("Validation", [dict(record.metrics["validation"])])
    print_table("Chosen", [{"parameter": k, "value": v} for k, v in record.params.items()])


@app.command()
def evaluate(
    model: Annotated[
        str | None, typer.Argument(help="Version or short name; unset, the newest model.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask every gate about a model and store what they say.  Ends with code 1 if one refuses."""
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.core.training.judgement import evaluate_model
    from trade_pipeline.core.training.registry import newest_model

    with Store.open(read_settings()) as store:
        with store.database.connect("trade_reader") as connection:
            chosen = model or newest_model(connection)
        with err.status("asking the gates"):
            evaluation = evaluate_model(store, chosen)
    facts = {
        "model": evaluation.model.short_name,
        "version": evaluation.model.model_version,
        "evaluation": evaluation.number,
        "passed": evaluation.passed,
        "gates": [asdict(gate) for gate in evaluation.gates],
    }
    if as_json:
        print_json(facts)
    else:
        print_table(
            f"{facts['model']}: {'every gate passed' if evaluation.passed else 'refused'}",
            [
                {"gate": g.name, "passed": g.passed, "why": "; ".join(g.reasons) or "-"}
                for g in evaluation.gates
            ],
        )
    if not evaluation.passed:
        raise typer.Exit(1)


@app.command()
def admit(model: Model, as_json: Json = False) -> None:
    """Ask every gate again, and make the model eligible if all pass.  Else it is refused."""
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.core.training.judgement import make_eligible

    with Store.open(read_settings()) as store, err.status("asking the gates"):
        evaluation = make_eligible(store, model)
    facts = {
        "model": evaluation.model.short_name,
        "version": evaluation.model.model_version,
        "eligible": True,
    }
    if as_json:
        print_json(facts)
    else:
        out.print(f"[bold]{facts['model']}[/] is eligible: every gate passed")


@app.command(name="list")
def list_(as_json: Json = False) -> None:
    """Every registered model."""
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.core.training.registry import list_models

    with Store.open(read_settings()) as store, store.database.connect("trade_reader") as connection:
        found = [asdict(one) for one in list_models(connection)]
    if as_json:
        print_json(found)
    elif found:
        shown = ("short_name", "market", "dataset", "evaluation", "eligible", "stage")
        print_table("Models", [{name: one[name] for name in shown} for one in found])
    else:
        out.print("no model is registered")


@app.command()
def show(model: Model, as_json: Json = False) -> None:
    """One model: what it was trained on and with, its metrics, what its gates said."""
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.core.training.registry import is_eligible, newest_evaluation, read_model

    with Store.open(read_settings()) as store, store.database.connect("trade_reader") as connection:
        record = read_model(connection, model)
        facts: dict[str, Any] = asdict(record)
        newest = newest_evaluation(connection, record.model_version)
        facts["eligible"] = is_eligible(connection, record.model_version)
    facts["gates"] = None if newest is None else newest[2]
    if as_json:
        print_json(facts)
        return
    for name in (
        "model_version", "name", "market", "kind", "dataset_version", "feature_set", "artifact",
        "code_version", "environment", "seed", "trials", "parent", "eligible",
    ):  # fmt: skip
        out.print(f"{name.replace('_', ' '):>16}  {facts[name]}")
    print_table("Validation", [facts["metrics"]["validation"]])
    print_table("Folds", list(facts["metrics"]["cross_validation"]["folds"]))
    print_table("Chosen", [{"parameter": k, "value": v} for k, v in facts["params"].items()])
    print_table(
        "Gates",
        [
            {"gate": name, "passed": verdict.passed, "why": "; ".join(verdict.reasons) or "-"}
            for name, verdict in (facts["gates"] or {}).items()
        ],
    )


@app.command()
def diff(one: Model, other: Model, as_json: Json = False) -> None:
    """In what two models differ."""
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.core.training.registry import diff_models, read_model

    with Store.open(read_settings()) as store, store.database.connect("trade_reader") as connection:
        found = [
            {"what": what, "one": left, "other": right}
            for what, left, right in diff_models(
                read_model(connection, one), read_model(connection, other)
            )
        ]
    if as_json:
        print_json(found)
    elif found:
        shown = [row for row in found if ".trial_days" not in row["what"]]
        print_table(f"{one} and {other}", shown)
    else:
        out.print("they are the same model")


@app.command()
def explain(
    model: Model,
    picture: Annotated[
        Path | None, typer.Option(help="PNG to write: a dot a row for each input.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What moves a model's confidence, alone and in pairs."""
    from trade_pipeline.core.report.model_pictures import shapley_png
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.core.training.explanation import (
        explain_model,
        explained_rows,
        shapley_values,
    )

    with Store.open(read_settings()) as store, err.status("looking at every fold"):
        found = explain_model(store, model)
        if picture is not None:
            picture.write_bytes(shapley_png(shapley_values(*explained_rows(store, model))))
    if as_json:
        print_json(asdict(found))
        return
    print_table("Inputs", [asdict(one) for one in found.influences[:20]])
    print_table("Pairs: hypotheses", [asdict(one) for one in found.interactions[:15]])
