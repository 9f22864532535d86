"""The whole system in one process: a live session, outside of Dagster."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from trade_pipeline.core.alerts.now import teller
from trade_pipeline.core.clock import SystemClock
from trade_pipeline.core.config import read_file
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.live.config import LiveConfig, ReplayConfig
from trade_pipeline.core.live.lease import read_lease
from trade_pipeline.core.live.run import trade
from trade_pipeline.core.live.session import live_session_id
from trade_pipeline.core.live.stored import read_account
from trade_pipeline.core.report.performance import sessions_report
from trade_pipeline.core.store.closing import Closing
from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings

log = logging.getLogger("trade_pipeline.live")
# Of the simulated market that is traded where none is named.
_DAYS = timedelta(days=2)
_UNWATCHED = "what is open stays open, and nobody watches it until the next start"


class IntegratedTradingBot(Closing):
    """Trades an account as its market arrives, with all that a live session has: one holder of the
    account's lease, recovery at the start, the deployed models, protections, the kill switch, and
    every decision, order and outcome under one UUID.

    `trade-pipeline watch` shows it while it trades, `trade-pipeline live stop` ends it, and so does
    cancelling it (Ctrl-C); its positions stay open for the next start.

    Args:
        small_fund_usd: the cash with which the strategy begins.  What it wins is traded, too.
        total_fund_usd: the whole account: never is more than this in open positions and entries at
            once, whatever was won.  It is not compared with what an exchange holds: an order that
            the exchange's balance does not cover is refused there.
        coinmarketcap_api_key, coingecko_api_key: for the providers of a real market, instead of
            those of the settings.  They are kept secret and stored nowhere.
        config: which account and market, where orders go, and all other settings; None: the file of
            the setting `BOT_CONFIG`, else paper on the account ``bot``.  Its ``small_fund_usd`` is
            replaced by the argument, and ``total_fund_usd`` bounds its limit of exposure.  Where it
            names neither a market nor a replay, a simulated one is replayed without waits: the last
            two days, and at a later start what has passed since.
        settings: None: those of the environment.
        store: an open store; None: the one that the settings name.

    Raises:
        BadConfig: the strategy would risk more than there is, or the settings cannot be read.
        StoreUnavailable: the database cannot be started or reached.
    """

    def __init__(
        self,
        small_fund_usd: float = 1_000.0,
        total_fund_usd: float = 10_000.0,
        coinmarketcap_api_key: str | None = None,
        coingecko_api_key: str | None = None,
        *,
        config: LiveConfig | None = None,
        settings: Settings | None = None,
        store: Store | None = None,
    ) -> None:
        if not small_fund_usd <= total_fund_usd:
            raise BadConfig(
                f"small_fund_usd={small_fund_usd:g}: the strategy may not risk more than "
                f"total_fund_usd={total_fund_usd:g}"
            )
        given = settings or Settings()
        keys = {
            "coinmarketcap_api_key": coinmarketcap_api_key,
            "coingecko_api_key": coingecko_api_key,
        }
        self._settings = given.model_copy(
            update={name: SecretStr(key) for name, key in keys.items() if key}
        )
        config = config or _config_of(given)
        self.config = _with_funds(config, small_fund_usd, total_fund_usd)
        self._owned = store is None
        self.store = store or Store.open(self._settings)

    async def start_trading_session(self) -> dict[str, Any]:
        """Trade until the market or the session's window is over, or somebody stops it.

        Started again, it goes on where the account stands: what is open is recovered first.  Run it
        in a loop that does little else, since a session answers its market there.

        Returns:
            What `report` tells, and of this session ``account``, ``epoch``, ``ended`` (``market``,
            ``window`` or ``stopped``), ``events``, ``decisions``, ``dropped_looks``,
            ``open_positions``, ``cash_usd``, ``findings`` and ``slowest_batch_ms``.

        Raises:
            BadConfig, LeaseHeld, LeaseLost, StoreUnavailable: see `trade`.
        """
        config = self._with_market()
        log.info("account %s: trading; `trade-pipeline watch` shows it", config.account)
        who = f"IntegratedTradingBot of process {os.getpid()}"
        try:
            done = await trade(
                self.store, config, self._settings, holder=who, asks=who,
                tell=teller(self._settings.alert_urls),
            )  # fmt: skip
        except asyncio.CancelledError:
            log.warning("account %s: cancelled; %s", config.account, _UNWATCHED)
            raise
        log.info("account %s: the session ended (%s)", config.account, done.why)
        if done.open_positions and done.why != "market":
            log.warning(
                "account %s: %d open positions; %s",
                config.account, done.open_positions, _UNWATCHED,
            )  # fmt: skip
        figures = asdict(done)
        return self.report() | figures | {"ended": figures.pop("why")}

    def report(self) -> dict[str, Any]:
        """How the account has done so far, over all its sessions; see `session_report`.

        Raises:
            BadConfig: it was never traded.
        """
        account = self.config.account
        with self.store.database.connect("trade_reader") as connection:
            lease = read_lease(connection, account)
            ids = [live_session_id(account, 1 + n) for n in range(lease.epoch if lease else 0)]
            stored = connection.execute(
                "SELECT session_id FROM trade.sessions WHERE session_id = ANY(%s)", (ids,)
            ).fetchall()
            known = {session_id for (session_id,) in stored}
            if not known:
                raise BadConfig(f"account={account!r}: it was never traded")
            return sessions_report(connection, [one for one in ids if one in known])

    def close(self) -> None:
        """Give the store back, if it was opened here."""
        if self._owned:
            self.store.close()

    def _with_market(self) -> LiveConfig:
        """The settings, with a simulated market where they name none."""
        if self.config.market is not None or self.config.replay is not None:
            return self.config
        now = moment_of(SystemClock().micros())
        with self.store.database.connect("trade_reader") as connection:
            progress = read_account(connection, self.config.account).progress
        # The same market as before, which has gone on.
        start = now - _DAYS if progress is None else moment_of(progress.started_at)
        replay = ReplayConfig(start=start, end=now, speed=0, cell_seconds=10)
        return self.config.model_copy(update={"replay": replay})


def _config_of(settings: Settings) -> LiveConfig:
    if settings.bot_config is None:
        return LiveConfig(account="bot")
    return LiveConfig.parse(read_file(settings.bot_config))


def _with_funds(config: LiveConfig, small_fund_usd: float, total_fund_usd: float) -> LiveConfig:
    """The same settings for other funds.

    Raises:
        BadConfig: a fund that cannot be.
    """
    plain = config.model_dump()
    plain["trading"]["strategy"]["small_fund_usd"] = small_fund_usd
    bound = config.limits.max_exposure_usd
    plain["limits"]["max_exposure_usd"] = (
        total_fund_usd if bound is None else min(bound, total_fund_usd)
    )
    return LiveConfig.parse(plain)
