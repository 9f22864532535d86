"""One page with every figure: `make bench` and `make reliability` run this.

    python benchmarks/bench.py run [--data DIR] [--only ledger,replay-*] [--full]
    python benchmarks/bench.py reliability [--only live/*]
    python benchmarks/bench.py page              # written anew from what was measured so far
    python benchmarks/bench.py readme            # the headline table into README.md
    python benchmarks/bench.py compare A B       # how many of B's figures lie in A's intervals

What was measured is kept in ``--folder`` (reports), the page beside it as report.md and
report.html.  Parts may be run one at a time: each figure keeps its own commit, time and size.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from report.compare import compare
from report.page import write_pages
from report.parts import BENCHMARKS, ROOT, UnknownPart, chosen, reliability_parts
from report.readme import BadReadme, put_headline
from report.results import BadResults, Results
from report.run import run_parts


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 where a part failed or a figure was not reproduced, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "reports")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="benchmarks")
    run.add_argument("--data", type=Path, help="folder of the recordings")
    run.add_argument("--full", action="store_true", help="the full sizes, which take hours")
    reliability = commands.add_parser("reliability", help="tests of reliability, full counts")
    for part in (run, reliability):
        part.add_argument("--only", default="", help="names or patterns between commas")
        part.add_argument("--list", action="store_true", help="name the parts and run none")
    commands.add_parser("page", help="write the pages anew")
    commands.add_parser("readme", help="put the headline table into README.md")
    against = commands.add_parser("compare", help="a second run against a first")
    against.add_argument("first", type=Path)
    against.add_argument("second", type=Path)
    options = parser.parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except (UnknownPart, BadResults, BadReadme) as error:
        print(error, file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    data = getattr(options, "data", None)
    if data is not None and not data.is_dir():
        print(f"--data={data}: is no folder", file=sys.stderr)
        return 2
    parts = chosen(
        reliability_parts() if options.command == "reliability" else BENCHMARKS, options.only
    )
    if options.list:
        print("\n".join(part.name for part in parts))
        return 0
    folder = options.folder.resolve()
    well = False
    try:
        well = run_parts(
            parts, folder, data and data.resolve(), full=getattr(options, "full", False)
        )
    finally:
        # Also of what was measured until somebody pressed Ctrl-C.
        _page(options)
    return 0 if well else 1


def _page(options: argparse.Namespace) -> int:
    for file in write_pages(Results.read(options.folder), options.folder):
        print(f"written: {file}")
    return 0


def _readme(options: argparse.Namespace) -> int:
    put_headline(ROOT / "README.md", Results.read(options.folder))
    return 0


def _compare(options: argparse.Namespace) -> int:
    comparison = compare(Results.read(options.first), Results.read(options.second))
    print(comparison.told())
    return 1 if comparison.outside or not comparison.inside else 0


_COMMANDS = {
    "run": _run, "reliability": _run, "page": _page, "readme": _readme, "compare": _compare
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
