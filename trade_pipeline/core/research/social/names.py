"""Names of people in many languages, from Faker's lists, and words that alone are no name."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from functools import cache

# Words that are in the lists of names, and are said of tokens far more often.
_WORDS_OF_THE_TRADE = """
able ada alpha always amp ape april art ash august avalanche bag base bear bee bill bitcoin blast
bless block bo bonk book brook bull buy buyers can cap case cash cat chad chain chance charity
coin cruz crypto dai dash day dean dev diamond dip discord dog doge dragon earn eden ether
ethereum eve ever exit faith fan fantom fee fees felicity fire flow fox frank gas gem genesis
glory gold good grace grant green guy han harmony he her hero hi him his honor hope hunter ice ivy
jade joy june just king lake land lane leo liberty linda link lion liquidity lock long luna mack
major make man mark market mars mason max may mercy meta mint miracle money moon more near neo new
nova ocean olive only page park peace pearl penny pepe pool price prince prosper pump queen rain
ray real reddit rich rise river rob rock rose royal ruby rug rugs sale sandy say see sell serenity
shell shib short sky sol solana song sonic spring star sterling stone storm strong sun sunny
sunshine supply swap tag team telegram token ton tron trust try twitter uni unity van victor
victory violet virtue volume walker wall wallet was west whale whales white will win wise wolf
wood worth young zen zero
"""


def _providers(kind: str) -> Iterator[object]:
    """Faker's lists of a kind in every language."""
    package = importlib.import_module(f"faker.providers.{kind}")
    for module in pkgutil.iter_modules(package.__path__):
        if module.ispkg:
            yield importlib.import_module(f"faker.providers.{kind}.{module.name}").Provider


def _words(lists: Iterable[Iterable[str]]) -> Iterator[str]:
    for names in lists:
        for name in names:
            yield from re.findall(r"[^\W\d_]+", name.lower())


def _lists(kind: str, prefix: str) -> Iterator[Iterable[str]]:
    for provider in _providers(kind):
        for name in dir(provider):
            value = getattr(provider, name)
            if name.startswith(prefix) and isinstance(value, tuple | list | dict | set):
                yield (text for text in value if isinstance(text, str))


@cache
def given_names() -> frozenset[str]:
    """First names in lower case, a word each."""
    return frozenset(_words(_lists("person", "first_name")))


@cache
def family_names() -> frozenset[str]:
    """Last names in lower case, a word each."""
    return frozenset(_words(_lists("person", "last_name")))


@cache
def all_names() -> frozenset[str]:
    """First and last names."""
    return given_names() | family_names()


@cache
def common_words() -> frozenset[str]:
    """Words that, alone, are no name: of several languages' texts, of sentiment, of the trade."""
    from trade_pipeline.core.research.social.scoring import _analyzer

    texts = (words for words in _lists("lorem", "word_list"))
    return frozenset({*_words(texts), *_analyzer().lexicon, *_WORDS_OF_THE_TRADE.split()})
