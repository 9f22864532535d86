"""Opens the feed of a real market by its settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.live.chain_feed import ChainFeed
from trade_pipeline.core.live.exchange_feed import ExchangeFeed
from trade_pipeline.core.live.facts import FactLog
from trade_pipeline.core.live.inquiry import Inquiry
from trade_pipeline.core.live.markets import (
    ChainMarketConfig,
    ExchangeMarketConfig,
    FactsConfig,
)
from trade_pipeline.core.live.ports import LiveFeed
from trade_pipeline.core.live.stored import read_account
from trade_pipeline.core.market.providers.exchange import Exchange, exchange_class
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.providers.unified import UnifiedMarketProvider, providers_of
from trade_pipeline.core.market.recorder.node import EthereumNode
from trade_pipeline.core.research.social.social import Social, sources_of
from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings

NO_MARKET = (
    "market: none is named; give a replay (--market simulated, spot-1h or uniswap-v2 with --start "
    "and --end), or in --config a [market] of kind 'spot-1h' (an exchange's hourly bars) or "
    "'uniswap-v2' (a node's pools)"
)
# No other markets of the exchange are asked for.
_SPOT = {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}}
# A node that fails is asked again by the feed, which goes on telling the time meanwhile.
_NODE = ClientConfig(
    requests=20, per_seconds=1.0, timeout_seconds=20, attempts=2, open_seconds=5, wait_max_seconds=2
)


def market_feed(
    config: ExchangeMarketConfig | ChainMarketConfig,
    account: str,
    settings: Settings,
    store: Store,
    clock: Clock,
) -> LiveFeed:
    """The feed of a real market.

    Args:
        account: whose open positions are followed, whatever the settings list.

    Raises:
        BadConfig: no exchange or no node is named, or ccxt does not know the exchange.
    """

    def held() -> Sequence[str]:
        with store.database.connect("trade_reader") as connection:
            return [trade.instrument for trade in read_account(connection, account).open]

    facts = FactLog(round(config.facts.max_age_seconds * 1_000_000))
    if isinstance(config, ChainMarketConfig):
        url = settings.rpc_url
        if url is None:
            raise BadConfig("TRADE_PIPELINE_RPC_URL: unset; market 'uniswap-v2' needs a node")
        inquiry = _inquiry(config.facts, facts, settings, store, clock, None)
        return ChainFeed(
            config, clock, lambda: EthereumNode(url, clock, _NODE), facts, inquiry, held
        )
    name = config.exchange or settings.exchange
    if name is None:
        raise BadConfig("market.exchange: none; name one here or in TRADE_PIPELINE_EXCHANGE")
    # Before the session begins: to import it takes seconds, in which no event would be heard.
    exchange_class(name)
    rate = ClientConfig(requests=config.requests_per_minute)

    def exchange() -> Exchange:
        return Exchange(name, clock, config=rate, given={"options": _SPOT}, url=config.url)

    return ExchangeFeed(
        config, clock, exchange, facts,
        _inquiry(config.facts, facts, settings, store, clock, exchange), held,
    )  # fmt: skip


def _inquiry(
    config: FactsConfig,
    facts: FactLog,
    settings: Settings,
    store: Store,
    clock: Clock,
    exchange: Callable[[], Exchange] | None,
) -> Inquiry | None:
    """Who asks the providers about the market's tokens; nobody where the settings want none."""
    if not config.seconds:
        return None

    def providers() -> tuple[UnifiedMarketProvider, Social | None]:
        market = UnifiedMarketProvider(
            providers_of(settings, clock),
            store=store,
            exchange=None if exchange is None else exchange(),
        )
        if not config.sentiment:
            return market, None
        return market, Social(clock, sources_of(settings, clock, market.coingecko), store=store)

    return Inquiry(facts, clock, providers, config.seconds)
