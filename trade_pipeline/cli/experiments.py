"""Commands for experiments: many sessions that differ in their settings, and their comparison."""

from __future__ import annotations

import math
import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trade_pipeline.cli.console import batch_progress, err, out, print_json, print_table
from trade_pipeline.cli.elsewhere import INTERRUPTED, runs_elsewhere
from trade_pipeline.cli.inputs import Json, read_settings
from trade_pipeline.core.errors import BadConfig

if TYPE_CHECKING:
    from trade_pipeline.core.experiment.comparison import Comparison
    from trade_pipeline.core.experiment.judgement import GroupResult, VariantResult
    from trade_pipeline.core.experiment.plan import Plan
    from trade_pipeline.core.store.store import Store

app = typer.Typer(help="Batches of sessions that are compared.", no_args_is_help=True)


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="The experiment: YAML, TOML or JSON.")],
    workers: Annotated[
        int | None,
        typer.Option(help="Sessions at once; unset, what processors, workers or the queue allow."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="List the sessions and run none.")] = False,
    as_json: Json = False,
) -> None:
    """Run the sessions of an experiment that are not stored yet, and compare all of them.

    Run again, it goes on where it was interrupted.
    """
    from trade_pipeline.core.experiment.comparison import compare
    from trade_pipeline.core.experiment.definition import read_definition
    from trade_pipeline.core.experiment.plan import plan_of, require_models
    from trade_pipeline.core.experiment.stored import finished
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.defs.experiment_runs import require_days

    if workers is not None and workers < 1:
        raise BadConfig(f"workers={workers}: expected at least 1")
    definition = read_definition(file)
    for market in definition.markets:
        require_days(market)
    plan = plan_of(definition)
    with Store.open(read_settings()) as store:
        with store.database.connect("trade_reader") as connection:
            require_models(connection, store.artifacts, plan)
            stored = finished(connection, [one.session_id for one in plan.sessions])
        err.print(_told(plan, len(stored)), soft_wrap=True)
        if dry_run:
            _list(plan, stored, as_json)
            return
        failed = _run_missing(store, plan, stored, workers, file)
        with store.database.connect("trade_reader") as connection:
            comparison = compare(connection, store.artifacts, plan.design.name)
    if as_json:
        print_json(asdict(comparison) | {"failed": failed})
    else:
        _print_comparison(comparison)
        print_table("Sessions that failed", failed)
    if failed:
        raise typer.Exit(1)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The experiment's name.")], as_json: Json = False
) -> None:
    """Compare the variants of a stored experiment."""
    from trade_pipeline.core.experiment.comparison import compare
    from trade_pipeline.core.store.store import Store

    with Store.open(read_settings()) as store, store.database.connect("trade_reader") as connection:
        comparison = compare(connection, store.artifacts, name)
    if as_json:
        print_json(asdict(comparison))
    else:
        _print_comparison(comparison)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """The stored experiments, the newest first."""
    from trade_pipeline.core.experiment.stored import experiments
    from trade_pipeline.core.store.store import Store

    with Store.open(read_settings()) as store, store.database.connect("trade_reader") as connection:
        found = [asdict(one) for one in experiments(connection)]
    if as_json:
        print_json(found)
        return
    for one in found:
        one["begun"] = f"{one['begun']:%Y-%m-%d %H:%M}"
        one["definition"] = (one["definition"] or "by hand")[:19]
    print_table("Experiments", found)
    if not found:
        out.print("No experiment is stored.")


def _run_missing(
    store: Store, plan: Plan, stored: set[str], workers: int | None, file: Path
) -> list[dict[str, str]]:
    """Run what is not stored, link all that is, and make the report in the UI; gives failures."""
    from trade_pipeline.core.experiment.stored import begin_experiment, only_runner
    from trade_pipeline.core.ledger.experiments import link_experiment
    from trade_pipeline.defs.experiment_runs import end_ghosts, launch_sessions, run_sessions
    from trade_pipeline.defs.instance import (
        dagster_environment,
        dagster_instance,
        dagster_server,
        run_job,
    )
    from trade_pipeline.defs.process_group import Told, signals_end_it

    settings, name = read_settings(), plan.design.name
    missing = [one for one in plan.sessions if one.session_id not in stored]
    log = settings.home.resolve() / "dagster" / "experiments.log"
    with (
        store.database.connect() as connection,
        only_runner(connection, name),
        dagster_server(settings) as server,
        dagster_instance(settings, server) as instance,
    ):
        begin_experiment(connection, store.artifacts, plan.design)
        for one in plan.sessions:
            if one.session_id in stored:
                link_experiment(connection, name, one.session_id)
        connection.commit()
        if ghosts := end_ghosts(instance, name):
            err.print(f"{ghosts} runs of a command that was killed are reported as failed")
        try:
            with signals_end_it(), batch_progress(len(missing)) as advance:
                if runs_elsewhere(settings):
                    failed = launch_sessions(instance, name, missing, workers, advance)
                else:
                    failed = run_sessions(
                        instance,
                        dagster_environment(settings, server),
                        name,
                        missing,
                        workers or os.cpu_count() or 1,
                        advance,
                        log,
                    )
        except Told:
            done = _count_stored(store, plan)
            err.print(
                f"Stopped: {done} of {len(plan.sessions)} sessions are stored. To go on: "
                f"trade-pipeline experiment run {shlex.quote(str(file))}",
                soft_wrap=True,
            )
            raise typer.Exit(INTERRUPTED) from None
        report = run_job(instance, "experiment_job", {"experiment_report": {"experiment": name}})
        if not report.success:
            err.print(f"No report in the UI: {'; '.join(report.failures)}", soft_wrap=True)
    return [
        {"variant": one.session.variant, "on": str(one.session.world), "why": one.why,
         "run": one.run_id}
        for one in failed
    ]  # fmt: skip


