"""The tables of the records as the catalogue knows them: what copies `trade.ledger_columns`."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from trade_pipeline.core.ledger.chain import LEDGER_COLUMNS

# Columns that a record's content does not tell, since the database gives their values: the leaves
# of the heads cover them.  All are bigint.
UNHASHED = {"deployments": ("deployment_id",)}


@dataclass(frozen=True, slots=True)
class RecordTable:
    """A table of records.

    Attributes:
        columns: name and type of each column besides the ledger's and those that are generated.
        generated: columns that the database computes from the others, and by which expression.
        key: the columns of the primary key.
        parts: where its rows lie: itself, or its partitions that hold any; with their blocks.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    generated: tuple[tuple[str, str], ...]
    key: tuple[str, ...]
    parts: tuple[tuple[str, int], ...]

    @property
    def unhashed(self) -> tuple[str, ...]:
        """See `UNHASHED`."""
        return UNHASHED.get(self.name, ())


_TABLES = """
SELECT c.relname,
       array(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
             AND NOT a.attisdropped ORDER BY a.attnum),
       array(SELECT t.typname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       array(SELECT coalesce(CASE WHEN a.attgenerated <> '' THEN
                 (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d
                  WHERE d.adrelid = c.oid AND d.adnum = a.attnum) END, '')
             FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
             AND NOT a.attisdropped ORDER BY a.attnum),
       array(SELECT a.attname::text
             FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY k (n, o)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.n
             WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY k.o)
FROM pg_class c
WHERE c.relnamespace = 'trade'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relname <> 'ledger_columns'
  AND (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
       AND a.attname = ANY (%s)) = %s
ORDER BY c.relname
"""
_PARTS = """
SELECT root.relname, part.relname,
       (pg_relation_size(part.oid) / current_setting('block_size')::bigint)::bigint
FROM pg_class root
CROSS JOIN LATERAL pg_partition_tree(root.oid) tree
JOIN pg_class part ON part.oid = tree.relid
WHERE root.relnamespace = 'trade'::regnamespace AND tree.isleaf AND root.relname = ANY (%s)
  AND part.relkind = 'r' AND pg_relation_size(part.oid) > 0
UNION ALL
SELECT c.relname, c.relname,
       (pg_relation_size(c.oid) / current_setting('block_size')::bigint)::bigint
FROM pg_class c
WHERE c.relnamespace = 'trade'::regnamespace AND c.relkind = 'r' AND c.relname = ANY (%s)
  AND pg_relation_size(c.oid) > 0
  AND NOT EXISTS (SELECT FROM pg_partition_tree(c.oid))
ORDER BY 1, 2
"""


def record_tables(connection: psycopg.Connection) -> list[RecordTable]:
    """Every table of records, by name."""
    rows = connection.execute(_TABLES, (list(LEDGER_COLUMNS), len(LEDGER_COLUMNS))).fetchall()
    names = [row[0] for row in rows]
    parts: dict[str, list[tuple[str, int]]] = {name: [] for name in names}
    for table, part, blocks in connection.execute(_PARTS, (names, names)).fetchall():
        parts[table].append((part, blocks))
    found = []
    for name, columns, types, expressions, key in rows:
        own = [
            (column, kind, expression)
            for column, kind, expression in zip(columns, types, expressions, strict=True)
            if column not in LEDGER_COLUMNS and column != "recorded_at"
        ]
        found.append(
            RecordTable(
                name,
                tuple((column, kind) for column, kind, expression in own if not expression),
                tuple((column, expression) for column, _, expression in own if expression),
                tuple(key),
                tuple(parts[name]),
            )
        )
    return found
