"""How much personal data the scrubber finds, by kind of data and of text, and what it spares."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report.record import counted

from trade_pipeline.core.research.social.scrubber import Scrubber
from trade_pipeline_tests.core.research.social.corpus import HARMLESS, TEXTS

MARKED = re.compile(r"\{\{(\w+):(.*?)\}\}")
# What is found of each kind of data at least, over all texts.
RECALL = {"email": 1.0, "phone": 0.95, "handle": 0.95, "wallet": 1.0, "name": 0.9, "address": 0.8}
# And of all data in each kind of text.
RECALL_BY_TEXT = {"tweets": 0.95, "telegram": 0.95, "reddit": 0.9, "forum": 0.9, "mixed": 0.9}
# Of the words that are nobody's data, so many stay in texts with people, and in those without.
KEPT, KEPT_WITHOUT_PEOPLE = 0.9, 0.98

scrubber = Scrubber(keep=("PEPE",))


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", re.sub(r"\[\w+\]", " ", text).lower()))


def is_gone(data: str, before: str, after: str) -> bool:
    """Whether no word of it is left, except those that the text also has elsewhere."""
    left = words(after) - words(before)
    return not left & Counter(w for w in words(data) if len(w) > 1)


def measure() -> tuple[Counter[str], Counter[str], dict[str, list[str]], float]:
    """Found and all by kind of data and by kind of text, what was missed, and the share kept."""
    found: Counter[str] = Counter()
    there: Counter[str] = Counter()
    missed: dict[str, list[str]] = {}
    kept = spared = 0
    for place, texts in TEXTS.items():
        for marked in texts:
            plain = MARKED.sub(lambda m: m[2], marked)
            around = MARKED.sub(" ", marked)
            after = scrubber.scrub(plain)
            for kind, data in MARKED.findall(marked):
                gone = is_gone(data, around, after)
                for key in (kind, place):
                    there[key] += 1
                    found[key] += gone
                if not gone:
                    missed.setdefault(kind, []).append(data)
            harmless = words(re.sub(r"https?://\S+", " ", around))
            kept += (harmless & words(after)).total()
            spared += harmless.total()
    return found, there, missed, kept / spared


@pytest.mark.reliability
def test_recall_by_kind_of_data_and_of_text_and_what_is_spared(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found, there, missed, kept = measure()
    recall = {key: found[key] / count for key, count in there.items()}
    told = ", ".join(f"{key} {found[key]}/{there[key]}" for key in there)
    with capsys.disabled():
        print(f"\nscrubber recall: {told}; words kept {kept:.3f}; missed {missed}")
    for key, least in (RECALL | RECALL_BY_TEXT).items():
        assert recall[key] >= least, (key, missed)
    assert kept >= KEPT
    kinds = [kind for kind in there if kind in RECALL]
    counted(
        "features.scrubber_recall", sum(found[kind] for kind in kinds),
        sum(there[kind] for kind in kinds), size=", ".join(kinds),
    )  # fmt: skip


def test_texts_without_people_stay_as_they_are() -> None:
    before, after = Counter[str](), Counter[str]()
    changed = []
    for text in HARMLESS:
        scrubbed = scrubber.scrub(text)
        before += words(text)
        after += words(text) & words(scrubbed)
        if scrubbed != text:
            changed.append(scrubbed)
    assert after.total() / before.total() >= KEPT_WITHOUT_PEOPLE, changed


def test_the_contract_and_the_symbol_that_a_text_is_about_stay() -> None:
    contract = "0x6982508145454Ce325dDbE47a25d4ec3d2311933"
    mint = "DezXAZ8z7PnrnRJjz3wXBoRgixCa6xjnB7YaB1pPB263"
    text = f"{contract} is PEPE, {mint} is BONK, but {contract[:-1]}4 is mine"
    kept = Scrubber(keep=(contract.lower(), mint, "PEPE")).scrub(text)
    assert kept == f"{contract} is PEPE, {mint} is BONK, but [wallet] is mine"


DIGITS = st.text("0123456789", min_size=7, max_size=7)
USER = st.from_regex(r"[a-z][a-z0-9_]{3,12}", fullmatch=True)
HEX = st.text("0123456789abcdef", min_size=40, max_size=40)
AROUND = st.sampled_from(["{}", "dm {} now", "send to {}, thanks", "({})", "check:{}!", "{}\ngm"])


@settings(max_examples=25, deadline=None)
@given(AROUND, USER, st.sampled_from(["gmail.com", "mail.ru", "web.de", "pm.me", "x.co.uk"]))
def test_no_email_is_left(around: str, user: str, domain: str) -> None:
    left = scrubber.scrub(around.format(f"{user}@{domain}"))
    assert "[email]" in left
    assert domain not in left


@settings(max_examples=25, deadline=None)
@given(AROUND, USER)
def test_no_handle_is_left(around: str, user: str) -> None:
    assert scrubber.scrub(around.format(f"@{user}")) == around.format("[handle]")


@settings(max_examples=25, deadline=None)
@given(AROUND, HEX)
def test_no_wallet_is_left(around: str, digits: str) -> None:
    assert scrubber.scrub(around.format(f"0x{digits}")) == around.format("[wallet]")


@settings(max_examples=25, deadline=None)
@given(AROUND, st.sampled_from(["415", "212", "646", "310"]), DIGITS)
def test_no_international_phone_number_is_left(around: str, area: str, digits: str) -> None:
    # Exchanges begin with 2 to 9.
    number = f"+1 {area} {2 + int(digits[0]) % 8}{digits[1:3]} {digits[3:]}"
    left = scrubber.scrub(around.format(number))
    assert digits[3:] not in left


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=200))
def test_any_text_can_be_scrubbed_and_scrubbing_again_brings_nothing_back(text: str) -> None:
    assert len(scrubber.scrub(text)) <= 10 * len(text) + 10
