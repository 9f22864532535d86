"""Sources of sentiment against a local server: levels, counts, momentum, and what is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.providers.coingecko import CoinGecko
from trade_pipeline.core.market.providers.errors import ProviderAnswerInvalid
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.research.social.reading import SocialReading, Subject, reading_of_texts
from trade_pipeline.core.research.social.scoring import score
from trade_pipeline.core.research.social.social import Social, SocialSentiment, sources_of
from trade_pipeline.core.research.social.sources import (
    CoinGeckoVotes,
    Feed,
    Reddit,
    SocialSource,
    Telegram,
    X,
)
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings
from trade_pipeline_tests.core.market.providers import made
from trade_pipeline_tests.core.market.providers.server import (
    LocalServer,
    Reply,
    Request,
    local_server,
)
from trade_pipeline_tests.core.market.providers.test_adapters import PATHS
from trade_pipeline_tests.core.market.providers.test_http import CANARY, FAST, NOON

HOUR = 3_600_000_000
CONFIG = ClientConfig(**FAST, attempts=2, cache_seconds=0)
SUBJECT = Subject("ethereum", made.TOKEN, "MADE")
HAPPY = "$MADE to the moon, bullish gem, says @jane_doe77"
SAD = "MADE is a rug, total scam, mail jane.doe@gmail.com"


@pytest.fixture
def web() -> Iterator[LocalServer]:
    with local_server() as served:
        yield served


def read(source: SocialSource) -> SocialReading:
    async def ask() -> SocialReading:
        async with Social(MarketClock(NOON), [source]):
            return await source.read(SUBJECT)

    return asyncio.run(ask())


def ago(hours: float) -> str:
    return moment_of(NOON - round(hours * HOUR)).isoformat()


def telegram_page(*posts: tuple[int, float, str]) -> Reply:
    """(number, hours ago, text) as the page of a channel."""
    body = "".join(
        f'<div class="tgme_widget_message js-widget_message" data-post="chan/{number}">'
        f'<a class="tgme_widget_message_owner_name"><span>Jane Doe</span></a>'
        f'<div class="tgme_widget_message_text js-message_text">{text}<br/>second line'
        f'<div>nested</div> end</div><time datetime="{ago(hours)}">12:00</time></div>'
        for number, hours, text in posts
    )
    return Reply(f'<body class="tgme_page">{body}</body>'.encode())


def test_votes_are_a_level(web: LocalServer) -> None:
    web.routes[PATHS["coingecko"]] = Reply(made.coingecko_coin(votes=80.0))

    async def ask() -> SocialReading:
        coingecko = CoinGecko(MarketClock(NOON), url=web.url, config=CONFIG)
        async with coingecko.client:
            return await CoinGeckoVotes(coingecko).read(SUBJECT)

    seen = asyncio.run(ask())
    assert (seen.source, seen.level, seen.texts, seen.mentions) == ("coingecko", 0.8, 0, None)


def test_posts_on_x_are_asked_for_without_their_authors(web: LocalServer) -> None:
    posts = [{"id": "1", "text": HAPPY}] * 3 + [{"id": "2", "text": "nothing about it"}]
    web.routes["/2/tweets/search/recent"] = Reply({"data": posts})
    seen = read(X(MarketClock(NOON), SecretStr(CANARY), url=web.url, config=CONFIG))
    assert seen.level is not None
    assert seen.level > 0.7
    assert (seen.source, seen.texts, seen.mentions) == ("twitter", 3, 3)
    (request,) = web.requests
    assert request.headers["authorization"] == f"Bearer {CANARY}"
    assert not {"expansions", "user.fields"} & set(request.query)
    assert '"$MADE"' in request.query["query"]


def test_silence_on_x_is_unknown_and_not_neutral(web: LocalServer) -> None:
    web.routes["/2/tweets/search/recent"] = Reply({"meta": {"result_count": 0}})
    seen = read(X(MarketClock(NOON), SecretStr(CANARY), url=web.url, config=CONFIG))
    assert (seen.level, seen.mentions) == (None, 0)


def test_reddit_logs_in_once_and_reads_the_last_day(web: LocalServer) -> None:
    def post(hours: float, text: str) -> dict[str, Any]:
        at = NOON / 1e6 - hours * 3600
        return {"data": {"title": "MADE", "selftext": text, "created_utc": at, "author": "jane"}}

    children = [post(1, SAD), post(2, SAD), post(23, SAD), post(25, HAPPY)]
    web.routes = {
        "/api/v1/access_token": Reply({"access_token": "temporary", "expires_in": 3600}),
        "/search": Reply({"data": {"children": children}}),
    }
    secret = SecretStr("id"), SecretStr(CANARY)
    reddit = Reddit(MarketClock(NOON), *secret, url=web.url, login_url=web.url, config=CONFIG)

    async def twice() -> SocialReading:
        async with Social(MarketClock(NOON), [reddit]):
            await reddit.read(SUBJECT)
            return await reddit.read(SUBJECT)

    seen = asyncio.run(twice())
    assert seen.level is not None
    assert seen.level < 0.3
    assert seen.texts == 3
    login, first, second = web.requests
    assert login.headers["authorization"].startswith("Basic ")
    assert login.body == b"grant_type=client_credentials"
    assert first.headers["authorization"] == second.headers["authorization"] == "Bearer temporary"


def test_telegram_counts_the_mentions_of_a_day_over_pages(web: LocalServer) -> None:
    def pages(request: Request) -> Reply:
        if request.query.get("before") == "7":
            return telegram_page((5, 30, HAPPY), (6, 20, HAPPY))
        return telegram_page((7, 3, SAD), (8, 2, HAPPY), (9, 1, "gm everybody"))

    web.routes["/s/chan"] = pages
    seen = read(Telegram(MarketClock(NOON), ["chan"], url=web.url, config=CONFIG))
    assert (seen.source, seen.mentions, seen.texts) == ("telegram", 3, 3)
    assert len(web.requests) == 2


@pytest.mark.parametrize("body", [b"<html>blocked</html>", b'{"a": 1}', b""])
def test_what_is_no_channel_is_refused(web: LocalServer, body: bytes) -> None:
    web.routes["/s/chan"] = Reply(body)
    with pytest.raises(ProviderAnswerInvalid):
        read(Telegram(MarketClock(NOON), ["chan"], url=web.url, config=CONFIG))


def test_a_feed_is_read_for_the_last_day(web: LocalServer) -> None:
    items = [{"text": HAPPY, "published_at": ago(h)} for h in (1, 2, 3, 30)]
    web.routes["/"] = Reply({"items": items})
    seen = read(Feed(MarketClock(NOON), SecretStr(web.url), config=CONFIG))
    assert seen.texts == 3
    web.routes["/"] = Reply({"items": [{"text": HAPPY, "published_at": "yesterday"}]})
    with pytest.raises(ProviderAnswerInvalid, match="published_at"):
        read(Feed(MarketClock(NOON), SecretStr(web.url), config=CONFIG))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("$made is up", True),
        ("MADE is up", True),
        ("made in China", False),
        ("HOMEMADE cake", False),
        ("$MADEUP is another", False),
        (f"contract {made.CHECKSUMMED}", True),
    ],
)
def test_a_token_is_named_by_its_sign_its_capitals_or_its_contract(text: str, named: bool) -> None:
    assert SUBJECT.is_named_in(text) is named


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("bullish, next stop moon", "gm"),
        ("gm", "honeypot, unsellable"),
        ("not a scam", "a scam"),
        ("listed on Binance 🚀", "rugged, devs dumped on us"),
    ],
)
def test_the_words_of_the_trade_have_their_meaning(better: str, worse: str) -> None:
    assert score(better) > score(worse)


def test_of_texts_only_scores_are_kept_and_excerpts_only_where_asked_and_scrubbed() -> None:
    texts = [HAPPY, SAD, f"{HAPPY} {made.TOKEN}"]
    bare = reading_of_texts("feed", SUBJECT, texts, NOON)
    assert bare.excerpts == ()
    kept = json.loads(bare.answer.content)
    assert len(kept["scores"]) == 3
    for secret in (b"jane", b"moon", b"gmail"):
        assert secret not in bare.answer.content.lower()
    some = reading_of_texts("feed", SUBJECT, texts[::-1], NOON, excerpts=2)
    assert some.excerpts == (
        f"$MADE to the moon, bullish gem, says [handle] {made.TOKEN}",
        "MADE is a rug, total scam, mail [email]",
    )


def test_levels_of_all_sources_become_level_momentum_and_consensus(
    web: LocalServer, database: Database, artifacts: ArtifactStore
) -> None:
    clock = MarketClock(NOON)
    web.routes[PATHS["coingecko"]] = Reply(made.coingecko_coin(votes=60.0))
    web.routes["/2/tweets/search/recent"] = Reply({"data": [{"text": HAPPY}] * 3})
    web.routes["/s/chan"] = Reply(status=500)
    coingecko = CoinGecko(clock, url=web.url, config=CONFIG)
    sources: list[SocialSource] = [
        CoinGeckoVotes(coingecko),
        X(clock, SecretStr(CANARY), url=web.url, config=CONFIG),
        Telegram(clock, ["chan"], url=web.url, config=CONFIG),
    ]

    async def story() -> tuple[SocialSentiment, ...]:
        social = Social(clock, sources, store=Store(database, artifacts))
        async with coingecko.client, social:
            first = await social.read(SUBJECT)
            clock.advance(NOON + 5 * HOUR)
            soon = await social.read(SUBJECT)
            clock.advance(NOON + 7 * HOUR)
            web.routes[PATHS["coingecko"]] = Reply(made.coingecko_coin(votes=90.0))
            later = await social.read(SUBJECT)
            clock.advance(NOON + 40 * HOUR)
            return first, soon, later, await social.read(SUBJECT)

    first, soon, later, much_later = asyncio.run(story())
    happy = first.levels["twitter"]
    assert first.levels == {"coingecko": 0.6, "twitter": happy}
    assert first.level == pytest.approx((0.6 + happy) / 2)
    assert first.consensus == pytest.approx(1 - abs(happy - 0.6))
    assert first.failures == {"telegram": "telegram: HTTP 500"}
    # Momentum is against what was known six hours before, where something was.
    assert (first.momentum, soon.momentum, much_later.momentum) == (None, None, None)
    assert later.momentum == pytest.approx(0.3 / 2)
    for address in first.raw:
        content = artifacts.get(address)
        assert CANARY.encode() not in content
        assert b"jane" not in content


def test_only_sources_whose_keys_are_given_are_asked() -> None:
    clock = MarketClock(NOON)
    coingecko = CoinGecko(clock)
    bare = sources_of(Settings(_env_file=None), clock, coingecko)
    assert [s.source for s in bare] == ["coingecko"]
    key = SecretStr("k")
    given = Settings(
        _env_file=None, x_bearer_token=key, reddit_client_id=key, reddit_client_secret=key,
        telegram_channels="one, two,", social_feed_url=SecretStr("https://feed.example.org"),
    )  # fmt: skip
    names = [s.source for s in sources_of(given, clock, coingecko)]
    assert names == ["coingecko", "twitter", "reddit", "telegram", "feed"]
