"""The sessions of a live or paper account, decided again over what the account recorded."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import psycopg

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.errors import BadConfig, BadMarketData
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.export import export_recording
from trade_pipeline.core.market.recorded import RecordedMarket
from trade_pipeline.core.records import (
    Session,
)
from trade_pipeline.core.replay.account import LiveAccount, LiveTrade, account_of, read_account
from trade_pipeline.core.replay.comparison import LIMIT
from trade_pipeline.core.replay.difference import Difference
from trade_pipeline.core.replay.live_comparison import AccountReplay, LiveComparison
from trade_pipeline.core.replay.markets import Markets, NotAtHand
from trade_pipeline.core.replay.raw import raw_answers_note
from trade_pipeline.core.replay.redecision import Redecision
from trade_pipeline.core.replay.report import SessionReplay
from trade_pipeline.core.replay.scoring import Models
from trade_pipeline.core.session.backtest import rug_risk_of
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.engine import Progress
from trade_pipeline.core.session.stored import require_market, settings_of
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.opinion import DecidingModel

_EXCHANGE = (
    "own records, account gates, size and fills: its orders were filled by an exchange, and only "
    "that knows how"
)


class Accounts:
    """Replays accounts, each once."""

    def __init__(self, store: Store, connection: psycopg.Connection, markets: Markets) -> None:
        self._store, self._connection, self._markets = store, connection, markets
        self._done: dict[str, AccountReplay | NotAtHand] = {}

    def replay(
        self, session: Session, progress: Progress | None, only: UUID | None = None
    ) -> SessionReplay:
        """One session of an account, or one trade of it.

        Raises:
            NotAtHand: the account recorded no market, or a model that decided is missing.
        """
        account = account_of(self._connection, session.session_id)
        if account is None:
            raise NotAtHand("no account is known that this session traded")
        if account not in self._done:
            try:
                self._done[account] = self._replayed(account, session, progress)
            except NotAtHand as missing:
                self._done[account] = missing
        done = self._done[account]
        if isinstance(done, NotAtHand):
            raise done
        return self._result(done, session, only)

    def _replayed(self, account: str, session: Session, progress: Progress | None) -> AccountReplay:
        started = time.perf_counter()
        found = AccountReplay(read_account(self._connection, account))
        with tempfile.TemporaryDirectory(prefix="replay") as folder:
            market = self._market(account, session, Path(folder) / "recording", found)
            for settings, sessions in self._by_settings(found.account):
                self._decide(found, market, settings, sessions, progress)
        found.seconds = time.perf_counter() - started
        return found

    def _market(
        self, account: str, session: Session, folder: Path, found: AccountReplay
    ) -> RecordedMarket:
        """The recording of an account: given, or exported now."""
        market = self._markets.recording(account, session.market)
        if market is None:
            with self._store.database.connect("trade_reader", autocommit=True) as connection:
                try:
                    tape = export_recording(
                        connection, account, folder, market=session.market,
                        end=found.account.reached,
                        artifacts=self._store.artifacts,
                    )  # fmt: skip
                except (BadConfig, BadMarketData) as missing:
                    raise NotAtHand(f"the market is not at hand: {missing}") from None
            market = RecordedMarket(tape.folder)
            if tape.holes:
                first, last = (moment_of(at).isoformat() for at in tape.holes[0])
                found.notes.append(
                    f"{len(tape.holes)} ranges of the market were not recorded, the first from "
                    f"{first} to {last}: what follows one may differ"
                )
        require_market(session, market, account)
        return market

    def _by_settings(self, account: LiveAccount) -> list[tuple[TradingConfig, list[Session]]]:
        """Sessions with the same settings, besides the models that deployments change."""
        found: dict[bytes, tuple[TradingConfig, list[Session]]] = {}
        for session in account.sessions:
            try:
                settings = settings_of(self._store.artifacts, session)
            except FileNotFoundError:
                raise NotAtHand(f"settings {session.params_ptr} of the account are lost") from None
            lasting = settings.model_copy(update={"model": None, "fund_share": 1.0})
            found.setdefault(lasting.canonical(), (lasting, []))[1].append(session)
        return list(found.values())

    def _decide(
        self,
        found: AccountReplay,
        market: RecordedMarket,
        settings: TradingConfig,
        mine: list[Session],
        progress: Progress | None,
    ) -> None:
        """Decide all of the market with the settings of some sessions, and compare theirs."""
        account = found.account
        names = {one.session_id for one in mine}
        trades = [one for one in account.trades.values() if one.session_id in names]
        if not trades or market.manifest.decided is None:
            return
        models = self._models(list(account.trades.values()))
        start, end = market.manifest.decided
        session = replace(
            mine[0], mode="backtest", range_start=moment_of(start), range_end=moment_of(end)
        )
        clock = MarketClock(start)
        comparison = LiveComparison(self._connection, found, names, clock, end)
        run = Redecision(
            session, settings, feed=market, venue=settings.venue(market.kind), clock=clock,
            journal=comparison, rug_risk=rug_risk_of(self._store.artifacts, settings),
            progress=progress, stored=account, models=models, enters=not account.at_exchange,
        )  # fmt: skip
        run.run()
        comparison.finish(trades, run.unheard)
        if run.taken:
            told = ", ".join(f"{count:,} {what}" for what, count in sorted(run.taken.items()))
            found.notes.append(f"taken as recorded, because they came from outside: {told}")
        if len(names) < len(account.sessions):
            found.notes.append(
                "settings changed between the account's sessions: each is decided again with its "
                "own throughout, so that its account may differ"
            )

    def _models(self, trades: list[LiveTrade]) -> dict[str, DecidingModel]:
        models = Models(self._connection, self._store.artifacts)
        versions = {one.production for one in trades}
        versions |= {one.canary for one in trades if one.canary is not None}
        known = {}
        for version in sorted(versions):
            model = models.of(version)
            if isinstance(model, str):
                raise NotAtHand(model)
            known[version] = model
        return known

    def _result(self, done: AccountReplay, session: Session, only: UUID | None) -> SessionReplay:
        account = done.account
        trades = [one for one in account.trades.values() if one.session_id == session.session_id]
        if only is not None:
            trades = [one for one in trades if one.uuid == only]
        reached = [one for one in trades if one.uuid in done.compared]
        differences = [done.differences[one.uuid] for one in trades if one.uuid in done.differences]
        if only is None:
            # Decided again although nobody had: of the first session only, lest they count twice.
            extra = [one for uuid, one in done.differences.items() if uuid not in account.trades]
            differences += [one for one in extra if one.session_id == session.session_id]
        before = None if only is None else _before(done, differences)
        differing = {one.uuid for one in differences} & {str(one.uuid) for one in trades}
        same = len(reached) - len(differing)
        notes = [*done.notes, *self._explanations(account)]
        raw = [address for one in trades for address in one.raw_answers]
        if note := raw_answers_note(self._connection, self._store.artifacts, raw):
            notes.append(note)
        uncomputed = {}
        if account.at_exchange and reached:
            uncomputed[_EXCHANGE] = len(reached)
        if len(reached) < len(trades):
            uncomputed["everything: beyond what the account recorded"] = len(trades) - len(reached)
        return SessionReplay(
            session, "recording", trades=len(trades), different=len(differing),
            identical=0 if account.at_exchange else same,
            in_part=same if account.at_exchange else 0, not_computed=len(trades) - len(reached),
            records=done.records[session.session_id], found=len(differences),
            differences=tuple(sorted(differences, key=lambda one: one.seq))[:LIMIT],
            uncomputed=uncomputed, notes=tuple(notes), before=before, seconds=done.seconds,
        )  # fmt: skip

    @staticmethod
    def _explanations(account: LiveAccount) -> list[str]:
        notes = [f"the account was flattened: {one}" for one in account.flattened]
        if account.findings:
            told = ", ".join(f"{count} {kind}" for kind, count in account.findings.items())
            notes.append(f"reconciliation with the venue found: {told}")
        return notes


def _before(done: AccountReplay, mine: list[Difference]) -> Difference | None:
    """The first difference of an account, where it came before those of a trade."""
    first = min(done.differences.values(), key=lambda one: one.seq, default=None)
    return None if first is None or (mine and first.seq >= mine[0].seq) else first
