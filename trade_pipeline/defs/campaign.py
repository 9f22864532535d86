"""A campaign: weeks of a market through the assets, as they would have come to pass.

Each step trades the next days with the models that are deployed then, labels what has ended, and
lets the evidence act: a training when it is due, a canary when a model is eligible, a look at it, a
look at production.  Everything goes through the jobs that a user has in the UI.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from trade_pipeline.core.campaign.config import CampaignConfig
from trade_pipeline.core.canary.deployments import Deployed, deployed
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.config import Config
from trade_pipeline.core.errors import BadConfig, TradePipelineError
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.market.simulator.config import SimulatorConfig
from trade_pipeline.core.market.source import market_in, open_market
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.engine import Progress
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.training.registry import read_model
from trade_pipeline.defs.instance import JobRun, run_job
from trade_pipeline.defs.resources import no_progress


class CampaignFailed(TradePipelineError):
    """A job did not succeed for a reason that no gate or check gives; its page tells more."""


@dataclass(frozen=True, slots=True)
class CampaignPlan:
    """What is traded, and how often something is decided.

    Attributes:
        first, last: days, both included.
        learn_days: that the heuristic trades before the first training, and that each training
            looks back.
        step_days: that are traded between two looks.
        retrain_days: between two trainings while no canary is there; each brings its own holdout.
        trading, dataset, training, canary, monitoring: settings that differ from the defaults.
        ends_after_rollback: one more step, then the story is told.
    """

    market: str
    first: date
    last: date
    learn_days: int
    step_days: int
    retrain_days: int
    data: Path | None = None
    seed: int = 7
    trading: Mapping[str, Any] = field(default_factory=dict)
    dataset: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    canary: Mapping[str, Any] = field(default_factory=dict)
    monitoring: Mapping[str, Any] = field(default_factory=dict)
    ends_after_rollback: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """Something that happened in a campaign.

    Attributes:
        day: of the market, the last one that was traded by then.
        what: trade, dataset, training, canary, look, monitoring or rollback.
        told: a sentence for people.
        facts: for programs.
    """

    day: date
    what: str
    told: str
    facts: Mapping[str, Any]


class Campaign:
    """Runs a plan, stage by stage.

    Args:
        instance: Dagster's, with the environment of the settings.
        progress: of the sessions, see `run_job`.

    Attributes:
        sessions: that were run so far.
    """

    def __init__(
        self,
        store: Store,
        instance: dg.DagsterInstance,
        plan: CampaignPlan,
        progress: Progress = no_progress,
    ) -> None:
        self._store = store
        self._instance = instance
        self._plan = plan
        self._progress = progress
        self._scope = Scope(plan.market)
        data = None if plan.data is None else str(plan.data.resolve())
        self._market: dict[str, Any] = {"market": plan.market, "data": data}
        self.sessions: list[str] = []
        exits = TradingConfig.parse(dict(plan.trading)).strategy.exits
        # Nearly every trade has ended by then.
        self._life = timedelta(hours=exits.max_hold_hours + 1)
        self._trained: date | None = None

    def run(self) -> Iterator[Stage]:
        """Everything that happens, as it happens.

        Raises:
            CampaignFailed: a job failed.
        """
        plan, day = self._plan, self._plan.first
        left = None
        while day <= plan.last and left != 0:
            days = plan.learn_days if day == plan.first else plan.step_days
            until = min(plan.last, day + timedelta(days=days - 1))
            yield self._trade(day, until)
            for stage in self._act(day, until):
                yield stage
                if stage.what == "rollback" and plan.ends_after_rollback:
                    left = 2
            left = None if left is None else left - 1
            day = until + timedelta(days=1)

    def _act(self, first: date, day: date) -> Iterator[Stage]:
        now, since = self._deployed(), self._trained
        if now.canary is None and (
            since is None or day - since >= timedelta(self._plan.retrain_days)
        ):
            # It labels the days itself.
            yield from self._learn(day)
        else:
            self._made(
                self._run("labelling_job", {"shadow_outcomes": self._market}, days=(first, day))
            )
        if now.canary is not None:
            yield self._look(day)
        if now.production is not None:
            yield from self._monitor(day)

    def _trade(self, first: date, last: date) -> Stage:
        decides = self._deployed()
        run = self._made(
            self._run(
                "backtest_job",
                {
                    "backtest_session": self._market
                    | {
                        "seed": self._plan.seed,
                        "config": dict(self._plan.trading),
                        "deployed": True,
                        "experiment": "campaign",
                    }
                },
                days=(first, last),
            )
        )
        assert run.session_id is not None
        self.sessions.append(run.session_id)
        report = run.materialized["performance_report"]
        who = "the heuristic"
        if decides.production is not None:
            who = self._name(decides.production.model_version)
        if decides.canary is not None:
            who += f", and {self._name(decides.canary.model_version)} on its windows"
        trades, pnl = report["trades"], report["total_pnl_usd"]
        return Stage(
            last,
            "trade",
            f"{who} traded {(last - first).days + 1} days: {trades} trades, {pnl:+,.0f} USD",
            {"session": run.session_id, "trades": trades, "pnl_usd": pnl},
        )

    def _learn(self, day: date) -> Iterator[Stage]:
        plan, self._trained = self._plan, day
        start = max(plan.first, day - timedelta(days=plan.learn_days - 1))
        known = _midnight(day + timedelta(days=1))
        settings = dict(plan.dataset) | {
            "start": _midnight(start).isoformat(),
            "end": (known - self._life).isoformat(),
            "known_until": known.isoformat(),
        }
        made = self._run(
            "learning_job",
            {
                "shadow_outcomes": self._market,
                "trade_features": self._market,
                "training_dataset": {
                    "market": plan.market, "sessions": self.sessions, "dataset": settings
                },
                "dataset_guards": self._market,
            },
            days=(start, day),
        )  # fmt: skip
        if "shadow_outcomes" not in made.materialized:
            raise CampaignFailed("; ".join(made.failures))
        if not made.success:
            yield Stage(day, "dataset", f"no dataset: {_first(made.failures)}", {})
            return
        dataset = made.materialized["training_dataset"]
        rows = dataset["dagster/row_count"]
        yield Stage(
            day, "dataset",
            f"dataset {dataset['dataset']}: {rows:,} labelled decisions, every leak guard passed",
            {"dataset": dataset["version"], "rows": rows},
        )  # fmt: skip
        trained = self._run("training_job", {"candidate_model": {"training": dict(plan.training)}})
        model = trained.materialized.get("candidate_model", {}).get("model")
        if model is None:
            raise CampaignFailed("; ".join(trained.failures))
        if not trained.success:
            yield Stage(
                day, "training", f"model {model} is refused: {_first(trained.failures)}",
                {"model": model, "eligible": False, "reasons": list(trained.failures)},
            )  # fmt: skip
            return
        yield Stage(
            day, "training", f"model {model} passed every gate", {"model": model, "eligible": True}
        )
        yield self._canary(day, model)

    def _canary(self, day: date, model: str) -> Stage:
        begun = self._run("canary_job", {"canary_deployment": {"canary": dict(self._plan.canary)}})
        if not begun.success:
            told = f"{model} does not begin as a canary: {_first(begun.failures)}"
            return Stage(day, "canary", told, {"model": model, "begun": False})
        return Stage(day, "canary", f"{model} begins as a canary", {"model": model, "begun": True})

    def _look(self, day: date) -> Stage:
        scope = {"market": self._plan.market}
        looked = self._run("promotion_job", {"canary_evaluation": scope, "production_model": scope})
        look = looked.materialized.get("canary_evaluation")
        if look is None:
            raise CampaignFailed("; ".join(looked.failures))
        model, decision, reasons = (look[name] for name in ("model", "decision", "reasons"))
        words = {
            "promote": "is promoted", "extend": "goes on", "rollback": "is rolled back",
            "expired": "expires",
        }  # fmt: skip
        return Stage(
            day,
            "rollback" if decision == "rollback" else "look",
            f"canary {model} {words[decision]}: {reasons}",
            {"model": model, "decision": decision, "reasons": reasons},
        )

    def _monitor(self, day: date) -> Iterator[Stage]:
        scope = {"market": self._plan.market, "monitoring": dict(self._plan.monitoring)}
        watched = self._run("monitoring_job", {"monitoring_report": scope})
        report = watched.materialized.get("monitoring_report")
        if report is None:
            raise CampaignFailed("; ".join(watched.failures))
        model, now = report["model"], self._deployed()
        if now.production is not None:
            told = "as expected" if watched.success else _first(watched.failures)
            yield Stage(
                day, "monitoring", f"{model} in production: {told}",
                {"model": model, "broken": list(watched.failures)},
            )  # fmt: skip
            return
        yield Stage(
            day, "rollback",
            f"{model} is rolled back: {_first(watched.failures)}; the heuristic decides again, "
            f"with {now.fund_share:.0%} of the fund",
            {"model": model, "broken": list(watched.failures), "fund_share": now.fund_share},
        )  # fmt: skip

    def _run(
        self,
        job: str,
        configs: Mapping[str, Mapping[str, Any]],
        *,
        days: tuple[date, date] | None = None,
    ) -> JobRun:
        return run_job(self._instance, job, configs, days=days, progress=self._progress)

    def _made(self, run: JobRun) -> JobRun:
        if not run.success:
            raise CampaignFailed("; ".join(run.failures))
        return run

    def _deployed(self) -> Deployed:
        with self._store.database.connect("trade_reader") as connection:
            return deployed(connection, self._scope)

    def _name(self, version: str) -> str:
        with self._store.database.connect("trade_reader") as connection:
            return read_model(connection, version).short_name


def simulated_plan(seed: int, after: datetime | None = None) -> CampaignPlan:
    """The simulated story: a model comes, decides, and falls when the regime changes.

    Args:
        after: the newest decision on the simulated market; the story is told later, because time
            does not go back and no model is judged on a holdout that another one was judged on.
    """
    config = CampaignConfig(seed=seed)
    if after is not None and after >= config.start:
        config = config.model_copy(update={"start": _midnight(after.date() + timedelta(days=2))})
    return CampaignPlan(
        "simulated",
        config.start.date(),
        config.end.date() - timedelta(days=1),
        learn_days=config.learning_days,
        step_days=1,
        retrain_days=config.learning_days,
        seed=seed,
        trading=_differing(config.trading()),
        dataset=_differing(config.dataset()),
        training=_differing(config.training()),
        canary=_differing(config.canary()),
        monitoring=_differing(config.monitoring()),
        ends_after_rollback=True,
    )


def _differing(config: Config) -> dict[str, Any]:
    """What differs from the defaults, as a launchpad takes it."""
    return config.model_dump(mode="json", exclude_defaults=True)


def recorded_plan(
    data: Path, first: date | None = None, last: date | None = None, *, seed: int = 7
) -> CampaignPlan:
    """A recording from a day to another (by default all of it), looked at every week.

    The first training comes after nine months, or after 60 % of a shorter range; each later one
    looks back as far, and comes when a holdout of its own has gone by.

    Raises:
        BadConfig: the days are none of the recording's.
        BadMarketData: no recording is in the folder.
    """
    market = market_in(data)
    feed = open_market(market, data=data, seed=seed, start=0, end=DAY, simulator=SimulatorConfig())
    start, end = (moment_of(at).date() for at in feed.span())
    first, last = first or start, last or end
    for name, day in (("first", first), ("last", last)):
        if not start <= day <= end:
            raise BadConfig(f"{name}={day}: the recording spans {start} to {end}")
    days = (last - first).days + 1
    learn = min(270, int(0.6 * days))
    if learn < 60:
        raise BadConfig(
            f"first={first}, last={last}: {days} days, expected at least 100: a model learns from "
            "60 and the rest has to show what it is worth"
        )
    return CampaignPlan(
        market, first, last, learn_days=learn, step_days=7, retrain_days=learn // 5 + 7, data=data,
        seed=seed,
    )  # fmt: skip


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _first(failures: Sequence[str]) -> str:
    return failures[0] if failures else "a check refused"
