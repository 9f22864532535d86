"""What is changed in a dump before a server gets it."""

from __future__ import annotations

import io

from trade_pipeline.core.backup.programs import _told

SETTINGS = (
    b"SET transaction_timeout = 0;\n"
    b'ALTER TABLE ONLY trade.outcomes ALTER COLUMN "when" SET (pg_attver=22161848);\n'
)
TABLE = b"CREATE TABLE trade.outcomes (uuid uuid, why text);\n"
ROWS = b"COPY trade.outcomes (uuid, why) FROM stdin;\n" + SETTINGS + b"\\.\n"


def test_settings_that_servers_do_not_know_are_left_out_and_rows_that_look_like_them_are_not() -> (
    None
):
    assert b"".join(_told(io.BytesIO(SETTINGS + TABLE + SETTINGS + ROWS))) == TABLE + ROWS


def test_other_settings_of_columns_are_kept() -> None:
    other = b"ALTER TABLE ONLY trade.outcomes ALTER COLUMN uuid SET (n_distinct=-1);\n"
    assert b"".join(_told(io.BytesIO(other + ROWS))) == other + ROWS
