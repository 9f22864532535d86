"""The sources of sentiment.  No text and no author leaves this module: a reading does.

Where a source tells authors only on request, they are not requested.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Protocol

from pydantic import AwareDatetime, Field, SecretStr

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.market.providers.coingecko import CoinGecko
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.providers.http import Fields, ProviderClient
from trade_pipeline.core.research.social.reading import SocialReading, Subject, reading_of_texts
from trade_pipeline.core.research.social.telegram_page import posts_of

X_URL = "https://api.x.com"
REDDIT_URL = "https://oauth.reddit.com"
REDDIT_LOGIN_URL = "https://www.reddit.com"
TELEGRAM_URL = "https://t.me"
# Pages of a channel that are read for one day of it.
TELEGRAM_PAGES = 5
_USER_AGENT = {"User-Agent": "trade-pipeline/0.1"}


class SocialSource(Protocol):
    """One source."""

    @property
    def source(self) -> str: ...

    @property
    def clients(self) -> tuple[ProviderClient, ...]: ...

    async def read(self, subject: Subject) -> SocialReading:
        """What it says now.

        Raises:
            ProviderError: as the market's providers.
        """
        ...


class CoinGeckoVotes:
    """The share of up votes of CoinGecko's visitors; its client is closed by who made it."""

    source = "coingecko"
    clients: tuple[ProviderClient, ...] = ()

    def __init__(self, coingecko: CoinGecko) -> None:
        self._coingecko = coingecko

    async def read(self, subject: Subject) -> SocialReading:
        """See `SocialSource`."""
        said = await self._coingecko.community(subject.chain, subject.contract)
        return SocialReading(self.source, said.votes_up, 0, None, (), said.answer)


class _Post(Fields):
    text: str


class _Posts(Fields):
    # Missing where nothing was found.
    data: list[_Post] = Field(default_factory=list)


class X:
    """Recent posts on X; the source's name in the records is ``twitter``."""

    source = "twitter"

    def __init__(
        self,
        clock: Clock,
        bearer_token: SecretStr,
        *,
        url: str = X_URL,
        excerpts: int = 0,
        config: ClientConfig | None = None,
    ) -> None:
        header = SecretStr(f"Bearer {bearer_token.get_secret_value()}")
        self._excerpts = excerpts
        self.clients = (
            ProviderClient(
                self.source,
                url,
                clock,
                config or ClientConfig(requests=30, per_seconds=900, cache_seconds=300),
                {"Authorization": header},
            ),
        )

    async def read(self, subject: Subject) -> SocialReading:
        """See `SocialSource`."""
        query = f'("${subject.symbol}" OR "{subject.contract}") -is:retweet'
        answer = await self.clients[0].get(
            "/2/tweets/search/recent", {"query": query, "max_results": 100}
        )
        texts = [post.text for post in answer.read(_Posts).data]
        return reading_of_texts(self.source, subject, texts, answer.received_at, self._excerpts)


class _Token(Fields):
    access_token: str
    expires_in: int


class _Submission(Fields):
    title: str
    selftext: str = ""
    created_utc: float


class _Child(Fields):
    data: _Submission


class _Children(Fields):
    children: list[_Child]


class _Listing(Fields):
    data: _Children


