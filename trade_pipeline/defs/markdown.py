"""Tables in markdown, as the UI shows them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from trade_pipeline.core.errors import printable

_HTML = {ord("<"): "&lt;", ord(">"): "&gt;", ord("&"): "&amp;"}
_SPECIAL = re.compile(r"([|\[\]`\\])")


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, numbers to the right."""
    body = [[cell(value) for value in row] for row in rows]
    if not body:
        return "_none_"
    lines = [head, ["---", *("---:" for _ in head[1:])], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def records_table(rows: Sequence[Mapping[str, object]]) -> str:
    """A table of rows that all have the same keys."""
    if not rows:
        return "_none_"
    return markdown_table(
        [
            name.replace("_usd", " (USD)").replace("_pct", " (%)").replace("_", " ")
            for name in rows[0]
        ],
        [list(row.values()) for row in rows],
    )


def cell(value: object) -> str:
    """A value as people read it; a small number keeps three digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    # A token may be named like a tag, a link or a picture from elsewhere.
    plain = printable(str(value)).replace("\n", " ").translate(_HTML)
    return _SPECIAL.sub(r"\\\1", plain)
