"""Figures of sessions, replay, the ledger and provenance."""

from __future__ import annotations

from report.figure import Anchor, Figure

FREQTRADE = Anchor("freqtrade 2026.9", 31_000, "30/15/48 h, 5 slots, 200 pairs x 720 h; 2 cores")
NAUTILUS = Anchor("NautilusTrader 1.221 with fills", 3_000, "event-driven; 2 cores")
MARKETS = {
    "simulated": "the simulated market",
    "uniswap-v2": "the Uniswap V2 tape",
    "spot-1h": "hourly spot",
}
GIB = 1_024.0


def _session(market: str, words: str) -> tuple[Figure, ...]:
    part, tape = f"session-{market}", market == "uniswap-v2"
    return (
        Figure(
            f"session.{market}.events_per_s", f"events of {words}, every record durable",
            "events/s", part, more_is_better=True, asked=100_000 if tape else None,
            anchors=(FREQTRADE, NAUTILUS), floor="machine.copy_rows_per_s", headline=tape,
        ),
        Figure(
            f"session.{market}.again_per_s", f"the same session of {words} again, nothing new",
            "events/s", part, more_is_better=True,
        ),
        Figure(
            f"session.{market}.writer_share", "time in which the writer is busy, beside the work",
            "%", part,
        ),
        Figure(
            f"session.{market}.copy_share", "a plain COPY of the same rows, of the session's time",
            "%", part,
        ),
        Figure(
            f"session.{market}.peak_mib", f"peak memory of sessions of {words}, one process",
            "MiB", part, asked=GIB if tape else None,
        ),
    )  # fmt: skip


def _replay(market: str, words: str) -> tuple[Figure, ...]:
    part, tape = f"replay-{market}", market == "uniswap-v2"
    return (
        Figure(
            f"replay.{market}.identical", f"trades of {words} computed again bit for bit", "%",
            part, more_is_better=True, asked=100, headline=tape,
        ),
        Figure(
            f"replay.{market}.speed_x", f"speed of replaying {words} against the run's", "x", part,
            more_is_better=True, asked=0.5,
        ),
    )  # fmt: skip


def _each_market() -> tuple[Figure, ...]:
    return tuple(
        figure for make in (_session, _replay) for market, words in MARKETS.items()
        for figure in make(market, words)
    )  # fmt: skip


def _kills(name: str, words: str) -> Figure:
    return Figure(
        f"session.kills.{name}", f"SIGKILL of {words}: restarts that end with the same records",
        "%", "session/kills", more_is_better=True, asked=100,
    )  # fmt: skip


_LEDGER = (
    Figure(
        "ledger.verify_s", "verifying a million records", "s", "ledger", asked=60, headline=True
    ),
    Figure("ledger.verify_rows_per_s", "records verified", "rows/s", "ledger", more_is_better=True),
    Figure(
        "ledger.verify_copies_x", "verifying, against a plain COPY out of the same rows", "x",
        "ledger",
    ),
    Figure(
        "ledger.head_ms", "a head over 60 new records among a million", "ms", "ledger",
        floor="machine.commit_ms",
    ),
    Figure(
        "ledger.edits_found", "edits of covered records by a superuser that are found", "%",
        "ledger/edits", more_is_better=True, asked=100, headline=True,
    ),
)  # fmt: skip

_PROVENANCE = (
    *(
        Figure(
            f"provenance.trace_{state}_{name}_ms", f"a trade traced in full, {words}, {name}", "ms",
            "provenance", asked=10 if name == "p99" else None,
            headline=(state, name) == ("warm", "p99"),
        )
        for state, words in (
            ("cold", "after a restart"), ("warm", "not asked for before"),
            ("again", "asked for again"),
        )
        for name in ("p50", "p99")
    ),
    *(
        Figure(
            f"provenance.dataset_{way}_{state}_s", f"lineage {way} of the largest dataset, {state}",
            "s", "provenance", asked=1,
        )
        for way in ("up", "down") for state in ("cold", "warm")
    ),
    Figure(
        "provenance.ingest_x", "appending records, against a plain COPY into the same tables", "x",
        "provenance", more_is_better=True, asked=0.5, headline=True,
    ),
    Figure(
        "provenance.ingest_per_s", "records appended, hashed and chained", "records/s",
        "provenance", more_is_better=True, floor="machine.copy_rows_per_s",
    ),
    Figure(
        "provenance.checks_s", "the checks of a session's run, which ask every stored session", "s",
        "provenance",
    ),
    Figure("provenance.bytes_per_trade", "on disk, of each trade", "bytes", "provenance"),
)  # fmt: skip

RECORDS = (
    *_each_market(),
    _kills("session", "the session"),
    _kills("postmaster", "PostgreSQL"),
    _kills("session and postmaster", "both"),
    Figure(
        "session.kills.server", "SIGKILL of PostgreSQL under clients: no committed row lost", "%",
        "store/server", more_is_better=True, asked=100,
    ),
    *_LEDGER,
    *_PROVENANCE,
)  # fmt: skip
