"""Texts to a sentiment, offline, by VADER's lexicon and the words of this trade."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

# In VADER's unit, -4 (worst) to 4 (best): what its lexicon lacks or means otherwise.
CRYPTO_WORDS = {
    "ath": 1.5, "bearish": -2.5, "bullish": 2.5, "bagholder": -1.5, "delisted": -2.5,
    "drained": -3.0, "dump": -2.0, "dumped": -2.2, "dumping": -2.2, "exploit": -2.5,
    "exploited": -3.0, "fud": -1.0, "gem": 2.0, "hacked": -3.0, "hodl": 1.2, "honeypot": -3.5,
    "lfg": 2.0, "listed": 1.0, "moon": 2.0, "mooning": 2.5, "ngmi": -2.0, "pumping": 1.5,
    "rekt": -2.5, "renounced": 1.0, "rocket": 2.0, "rug": -3.0, "rugged": -3.5, "rugpull": -3.5,
    "safu": 2.0, "scam": -3.2, "scammer": -3.2, "scammers": -3.2, "unsellable": -3.0, "wagmi": 2.0,
}  # fmt: skip
# Fewer texts tell nothing of a mood.
MIN_TEXTS = 3


@cache
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    analyzer.lexicon.update(CRYPTO_WORDS)
    return analyzer


def score(text: str) -> float:
    """The sentiment of one text in -1..1; 0 is neutral, or a language that it does not know."""
    return float(_analyzer().polarity_scores(text)["compound"])


def level(scores: Sequence[float]) -> float | None:
    """The level of some texts in 0..1, 0.5 is neutral; None of fewer than `MIN_TEXTS`."""
    if len(scores) < MIN_TEXTS:
        return None
    return 0.5 + 0.5 * math.fsum(scores) / len(scores)
