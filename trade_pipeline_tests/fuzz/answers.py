"""Readers of what providers, feeds, nodes and clients of the local exchange send."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.providers.coingecko import CoinGecko
from trade_pipeline.core.market.providers.exchange import Exchange
from trade_pipeline.core.market.providers.http import Answer
from trade_pipeline.core.market.providers.observation import Bounds, TokenObservation
from trade_pipeline.core.market.recorder.node import EthereumNode
from trade_pipeline.core.research.social.reading import Subject
from trade_pipeline.core.research.social.sources import Feed, Reddit, X
from trade_pipeline.core.research.social.telegram_page import posts_of
from trade_pipeline.local_exchange.api import Params
from trade_pipeline.local_exchange.errors import Refused
from trade_pipeline.local_exchange.server import ExchangeServer
from trade_pipeline_tests.core.market.providers import made
from trade_pipeline_tests.core.market.providers.test_adapters import ADDRESS, MAKERS, made_answer
from trade_pipeline_tests.core.market.providers.test_http import NOON
from trade_pipeline_tests.fuzz.parser import Parser

CLOCK = MarketClock(NOON)
SUBJECT = Subject("ethereum", ADDRESS, "MADE")
_PLATFORM = {"data": {"77": {"id": 77, "platform": {"slug": "ethereum", "token_address": ADDRESS}}}}


def parsers(folder: Path) -> list[Parser]:
    """The readers; ``folder`` is the local exchange's."""
    return [*_providers(), *_social(), *_nodes(), *_exchange(folder)]


def done(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nobody."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waits for something")


class _Told:
    """Stands where a provider's client stands, and gives the answer that it was given."""

    provider = "made"

    def __init__(self) -> None:
        self.content = b""
        self.others: dict[str, bytes] = {}

    async def get(self, path: str, *_: Any, check: Any = None, **__: Any) -> Answer:
        answer = Answer(self.provider, self.others.get(path, self.content), NOON)
        if check is not None:
            check(answer)
        return answer

    async def request(self, method: str, path: str, **given: Any) -> Answer:
        return await self.get(path, check=given.get("check"))


def _checked(seen: TokenObservation) -> object:
    """What is done with an observation: it is stored, and its moments are shown."""
    if seen.created_at is not None:
        moment_of(seen.created_at)
    return canonical_bytes(
        [seen.facts, seen.price_usd, seen.liquidity_usd, seen.volume_24h_usd, seen.symbol,
         seen.market_cap_usd, seen.pool, seen.created_at, sorted(seen.warnings)]
    )  # fmt: skip


def _providers() -> list[Parser]:
    found = []
    for name, maker in MAKERS.items():
        told = _Told()
        told.others["/v2/cryptocurrency/info"] = json.dumps(_PLATFORM).encode()
        adapter = maker(CLOCK, url="http://nowhere")
        adapter.client = told
        place = ("solana", made.MINT) if name == "rugcheck" else ("ethereum", ADDRESS)

        def parse(
            data: bytes, adapter: Any = adapter, place: Any = place, told: Any = told
        ) -> object:
            told.content = data
            return _checked(done(adapter.token(*place)))

        found.append(Parser(name, "json", [json.dumps(made_answer(name)).encode()], parse, 10))
    told, coingecko = _Told(), CoinGecko(CLOCK, url="http://nowhere")
    coingecko.client = told  # type: ignore[assignment]
    told.others["/coins/list"] = json.dumps(made.coingecko_list()).encode()

    def markets(data: bytes) -> object:
        told.content = data
        return [_checked(seen) for seen in done(coingecko.low_caps("ethereum", Bounds()))]

    def community(data: bytes) -> object:
        told.content = data
        return done(coingecko.community("ethereum", ADDRESS)).votes_up

    found.append(
        Parser(
            "coingecko's markets",
            "json",
            [json.dumps(made.coingecko_markets()).encode()],
            markets,
            8,
        )
    )
    found.append(
        Parser(
            "coingecko's votes", "json", [json.dumps(made.coingecko_coin()).encode()], community, 5
        )
    )
    exchange = Exchange("binance", CLOCK)
    ticker = b'{"last": 0.02, "quoteVolume": 1000.5, "symbol": "PEPE/USDT", "info": {"a": ["1"]}}'

    def ticks(data: bytes) -> object:
        said = json.loads(data)
        return _checked(exchange._observation("PEPE/USDT", said))

    found.append(Parser("ticker", "json", [ticker], lambda data: _if_object(data, ticks), 5))
    return found


def _if_object(data: bytes, read: Callable[[bytes], object]) -> object:
    """ccxt gives mappings of what JSON holds, and nothing else."""
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return read(data) if isinstance(given, dict) else None