def _count_stored(store: Store, plan: Plan) -> int:
    from trade_pipeline.core.experiment.stored import finished

    with store.database.connect("trade_reader") as connection:
        return len(finished(connection, [one.session_id for one in plan.sessions]))


def _told(plan: Plan, stored: int) -> str:
    variants, worlds = len(plan.design.variants), len(plan.design.worlds)
    return (
        f"{plan.design.name}: {variants} variants x {worlds} "
        f"market{'' if worlds == 1 else 's'} = {len(plan.sessions)} sessions, {stored} stored"
    )


def _list(plan: Plan, stored: set[str], as_json: bool) -> None:
    rows = [
        {
            "variant": one.variant,
            "on": str(one.world),
            "session_id": one.session_id,
            "stored": one.session_id in stored,
        }
        for one in plan.sessions
    ]
    if as_json:
        print_json({"definition": plan.design.address, "sessions": rows})
    else:
        print_table("Sessions", rows)


def _print_comparison(found: Comparison) -> None:
    out.print(f"[bold]experiment {found.experiment}[/] ({found.metric})  {found.definition[:19]}")
    if found.description:
        out.print(found.description, markup=False, highlight=False)
    rows = [
        {"variant": name, "differs from the baseline in": _settings(one)}
        for name, one in found.differing.items()
    ]
    print_table(f"Variants against {found.baseline}", rows)
    if not found.complete:
        out.print(f"{found.stored} of {found.sessions} sessions are stored.")
    if found.left_out:
        out.print(f"Not compared, because variants are missing: {'; '.join(found.left_out)}")
    for group in found.groups:
        _print_group(group, found)
    if len(found.groups) > 1:
        out.print("Kinds of markets are compared on their own; `pool: true` takes them together.")


def _print_group(group: GroupResult, found: Comparison) -> None:
    out.print()
    out.print(f"[bold]{group.market}[/]: {_worlds(group.worlds)} ({group.days} days)")
    print_table("", [_own(one, group.unit) for one in group.variants])
    rows = [_against(one) for one in group.variants if one.variant != found.baseline]
    print_table(f"{group.unit} more than {found.baseline}", rows)
    for sentence in group.words:
        out.print(f"- {sentence}", markup=False, highlight=False)
    out.print(f"[dim]{found.method}[/]")


def _worlds(worlds: tuple[str, ...]) -> str:
    """Worlds in few words: the seeds of one market together."""
    seeds: dict[str, list[str]] = {}
    for world in worlds:
        market, _, seed = world.partition(", seed ")
        seeds.setdefault(market, []).append(seed)
    return "; ".join(
        f"{market}, seed {', '.join(some)}" if all(some) else market
        for market, some in seeds.items()
    )


def _own(one: VariantResult, unit: str) -> dict[str, Any]:
    from trade_pipeline.core.experiment.judgement import signed

    return {
        "variant": one.variant,
        "trades": one.trades,
        "P&L USD": signed(one.pnl_usd),
        "mean %": signed(one.mean_return_pct),
        unit: _with_range(one.metric, one.low, one.high),
    }


def _against(one: VariantResult) -> dict[str, Any]:
    return {
        "variant": one.variant,
        "more": _with_range(one.difference, one.difference_low, one.difference_high),
        "p": f"{one.p_value:.3f}" if math.isfinite(one.p_value) else "-",
        "verdict": one.verdict,
    }


def _with_range(value: float, low: float, high: float) -> str:
    from trade_pipeline.core.experiment.judgement import signed

    if math.isnan(value):
        return "-"
    told = "any" if not math.isfinite(low) else f"{signed(low)} to {signed(high)}"
    return f"{signed(value)} ({told})"


def _settings(differing: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in differing.items()) or "-"
