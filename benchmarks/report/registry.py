"""Every figure of the report, in the order of its pages."""

from __future__ import annotations

from report.figure import Figure
from report.measured_live import LIVE
from report.measured_models import MODELS
from report.measured_records import RECORDS
from report.measured_work import WORK

# Of the machine itself, measured first and last of each run.
MACHINE = (
    Figure("machine.commit_ms", "one durable commit of one row", "ms", "floors"),
    Figure(
        "machine.copy_rows_per_s", "plain COPY of rows of 100 bytes, one commit", "rows/s",
        "floors", more_is_better=True,
    ),
    Figure(
        "machine.round_trip_us", "a message of one byte to another process on loopback and back",
        "µs", "floors",
    ),
    Figure("machine.hash_mb_per_s", "SHA-256", "MB/s", "floors", more_is_better=True),
    Figure(
        "machine.python_million_per_s", "turns of an empty Python loop on one core", "million/s",
        "floors", more_is_better=True,
    ),
    Figure(
        "machine.memory_gb_per_s", "copying 256 MiB in memory", "GB/s", "floors",
        more_is_better=True,
    ),
    Figure(
        "machine.two_cores_x", "the same loop in two processes at once, against one", "x",
        "floors", more_is_better=True,
    ),
)  # fmt: skip

SECTIONS = {
    "machine": "The machine",
    "session": "Sessions",
    "replay": "Replay",
    "features": "Features",
    "rugs": "Rugs",
    "models": "Models",
    "gates": "Gates",
    "canary": "Canaries",
    "live": "Live sessions",
    "ledger": "The ledger",
    "provenance": "Provenance at scale",
    "experiments": "Experiments",
    "operations": "Operations",
}

FIGURES = {figure.key: figure for figure in (*MACHINE, *RECORDS, *MODELS, *LIVE, *WORK)}