def _social() -> list[Parser]:
    def source(maker: Callable[[], Any]) -> Callable[[bytes], object]:
        one = maker()
        told = _Told()
        told.others["/api/v1/access_token"] = b'{"access_token": "t", "expires_in": 3600}'
        one.clients = (told, told)

        def parse(data: bytes) -> object:
            told.content = data
            return done(one.read(SUBJECT))

        return parse

    secret = SecretStr("secret")
    x = {
        "data": [
            {"id": "1", "text": "$MADE to the moon"},
            {"text": "MADE is a scam, call +49 30 1"},
        ]
    }
    listing = {"data": {"children": [
        {"data": {"title": "MADE", "selftext": "is good", "created_utc": NOON / 1e6 - 60}}
    ]}}  # fmt: skip
    feed = {"items": [{"text": "MADE is bad", "published_at": "2100-01-05T12:00:00Z"}]}
    page = (
        '<div class="tgme_widget_message" data-post="channel/12">'
        '<div class="tgme_widget_message_text">'
        'MADE <b>moon</b><br>now</div><time datetime="2026-01-05T12:00:00+00:00"></time></div>'
        '<div class="tgme_widget_message" data-post="channel/13">'
        '<div class="tgme_widget_message_text">'
        'x</div><time datetime="2026-01-05T12:01:00+00:00"></time></div>'
    )
    made_ = [
        ("posts of X", x, source(lambda: X(CLOCK, secret, excerpts=2)), 2),
        ("posts of Reddit", listing, source(lambda: Reddit(CLOCK, secret, secret, excerpts=2)), 2),
        ("feed", feed, source(lambda: Feed(CLOCK, secret, excerpts=2)), 2),
    ]
    found = [Parser(n, "json", [json.dumps(one).encode()], parse, w) for n, one, parse, w in made_]
    found.append(
        Parser(
            "page of Telegram", "text", [page.encode()], lambda d: posts_of(Answer("t", d, 0)), 4
        )
    )
    return found


def _nodes() -> list[Parser]:
    log = {
        "address": "0x" + "ab" * 20, "topics": ["0x" + "cd" * 32], "data": "0x" + "00" * 64,
        "blockNumber": "0x10", "blockHash": "0x" + "ef" * 32, "logIndex": "0x1",
    }  # fmt: skip
    header = {"number": "0x10", "hash": "0x" + "ef" * 32, "timestamp": "0x60000000"}
    node = EthereumNode(SecretStr("http://nowhere"), CLOCK)
    told = _Told()
    node._client = told  # type: ignore[assignment]

    def logs(data: bytes) -> object:
        told.content = data
        return done(node.logs(1, 20, [["0x" + "cd" * 32]]))

    def block(data: bytes) -> object:
        told.content = data
        return done(node.final_block())

    def of(*results: object) -> list[bytes]:
        told = [{"jsonrpc": "2.0", "id": n, "result": one} for n, one in enumerate(results)]
        return [json.dumps(told).encode()]

    return [
        Parser("a node's logs", "json", of([log]), logs, 4),
        Parser("a node's block", "json", of(header, header), block, 4),
    ]


def _exchange(folder: Path) -> list[Parser]:
    server = ExchangeServer(folder)
    account = {"key": "key", "secret": "secret", "deposits": {"USDT": "1000"}}
    faults = {"seed": 1, "faults": [{"kind": "delay", "on": ["POST order"], "seconds": 0.5}]}
    listing = {"base": "PEPE", "quote": "USDT", "tick": "0.00000001", "levels": 10}
    server._list(json.dumps(listing).encode())
    server._open_account(json.dumps(account).encode())
    price = {"symbol": "PEPEUSDT", "price": "0.02"}
    server._move(json.dumps(price).encode())
    order = (
        b"symbol=PEPEUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=400&price=0.021"
        b"&newClientOrderId=c1"
    )
    answers = server._api.signed | {
        name: lambda _account, params, now, _hit, act=act: act(params, now)
        for name, act in server._api.public.items()
    }
    names = sorted(answers)

    def ask(data: bytes) -> object:
        name = names[len(data) % len(names)]
        return json.dumps(
            answers[name]("key", Params(data.decode("utf-8", "replace")), NOON // 1000, {})
        )

    clean = (Refused, ValidationError)
    return [
        Parser("listing", "json", [json.dumps(listing).encode()], server._list, 3, clean),
        Parser("account", "json", [json.dumps(account).encode()], server._open_account, 3, clean),
        Parser("price", "json", [json.dumps(price).encode()], server._move, 3, clean),
        Parser("faults", "json", [json.dumps(faults).encode()], server._set_faults, 3, clean),
        Parser(
            "order",
            "text",
            [order, b"symbol=PEPEUSDT&limit=5&interval=1m&startTime=1"],
            ask,
            6,
            clean,
        ),
    ]
