"""What one source says about a token: a level and counts, and nothing about anybody."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.providers.http import Answer
from trade_pipeline.core.research.social.scoring import level, score
from trade_pipeline.core.research.social.scrubber import Scrubber

# Shorter symbols are words or parts of them.
_MIN_SYMBOL = 3


@dataclass(frozen=True)
class Subject:
    """The token that is spoken of."""

    chain: str
    contract: str
    symbol: str

    def is_named_in(self, text: str) -> bool:
        """Whether a text names it: by contract, by ``$symbol``, or by the symbol in capitals."""
        return self._pattern.search(text) is not None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        symbol = re.escape(self.symbol)
        named = [rf"(?i:\${symbol}\b)", rf"(?i:{re.escape(self.contract)})"]
        if len(self.symbol) >= _MIN_SYMBOL:
            named.append(rf"(?<![\w$]){re.escape(self.symbol.upper())}\b")
        return re.compile("|".join(named))


@dataclass(frozen=True, slots=True)
class SocialReading:
    """One source at one moment.

    Attributes:
        level: 0..1, 0.5 is neutral; None where too few spoke.
        texts: how many texts the level is the mean of (votes are none).
        mentions: texts of the last day that name the token; None where they are not counted.
        excerpts: scrubbed texts, where a setting asks for them.
        answer: what is kept of the source's answer; of texts only their scores.
    """

    source: str
    level: float | None
    texts: int
    mentions: int | None
    excerpts: tuple[str, ...]
    answer: Answer


def reading_of_texts(
    source: str, subject: Subject, texts: Sequence[str], at: int, excerpts: int = 0
) -> SocialReading:
    """Score the texts that name the token, and let go of them.

    Args:
        at: microseconds since 1970-01-01 UTC.
        excerpts: how many scrubbed texts are kept.
    """
    named = [text for text in texts if subject.is_named_in(text)]
    scores = [score(text) for text in named]
    scrubber = Scrubber((subject.contract, subject.symbol))
    kept = tuple(scrubber.scrub(text) for text in named[:excerpts])
    found = level(scores)
    content = canonical_bytes(
        {
            "source": source,
            "chain": subject.chain,
            "contract": subject.contract,
            "symbol": subject.symbol,
            "observed_at": moment_of(at),
            "level": found,
            # Sorted, so that no order tells which text was whose.
            "scores": sorted(scores),
            "mentions": len(named),
            "excerpts": list(kept),
        }
    )
    return SocialReading(source, found, len(named), len(named), kept, Answer(source, content, at))
