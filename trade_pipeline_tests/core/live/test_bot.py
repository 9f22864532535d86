"""The integrated trading bot: a live session that ends and goes on as any other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from trade_pipeline.core import bot as module
from trade_pipeline.core.bot import IntegratedTradingBot
from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.live.config import LiveConfig
from trade_pipeline.core.live.lease import Lease, LeaseHeld, LeaseLost, read_lease
from trade_pipeline.core.live.requests import LiveRequest, asked, newest_request, order_session
from trade_pipeline.core.live.stored import StoredAccount, read_account
from trade_pipeline.core.market.event import DAY, HOUR
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.live.paper import ACCOUNT, Trades, trades_of
from trade_pipeline_tests.core.session.stored import CONFIG, START

SETTINGS = Settings(_env_file=None)


@pytest.fixture
def store(server: EmbeddedPostgres, artifacts: ArtifactStore) -> Iterator[Store]:
    with create_database(server) as database:
        yield Store(database, artifacts)


def account_of(store: Store, account: str) -> StoredAccount:
    with store.database.connect("trade_reader") as connection:
        return read_account(connection, account)


def request_of(store: Store, account: str) -> LiveRequest:
    with store.database.connect("trade_reader") as connection:
        request = newest_request(connection, account)
    assert request is not None
    return request


async def cancelled(bot: IntegratedTradingBot, decisions: int) -> None:
    """Cancel it, as Ctrl-C does, as soon as it has decided so often and something is open."""
    running = asyncio.ensure_future(bot.start_trading_session())
    count = "SELECT count(*) FROM trade.live_decisions"
    with bot.store.database.connect("trade_reader", autocommit=True) as connection:
        while True:
            assert not running.done(), "it ended before"
            ((made,),) = connection.execute(count.encode()).fetchall()
            if made >= decisions and account_of(bot.store, bot.config.account).open:
                break
            await asyncio.sleep(0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert running.cancelled()


def test_a_bot_that_is_cancelled_leaves_all_in_order_and_goes_on_as_if_it_never_was(
    store: Store, undisturbed: Trades
) -> None:
    bot = IntegratedTradingBot(config=paper.settings(ACCOUNT), settings=SETTINGS, store=store)
    for number, decisions in enumerate((1, 40, 41), 1):
        asyncio.run(cancelled(bot, decisions))
        with store.database.connect("trade_reader") as connection:
            lease = read_lease(connection, ACCOUNT)
        assert lease is not None
        assert (lease.epoch, lease.alive) == (number, False)
        assert not request_of(store, ACCOUNT).wanted, "somebody would go on in its stead"
        assert account_of(store, ACCOUNT).open, "positions stay open"
    report = asyncio.run(bot.start_trading_session())
    assert (report["epoch"], report["ended"]) == (4, "market")
    assert report["findings"][0]["facts"]["open_positions"] > 0
    assert trades_of(store, ACCOUNT) == undisturbed
    closed = [one for one in undisturbed["outcomes"] if one["kind"] == "realised"]
    assert report["trades"] == len(closed) > 0, "of all four sessions"
    decided = sum(one["count"] for one in report["candidates"])
    assert decided == len(undisturbed["candidates"]) > report["decisions"]


def test_without_a_market_a_simulated_one_is_traded_and_goes_on_at_the_next_start(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = MarketClock(START + 2 * DAY)
    monkeypatch.setattr(module, "SystemClock", lambda: clock)
    # No order fails by chance: that is drawn from its id.
    trading = CONFIG.model_dump() | {"amm": {"failure_rate": 0}}
    config = LiveConfig.parse({"account": "bot", "trading": trading})
    bot = IntegratedTradingBot(config=config, settings=SETTINGS, store=store)
    first = asyncio.run(bot.start_trading_session())
    again = asyncio.run(bot.start_trading_session())
    assert (again["decisions"], again["trades"]) == (0, first["trades"])
    clock.advance(START + 2 * DAY + 6 * HOUR)
    later = asyncio.run(bot.start_trading_session())
    assert first["trades"] > 0
    assert later["decisions"] > 0
    # The same as one start six hours later.
    longer = paper.settings("whole", days=2.25, trading=trading)
    assert longer.replay is not None
    whole = IntegratedTradingBot(
        config=longer.model_copy(update={"replay": longer.replay.model_copy(update={"seed": 7})}),
        settings=SETTINGS,
        store=store,
    )
    assert asyncio.run(whole.start_trading_session())["returns"] == later["returns"]


def test_a_bot_whose_account_somebody_trades_leaves_it_to_them(store: Store) -> None:
    config = paper.settings("held")
    bot = IntegratedTradingBot(config=config, settings=SETTINGS, store=store)
    with store.database.connect(autocommit=True) as connection:
        order_session(connection, config, by="somebody")
    with (
        Lease(store.database, "held", holder="somebody", mode="paper"),
        pytest.raises(LeaseHeld, match="somebody holds its lease"),
    ):
        asyncio.run(bot.start_trading_session())
    request = request_of(store, "held")
    assert (request.wanted, request.by_whom) == (True, "somebody")


@pytest.mark.parametrize(
    ("error", "wanted"),
    [(LeaseLost("taken over"), True), (KeyboardInterrupt(), False), (None, False)],
)
def test_a_request_ends_with_who_asked_unless_somebody_took_over(
    store: Store, error: BaseException | None, wanted: bool
) -> None:
    with store.database.connect(autocommit=True) as connection:
        with (
            suppress(LeaseLost, KeyboardInterrupt),
            asked(connection, paper.settings("asked"), by="bot"),
        ):
            assert request_of(store, "asked").wanted
            if error is not None:
                raise error
        assert request_of(store, "asked").wanted == wanted


def bot_of(store: Store, **given: Any) -> IntegratedTradingBot:
    return IntegratedTradingBot(**{"settings": SETTINGS, "store": store} | given)


def test_the_small_fund_is_the_strategys_and_the_whole_bounds_what_is_open(store: Store) -> None:
    plain = bot_of(store, small_fund_usd=500, total_fund_usd=2_000).config
    assert plain.account == "bot"
    assert plain.trading.strategy.small_fund_usd == 500
    assert plain.limits.max_exposure_usd == 2_000
    for bound, expected in ((300.0, 300.0), (5_000.0, 2_000.0)):
        config = LiveConfig.parse({"limits": {"max_exposure_usd": bound, "max_token_usd": 50}})
        found = bot_of(store, total_fund_usd=2_000, config=config).config.limits
        assert (found.max_exposure_usd, found.max_token_usd) == (expected, 50)
    for small, whole in ((2_000, 1_000), (float("nan"), 1_000), (-1, 1_000), (1, float("inf"))):
        with pytest.raises(BadConfig, match=r"small_fund_usd|max_exposure_usd"):
            bot_of(store, small_fund_usd=small, total_fund_usd=whole)


def test_a_key_that_is_given_comes_before_that_of_the_settings(store: Store) -> None:
    kept = Settings(
        _env_file=None, coingecko_api_key=SecretStr("kept"), coinmarketcap_api_key=SecretStr("old")
    )
    bot = bot_of(store, settings=kept, coinmarketcap_api_key="given")
    found = (bot._settings.coingecko_api_key, bot._settings.coinmarketcap_api_key)
    assert [one.get_secret_value() for one in found if one] == ["kept", "given"]
    assert "given" not in f"{bot!r} {vars(bot)!r} {bot.config.model_dump_json()}"


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("bot.toml", "account = ", "bot.toml"),
        ("bot.json", "[1]", "bot.json.*expected names with their values"),
        ("bot.toml", "acount = 'a'", "acount"),
        (None, "", "missing.toml.*No such file"),
    ],
)
def test_a_file_of_settings_that_cannot_be_is_refused_by_name(
    store: Store, tmp_path: Path, name: str | None, text: str, why: str
) -> None:
    file = tmp_path / (name or "missing.toml")
    if name is not None:
        file.write_text(text)
    with pytest.raises(BadConfig, match=why):
        bot_of(store, settings=Settings(_env_file=None, bot_config=file))


def test_an_account_that_was_never_traded_has_no_report(store: Store) -> None:
    with pytest.raises(BadConfig, match="account='bot': it was never traded"):
        bot_of(store).report()