class Reddit:
    """Posts of the last day on Reddit, with an application's id and secret."""

    source = "reddit"

    def __init__(
        self,
        clock: Clock,
        client_id: SecretStr,
        client_secret: SecretStr,
        *,
        url: str = REDDIT_URL,
        login_url: str = REDDIT_LOGIN_URL,
        excerpts: int = 0,
        config: ClientConfig | None = None,
    ) -> None:
        both = f"{client_id.get_secret_value()}:{client_secret.get_secret_value()}"
        basic = SecretStr(f"Basic {b64encode(both.encode()).decode()}")
        given = config or ClientConfig(requests=50, cache_seconds=300)
        self._clock = clock
        self._excerpts = excerpts
        self._token: str | None = None
        self._token_ends = 0
        self.clients = (
            ProviderClient(self.source, url, clock, given),
            ProviderClient(self.source, login_url, clock, given, {"Authorization": basic}),
        )

    async def read(self, subject: Subject) -> SocialReading:
        """See `SocialSource`."""
        answer = await self.clients[0].request(
            "GET",
            "/search",
            params={
                "q": f'"${subject.symbol}" OR "{subject.contract}"',
                "sort": "new",
                "t": "day",
                "limit": 100,
                "raw_json": 1,
            },
            headers={"Authorization": f"Bearer {await self._login()}", **_USER_AGENT},
        )
        since = answer.received_at - DAY
        posts = [child.data for child in answer.read(_Listing).data.children]
        texts = [f"{p.title}\n{p.selftext}" for p in posts if p.created_utc * 1e6 >= since]
        return reading_of_texts(self.source, subject, texts, answer.received_at, self._excerpts)

    async def _login(self) -> str:
        """An access token, which lasts for hours."""
        if self._token is None or self._clock.micros() >= self._token_ends:
            answer = await self.clients[1].request(
                "POST",
                "/api/v1/access_token",
                data={"grant_type": "client_credentials"},
                headers=_USER_AGENT,
            )
            given = answer.read(_Token)
            self._token = given.access_token
            # A minute early, so that it never ends on the way.
            self._token_ends = answer.received_at + (given.expires_in - 60) * 1_000_000
        return self._token


class Telegram:
    """Mentions in the last day of public channels, from the pages that need no login."""

    source = "telegram"

    def __init__(
        self,
        clock: Clock,
        channels: list[str],
        *,
        url: str = TELEGRAM_URL,
        excerpts: int = 0,
        config: ClientConfig | None = None,
    ) -> None:
        self._channels = channels
        self._clock = clock
        self._excerpts = excerpts
        given = config or ClientConfig(requests=20, cache_seconds=300)
        self.clients = (ProviderClient(self.source, url, clock, given),)

    async def read(self, subject: Subject) -> SocialReading:
        """See `SocialSource`."""
        at = self._clock.micros()
        texts: list[str] = []
        for channel in self._channels:
            texts += await self._texts(channel, at - DAY)
        return reading_of_texts(self.source, subject, texts, at, self._excerpts)

    async def _texts(self, channel: str, since: int) -> list[str]:
        texts: list[str] = []
        before: int | None = None
        for _ in range(TELEGRAM_PAGES):
            params: dict[str, str | int] = {} if before is None else {"before": before}
            answer = await self.clients[0].get(f"/s/{channel}", params)
            posts = posts_of(answer)
            texts += [post.text for post in posts if post.at >= since]
            if not posts or posts[0].at < since or posts[0].number == before:
                break
            before = posts[0].number
        return texts


class _Item(Fields):
    text: str
    published_at: AwareDatetime


class _Feed(Fields):
    items: list[_Item]


class Feed:
    """Any feed of texts: ``{"items": [{"text": "...", "published_at": "2026-01-05T12:00:00Z"}]}``.

    Args:
        url: it may hold a key.
    """

    source = "feed"

    def __init__(
        self,
        clock: Clock,
        url: SecretStr,
        *,
        excerpts: int = 0,
        config: ClientConfig | None = None,
    ) -> None:
        self._excerpts = excerpts
        given = config or ClientConfig(requests=20, cache_seconds=300)
        self.clients = (ProviderClient(self.source, url.get_secret_value(), clock, given),)

    async def read(self, subject: Subject) -> SocialReading:
        """See `SocialSource`."""
        answer = await self.clients[0].get("")
        since = answer.received_at - DAY
        texts = [i.text for i in answer.read(_Feed).items if micros(i.published_at) >= since]
        return reading_of_texts(self.source, subject, texts, answer.received_at, self._excerpts)
