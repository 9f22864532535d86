"""The README and the documents, and what stands in their fenced blocks."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md"))]


def blocks(document: Path, *languages: str) -> list[str]:
    """Its fenced blocks of some languages."""
    fence = rf"^ *```(?:{'|'.join(languages)})\n(.*?)^ *```"
    found = re.findall(fence, document.read_text(), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(one) for one in found]
