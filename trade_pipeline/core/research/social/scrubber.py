# ruff: noqa: RUF001 - other alphabets look like ours, and people write in them.
"""Take personal data out of a text: what is left of it names nobody.

It would rather take too much than too little.  Measured recall and precision are in its tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from trade_pipeline.core.research.social.names import (
    all_names,
    common_words,
    family_names,
    given_names,
)

# Whose ways of writing a number without its country's code are known.
_REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "IN", "RU", "BR", "NG", "TR", "NL")

_LINK = re.compile(
    r"(?:https?://|www\.)\S+|\b(?:t\.me|discord\.gg|x\.com|twitter\.com|instagram\.com|wa\.me|"
    r"facebook\.com|linkedin\.com|reddit\.com|github\.com|youtube\.com|tiktok\.com)/\S+",
    re.IGNORECASE,
)
_DOT = r"\s*(?:\.|\[\.\]|\(\.\)|[\[(\s]\s*dot\s*[\])\s])\s*"
_AT = r"\s*(?:@|＠|[\[({]\s*(?:at|@)\s*[\])}]|\s+at\s+)\s*"
_EMAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")
_HIDDEN_EMAIL = re.compile(
    rf"\b[\w+-]+(?:{_DOT}[\w+-]+)*{_AT}[\w-]+(?:{_DOT}(?:com|org|net|io|me|de|fr|ru|co|uk|info|"
    r"dev|xyz|es|br|ch))+\b",
    re.IGNORECASE,
)
_WALLET = re.compile(
    r"\b0x[0-9a-fA-F]{40,64}\b"
    r"|\b[0-9a-fA-F]{64}\b"
    r"|\b(?:bc1|tb1|ltc1|cosmos1|osmo1|inj1|terra1|addr1|secret1|sei1|thor1)[0-9a-z]{20,}\b"
    r"|\b(?:EQ|UQ)[\w-]{46}(?![\w-])"
    r"|\b[1-9A-HJ-NP-Za-km-z]{32,88}\b"
    r"|\b[13][1-9A-HJ-NP-Za-km-z]{25,33}\b"
    r"|\b0x[0-9a-fA-F]{2,8}(?:\.{2,3}|…)[0-9a-fA-F]{2,8}\b"
    r"|\b[\w-]+\.(?:eth|sol|bnb|crypto|nft|lens)\b",
)
_HANDLE = re.compile(
    r"(?<![\w.])[@＠]\w[\w.]{1,}\w"
    r"|(?<!\w)/?[uU]/[\w-]{3,}"
    r"|\b[\w.]{2,32}#\d{4}\b"
)
# A word after the name of a place where people have accounts.
_ACCOUNT = re.compile(
    r"(?P<place>\b(?:telegram|tg|tele|discord|insta|instagram|ig|snap|snapchat|skype|wechat|signal|"
    r"twitter|user(?:name)?|handle|kik)\b(?:\s+(?:is|handle|me|id|user|name|@))*\s*[:=-]?\s*)"
    r"(?P<who>(?=[\w.]*[\d_.]|[\w.]*[a-z][A-Z])[\w.]{4,})",
    re.IGNORECASE,
)
_STREETS = (
    r"(?:street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|place|pl|square|sq|"
    r"terrace|way|close|crescent|parkway|pkwy|highway|hwy)"
)
_PART = r"[^\W\d_][\w'.-]*"
_TOWN = r"[^\W\d_]+(?:['.-][^\W\d_]+)*"
_PLACE = (
    r"(?:,?\s+(?:apt|apartment|flat|unit|suite|#)\.?\s*\w+)?"
    rf"(?:,\s*{_TOWN}\b(?:\s{_TOWN}\b){{0,2}})*"
)
_ADDRESS = re.compile(
    # 12 Baker Street, Flat 2, London NW1 6XE
    rf"\b\d{{1,5}}[a-z]?\s+(?:{_PART}\s+){{1,3}}{_STREETS}\b\.?{_PLACE}"
    r"(?:,?\s+[A-Z]{1,2}\d[\dA-Z]?\s+\d[A-Z]{2}|,?\s+[A-Z]{2}\s+\d{5}(?:-\d{4})?|,?\s+\d{5})?"
    # Musterstraße 5, 12345 Berlin
    r"|\b[^\W\d_][\w-]*(?:\s[^\W\d_][\w-]*)?[\s-]?(?:stra(?:ß|ss)e|str\.|weg|gasse|allee|platz|ufer|damm)"
    rf"\s*\d{{1,4}}\s?[a-z]?\b(?:,?\s*(?:D-)?\d{{4,5}}\s+{_PART})?"
    # 12 rue de la Paix, 75002 Paris; Calle Mayor 5, 28013 Madrid; Via Roma 3
    rf"|\b\d{{1,4}}(?:\s?bis)?,?\s+(?:rue|avenue|boulevard|place|chemin|all[ée]e|impasse|quai)\s+"
    rf"(?:{_PART}\s?){{1,5}}(?:,?\s*\d{{5}}\s+{_PART})?"
    rf"|\b(?:calle|avenida|av\.|plaza|paseo|carrera|rua|travessa|via|viale|piazza|corso)\s+"
    rf"(?:{_PART}\s?){{1,4}},?\s*(?:n[º°o.]?\s*)?\d{{1,4}}\b(?:,?\s*\d{{4,5}}(?:-\d{{3}})?\s+{_PART})?"
    # ул. Ленина, д. 5, кв. 12
    rf"|(?:\bг\.\s*{_PART},?\s*)?\b(?:ул\.?|улица|пр\.?|проспект|пер\.?|переулок)\s+(?:{_PART}\s?)"
    r"{1,3},?\s*(?:д\.?|дом)?\s*\d{1,4}\w?(?:,?\s*(?:кв\.?|квартира)\s*\d{1,4})?"
    r"|\bP\.?\s?O\.?\s+Box\s+\d+",
    re.IGNORECASE,
)
_INTRODUCED = re.compile(
    r"\b(?:(?i:my name is|name's|i am|i'm|im|this is|call me|ask for|contact|regards|cheers"
    r"|sincerely|mr|mrs|ms|dr|prof|sir|herr|frau|señora?|monsieur|madame|mein name ist"
    r"|ich hei(?:ß|ss)e|ich bin|je m'appelle|je suis|me llamo|mi nombre es|mi chiamo"
    r"|meu nome é|me chamo|меня зовут|я)\b)"
    r"[.,:]?\s+(?P<who>[^\W\d_a-zа-яё][\w'’-]*(?:\s+[^\W\d_a-zа-яё][\w'’-]*){0,3})"
)
# What may hold a phone number.
_DIGITS = re.compile(r"(?<![\d.,-])(?!\d{4}-\d{2}-\d{2}\b)[+(]*\d[\d\s()./-]{5,}\d")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_IDEOGRAPHS = re.compile(r"[\u3400-\u9fff\uac00-\ud7af]{2,}")
# What stands between two parts of one name.
_PARTICLES = frozenset(
    ("de", "da", "do", "dos", "del", "della", "di", "van", "von", "der", "den", "bin", "ibn", "ter")
)
_BETWEEN = re.compile(rf"\s+(?:(?:{'|'.join(sorted(_PARTICLES))})\s+){{0,2}}|\s+[A-Z]\.\s+")


class Scrubber:
    """Takes people out of texts.

    Args:
        keep: what stays although it looks like somebody's: the contract and the names of the token
            that the text is about.
    """

    def __init__(self, keep: Iterable[str] = ()) -> None:
        self._keep = {text.lower() for text in keep}

    def scrub(self, text: str) -> str:
        """The text without personal data; each place of it says what was there."""
        text = _LINK.sub("[link]", text)
        text = _EMAIL.sub("[email]", text)
        text = _HIDDEN_EMAIL.sub("[email]", text)
        text = self._replace(_WALLET, "[wallet]", text)
        text = self._replace(_HANDLE, "[handle]", text)
        text = _ACCOUNT.sub(lambda found: found["place"] + "[handle]", text)
        text = _ADDRESS.sub("[address]", text)
        text = _without(text, _phones(text), "[phone]")
        return _without(text, self._people(text), "[name]")

    def _replace(self, pattern: re.Pattern[str], mark: str, text: str) -> str:
        def kept(found: re.Match[str]) -> str:
            return found[0] if found[0].lower() in self._keep else mark

        return pattern.sub(kept, text)

    def _people(self, text: str) -> list[tuple[int, int]]:
        found = [found.span("who") for found in _INTRODUCED.finditer(text)
                 if not self._is_word(found["who"])]  # fmt: skip
        words = [
            word
            for word in _WORD.finditer(text)
            if text[word.start() - 1 : word.start()] != "[" and word[0] not in _PARTICLES
        ]
        index = 0
        while index < len(words):
            run = _run(text, words, index)
            if self._is_name([word[0] for word in run]):
                found.append((run[0].start(), run[-1].end()))
                index += len(run)
            else:
                index += 1
        for block in _IDEOGRAPHS.finditer(text):
            found += [
                (block.start() + a, block.start() + b) for a, b in _written_together(block[0])
            ]
        return found

    def _is_word(self, text: str) -> bool:
        """Whether a text is kept, or its first word is one that is common."""
        first = text.split()[0].lower()
        return text.lower() in self._keep or first in common_words() or first in self._keep

    def _is_name(self, words: list[str]) -> bool:
        low = [word.lower() for word in words if word.lower() not in self._keep]
        if len(low) < len(words) or not low:
            return False
        first, rest = low[0], low[1:]
        parts = {piece for word in low for piece in re.split("['’-]", word)}
        named = parts & all_names()
        if rest:
            # Two in a row: one of them is on the lists and one of them is no common word.
            return bool(named) and any(word not in common_words() for word in low)
        has_case = first.upper() != first
        known = parts & given_names() or (has_case and parts & family_names())
        written = words[0][0].isupper() and not (words[0].isupper() and len(first) > 1)
        if has_case and not written:
            # In small letters, or shouted: only what can hardly be anything else.
            return len(first) > 3 and first in given_names() and first not in common_words()
        return bool(known) and first not in common_words()


def _run(text: str, words: list[re.Match[str]], index: int) -> list[re.Match[str]]:
    """The words from one on that could be one name: all with capitals, or a pair without."""
    run = [words[index]]
    for word in words[index + 1 : index + 4]:
        between = text[run[-1].end() : word.start()]
        if not _BETWEEN.fullmatch(between):
            break
        one, two = run[-1][0], word[0]
        titled = one[0].isupper() and two[0].isupper() and not (one.isupper() or two.isupper())
        small = (
            len(run) == 1
            and not titled
            and one.lower() in given_names()
            and two.lower() in all_names()
            and not {one.lower(), two.lower()} & common_words()
        )
        if not titled and not small:
            break
        run.append(word)
    return run


def _written_together(text: str) -> Iterator[tuple[int, int]]:
    """Names in scripts that put no space between family and given name."""
    start = 0
    while start < len(text):
        for first, second in ((2, 2), (2, 1), (1, 2), (2, 3), (1, 1)):
            end = start + first + second
            family, given = text[start : start + first], text[start + first : end]
            if end <= len(text) and family in family_names() and given in given_names():
                yield start, end
                start = end
                break
        else:
            start += 1


def _phones(text: str) -> list[tuple[int, int]]:
    import phonenumbers
    from phonenumbers import Leniency, PhoneNumberMatcher

    found = []
    for digits in _DIGITS.finditer(text):
        for region in (None, *_REGIONS):
            leniency = Leniency.POSSIBLE if region is None else Leniency.VALID
            matcher = PhoneNumberMatcher(digits[0], region or phonenumbers.UNKNOWN_REGION, leniency)
            begin = digits.start()
            found += [(begin + match.start, begin + match.end) for match in matcher]
    return found


def _without(text: str, spans: Iterable[tuple[int, int]], mark: str) -> str:
    """The text with a mark in the place of each span; spans may overlap."""
    parts, at = [], 0
    for start, end in sorted(spans):
        if start >= at:
            parts += [text[at:start], mark]
        at = max(at, end)
    return "".join([*parts, text[at:]])
