"""Malformed inputs made from valid ones: bytes, tokens, values and structure are changed by chance.

The same random generator makes the same input.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Literal

Kind = Literal["bytes", "text", "json"]

# Values at which readers break: as they stand in a file, since many are no valid JSON.
_VALUES = (
    "null", "true", "false", "0", "-0", "-1", "1", "1e308", "-1e308", "1e999", "-1e999", "5e-324",
    "NaN", "Infinity", "-Infinity", "9223372036854775807", "9223372036854775808",
    "-9223372036854775809", "2147483648", "1" + "0" * 400, "1" + "0" * 5000, "0.1" + "0" * 400,
    "1e-999", "0x10", "1_000", "٣", "[]", "{}", "[[]]", '{"":0}', "[" * 2000, '{"a":' * 2000,
    '""', '" "', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\u202e"', '"\\u001b[31m"',
    '"<script>alert(1)</script>"', "\"'; DROP TABLE candidates; --\"", '"=cmd|x"',
    '"' + "a" * 9999 + '"',
    '"NaN"', '"inf"', '"-1"', '"1e999"', '"2021-13-45"', '"9999-12-31T23:59:59.999999-23:59"',
    '"0001-01-01T00:00:00+23:59"', '"2021-01-01"', '"' + "1" * 5000 + '"',
    '"sha256:' + "0" * 64 + '"',
)  # fmt: skip
_BYTES = (
    b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\x80", b"\x80", b"\x1b[2J",
    b"\r", b"\n", b"\r\n", b"\t", b'"', b"'", b"\\", b",", b";", b":", b"{", b"}", b"[", b"]", b"=",
    b"#", b"&a ", b"*a", b"!!python/object/apply:os.system ", b"<<: ", b"---\n", b"...\n", b"|",
    b">",
    b"%", b"a." * 200, b"[" * 500, b"- " * 300, b"-1", b"0", b"9" * 400, b"1e999", b"nan",
    b"\x7f\xff\xff\xff",
    b"\xff" * 8, b"\0" * 8,
)  # fmt: skip
_TOKENS = re.compile(r"\w+|\s+|[^\w\s]")


def mutate(random: Random, samples: Sequence[bytes], kind: Kind) -> bytes:
    """An input of its own: a sample in which one to four things were changed."""
    data = random.choice(samples)
    ways = _WAYS[kind]
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        data = random.choice(ways)(random, data, samples)
    return data


def _flip(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _put(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = random.randint(0, len(data))
    cut = random.choice((0, 0, 1, 2, 8, 64))
    return data[:at] + random.choice(_BYTES) + data[at + cut :]


def _cut(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at, end = sorted(random.randint(0, len(data)) for _ in range(2))
    return data[:at] if random.random() < 0.3 else data[:at] + data[end:]


def _repeat(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = random.randint(0, len(data))
    piece = data[at : at + random.choice((1, 4, 16, 200))]
    return data[:at] + piece * random.choice((2, 3, 50)) + data[at:]


def _splice(random: Random, data: bytes, samples: Sequence[bytes]) -> bytes:
    other = random.choice(samples)
    return data[: random.randint(0, len(data))] + other[random.randint(0, len(other)) :]


def _token(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Change a word of a text: leave it out, double it, or put another one or a value there."""
    words = _TOKENS.findall(data.decode("utf-8", "surrogateescape"))
    if not words:
        return data
    at = random.randrange(len(words))
    match random.randrange(4):
        case 0:
            del words[at]
        case 1:
            words.insert(at, words[random.randrange(len(words))])
        case 2:
            words[at] = random.choice(_VALUES)
        case _:
            words[at] = words[random.randrange(len(words))]
    return "".join(words).encode("utf-8", "surrogateescape")


def _line(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randrange(3):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[other])
        case _:
            lines[at], lines[other] = lines[other], lines[at]
    return b"\n".join(lines)


def _value(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Change one value of a JSON document, wherever it stands, and leave the rest as it is."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return _put(random, data, ())
    holder: Any = [document]
    key: Any = 0
    # Deeper with every step, so that every depth is met.
    while isinstance(inner := holder[key], dict | list) and inner and random.random() < 0.85:
        holder, key = (
            inner,
            random.choice(list(inner) if isinstance(inner, dict) else range(len(inner))),
        )
    # The whole document: it has no holder of its own.
    root = holder if isinstance(holder, list) and holder and holder[0] is document else None
    raw = "@@here@@"
    match random.randrange(6):
        case 0 | 1:
            holder[key] = raw
        case 2 if root is None:
            if isinstance(holder, dict):
                del holder[key]
            else:
                holder.pop(key)
        case 3 if isinstance(holder, list):
            holder += [holder[key]] * random.choice((1, 2, 40))
        case 4 if isinstance(holder, dict):
            holder["@@here@@" if random.random() < 0.2 else random.choice(list(holder))] = holder[
                key
            ]
        case _:
            holder[key] = [holder[key]] if random.random() < 0.5 else {"a": holder[key]}
    text = json.dumps(root[0] if root is not None else document)
    value = random.choice(_VALUES)
    if random.random() < 0.1:
        # Once more under the same name, which a reader must not take silently.
        text = text.replace("{", '{"a":1,"a":2,', 1)
    return text.replace('"@@here@@"', value).encode("utf-8", "surrogatepass")


Way = Callable[[Random, bytes, Sequence[bytes]], bytes]
_ON_BYTES: tuple[Way, ...] = (_flip, _put, _cut, _repeat, _splice)
_WAYS: dict[Kind, tuple[Way, ...]] = {
    "bytes": _ON_BYTES,
    "text": (*_ON_BYTES, _token, _token, _token, _line, _line),
    "json": (*_ON_BYTES, *(_value,) * 12, _token),
}
