"""The public page of a Telegram channel as posts: numbers, times and texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from html.parser import HTMLParser

from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.providers.errors import ProviderAnswerInvalid
from trade_pipeline.core.market.providers.http import Answer

# A page of twenty posts has 100 KB; the parser's time grows with the square of a damaged one.
MAX_BYTES = 1 << 20


@dataclass(slots=True)
class Post:
    """One post; ``at`` in microseconds since 1970-01-01 UTC."""

    number: int
    at: int = 0
    text: str = ""


@dataclass
class _Page(HTMLParser):
    posts: list[Post] = field(default_factory=list)
    inside: int = 0  # how many elements deep within a text

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        classes = (given.get("class") or "").split()
        if "tgme_widget_message" in classes and (name := given.get("data-post")):
            self.posts.append(Post(int(name.rpartition("/")[2])))
        elif tag == "time" and self.posts and (when := given.get("datetime")):
            at = datetime.fromisoformat(when)
            if at.utcoffset() is None:
                raise ValueError(f"time={when!r}: has no time zone")
            self.posts[-1].at = micros(at)
        if self.inside:
            self.inside += tag == "div"
            self.posts[-1].text += "\n" if tag == "br" else ""
        elif "tgme_widget_message_text" in classes and self.posts:
            self.inside = 1

    def handle_endtag(self, tag: str) -> None:
        if self.inside and tag == "div":
            self.inside -= 1

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.posts[-1].text += data


def posts_of(answer: Answer) -> list[Post]:
    """The posts of a page, oldest first.

    Raises:
        ProviderAnswerInvalid: it is no page of a channel, or a post has no time.
    """
    if len(answer.content) > MAX_BYTES:
        raise ProviderAnswerInvalid(
            answer.provider, "body", len(answer.content), f"at most {MAX_BYTES:,} bytes"
        )
    text = answer.content.decode("utf-8", "replace")
    page = _Page()
    try:
        page.feed(text)
    except ValueError as error:
        raise ProviderAnswerInvalid(answer.provider, "post", str(error), "a channel") from None
    if not page.posts and "tgme_" not in text:
        raise ProviderAnswerInvalid(answer.provider, "body", text, "the page of a public channel")
    for post in page.posts:
        if not post.at:
            raise ProviderAnswerInvalid(answer.provider, "time", post.number, "the time of a post")
    return sorted(page.posts, key=lambda post: post.number)
