-- Heads of the ledger: what stands in them is outside of the database; here stands only which were
-- written, so that one that is missing there is missed.
SET LOCAL ROLE trade_owner;

CREATE TABLE trade.ledger_heads (
    number     bigint      PRIMARY KEY CHECK (number >= 0),
    head_hash  bytea       NOT NULL CHECK (octet_length(head_hash) = 32),
    written_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE trade.ledger_heads IS
    'The heads that were written, by number, with the SHA-256 of their files.';
SELECT trade.protect('trade.ledger_heads');

-- A head reads what was appended to a chain since the head before it, once a minute.
CREATE INDEX ON trade.feature_rows (chain_id, chain_seq);
CREATE INDEX ON trade.scans (chain_id, chain_seq);
CREATE INDEX ON trade.live_decisions (chain_id, chain_seq);
CREATE INDEX ON trade.order_intents (chain_id, chain_seq);
CREATE INDEX ON trade.reconciliations (chain_id, chain_seq);

-- A verification reads the partitions themselves, in ranges of blocks: trade_reader may read every
-- table, and so it may read its parts, also those of months to come.
ALTER DEFAULT PRIVILEGES IN SCHEMA trade GRANT SELECT ON TABLES TO trade_reader;
DO $$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT oid FROM pg_class
                WHERE relnamespace = 'trade'::regnamespace AND relispartition AND relkind = 'r' LOOP
        EXECUTE format('GRANT SELECT ON %s TO trade_reader', part);
    END LOOP;
END $$;
