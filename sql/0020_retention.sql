-- Raw artifacts go when their time is over: the bytes, never the address, and the removal is a record.
SET LOCAL ROLE trade_owner;

-- Written before the bytes go: whoever is killed in between leaves a trail, and the next run completes
-- what it says.
CREATE TABLE trade.artifact_tombstones (
    LIKE trade.ledger_columns INCLUDING ALL,
    address    text        NOT NULL REFERENCES trade.artifacts,
    removal    integer     NOT NULL CHECK (removal >= 0),
    removed_at timestamptz NOT NULL,
    size_bytes bigint      NOT NULL CHECK (size_bytes >= 0),
    kind       text        NOT NULL CHECK (kind IN ('expired', 'erased')),
    reason     text        NOT NULL CHECK (reason <> ''),
    by_whom    text        NOT NULL CHECK (by_whom <> ''),
    PRIMARY KEY (address, removal)
);
COMMENT ON TABLE trade.artifact_tombstones IS
    'Artifacts whose bytes were removed; removal counts those of one address, which may come again.';
SELECT trade.protect('trade.artifact_tombstones');
CREATE INDEX ON trade.artifact_tombstones (chain_id, chain_seq DESC);

-- The same bytes stored again: they live as long as the newest of those who stored them said.
CREATE TABLE trade.artifact_renewals (
    address    text        NOT NULL REFERENCES trade.artifacts,
    -- How many times they had been removed by then.
    removals   integer     NOT NULL CHECK (removals >= 0),
    -- Infinity: for ever.
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (address, removals, expires_at)
);
SELECT trade.protect('trade.artifact_renewals');

CREATE INDEX ON trade.artifacts (expires_at) WHERE expires_at IS NOT NULL;

CREATE VIEW trade.artifact_states AS
SELECT a.address, a.uri, a.size_bytes, a.media_type, a.created_at,
       nullif(greatest(coalesce(a.expires_at, 'infinity'), r.expires_at), 'infinity') AS expires_at,
       coalesce(t.removals, 0) AS removals,
       CASE WHEN t.removals > coalesce(r.removals, 0) THEN t.removed_at END AS removed_at
FROM trade.artifacts a
LEFT JOIN (SELECT address, max(removals) AS removals, max(expires_at) AS expires_at
           FROM trade.artifact_renewals GROUP BY address) r USING (address)
LEFT JOIN (SELECT address, count(*)::integer AS removals, max(removed_at) AS removed_at
           FROM trade.artifact_tombstones GROUP BY address) t USING (address);
COMMENT ON VIEW trade.artifact_states IS
    'Artifacts with when their time is over (null: never) and since when their bytes are gone (null: they are there).';
GRANT SELECT ON trade.artifact_states TO trade_writer, trade_reader, trade_admin;
