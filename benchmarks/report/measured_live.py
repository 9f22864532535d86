"""Figures of live sessions."""

from __future__ import annotations

from report.figure import Figure

_ARRIVAL = "from an event's arrival to its order's durable intent"


def _intent(leg: str) -> tuple[Figure, ...]:
    return (
        Figure(
            f"live.{leg}_p50_ms", f"{leg}: {_ARRIVAL}, median", "ms", "live",
            floor="live.commit_p50_ms", headline=leg == "entry",
        ),
        Figure(
            f"live.{leg}_p99_ms", f"{leg}: {_ARRIVAL}, p99", "ms", "live",
            floor="live.commit_p99_ms",
        ),
        Figure(
            f"live.{leg}_p50_of_bound",
            f"{leg}, median: of the larger of 1.5 commits and one and 3 ms", "x", "live", asked=1,
        ),
        Figure(
            f"live.{leg}_p99_of_bound",
            f"{leg}, p99: of the larger of 3 commits' p99 and one and 10 ms", "x", "live", asked=1,
        ),
    )  # fmt: skip


LIVE = (
    Figure("live.commit_p50_ms", "a durable commit beside each intent, median", "ms", "live"),
    Figure("live.commit_p99_ms", "a durable commit beside each intent, p99", "ms", "live"),
    *_intent("entry"),
    *_intent("exit"),
    Figure("live.scan_ms", "a scan of 10,000 tokens, 100 of them candidates", "ms", "live",
           asked=50, headline=True),
    Figure(
        "live.sustained_per_s", "events of the wall's time held", "events/s", "sustained",
        more_is_better=True, asked=990, only_full=True,
    ),
    Figure(
        "live.sustained_late_p99_ms", "how late batches were worked off, p99", "ms", "sustained",
        only_full=True,
    ),
    Figure(
        "live.sustained_growth_mib", "memory that the second half of it added", "MiB",
        "sustained", only_full=True,
    ),
    Figure(
        "live.soak_without_holder_s", "half an hour of paper under dagster dev, its run killed: "
        "longest time without a session", "s", "soak", asked=30, only_full=True, headline=True,
    ),
    Figure(
        "live.soak_faults", "faults seen in it: findings, growth, lost epochs, ghost runs", "",
        "soak", asked=0, only_full=True,
    ),
    Figure(
        "live.chaos_right", "sessions under random faults with books right to the cent", "%",
        "live/chaos", more_is_better=True, asked=100, headline=True,
    ),
    Figure("live.chaos_orders", "orders in them", "", "live/chaos", more_is_better=True),
    Figure("live.chaos_trades", "closed trades in them", "", "live/chaos", more_is_better=True),
    Figure("live.chaos_sessions", "sessions that it took", "", "live/chaos", more_is_better=True),
    Figure(
        "live.sleepers_harmless", "processes stopped between commit and sending that wake up "
        "after their lease, and double nothing", "%", "live/lease", more_is_better=True,
        asked=100,
    ),
    Figure(
        "live.killed_before_sending", "processes killed before a sending whose order is sent once",
        "%", "live/recovery", more_is_better=True, asked=100,
    ),
    Figure(
        "live.exchange_kills", "SIGKILLs of the exchange while orders arrive: each stands once",
        "%", "local_exchange/server", more_is_better=True, asked=100,
    ),
    Figure(
        "live.successor_s", "from SIGKILL of the live run to the next one's lease, worst", "s",
        "reliability/lifecycle", asked=30,
    ),
)  # fmt: skip
