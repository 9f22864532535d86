-- Recorded live markets: every column of a market event, the facts that were known beside them, and
-- what of an account's market is recorded.  Not records: they are moved into tapes when they are old.
-- A recorder keeps what came, as it came; whoever reads a tape judges it.
SET LOCAL ROLE trade_owner;

ALTER TABLE trade.market_series
    DROP CONSTRAINT IF EXISTS market_series_price_usd_check,
    DROP CONSTRAINT IF EXISTS market_series_check,
    -- Which recording: that of an account's live sessions.
    ADD COLUMN account              text    NOT NULL,
    -- The event's place among those that were known at the same moment.
    ADD COLUMN number               integer NOT NULL,
    ADD COLUMN open_usd             double precision,
    ADD COLUMN high_usd             double precision,
    ADD COLUMN low_usd              double precision,
    ADD COLUMN flow_usd             double precision,
    ADD COLUMN liquidity_change_usd double precision;
COMMENT ON TABLE trade.market_series IS
    'Market events that live sessions read; NULL is unknown. Units as in MarketBatch.';

-- What sessions were told about an instrument besides its events.  An answer holds from the moment
-- that was asked about to the next row's; of rows of one moment the one with the largest number.
CREATE SEQUENCE trade.market_facts_number;
CREATE TABLE trade.market_facts (
    account    text               NOT NULL,
    market     text               NOT NULL,
    instrument text               NOT NULL,
    question   text               NOT NULL CHECK (question IN ('facts', 'mentions', 'rules')),
    known_at   timestamptz        NOT NULL,
    number     bigint             NOT NULL DEFAULT nextval('trade.market_facts_number'),
    names      text[]             NOT NULL,
    -- NaN is unknown.
    told       double precision[] NOT NULL,
    CHECK (cardinality(names) = cardinality(told))
) PARTITION BY RANGE (known_at);
CREATE INDEX ON trade.market_facts (account, market, question, instrument, known_at, number);

CREATE TABLE trade.market_instruments (
    account          text    NOT NULL,
    market           text    NOT NULL,
    name             text    NOT NULL,
    -- Its place in the feed, which decides what comes first at one moment.
    place            integer NOT NULL,
    symbol           text,
    contract_address text,
    created_at       timestamptz,
    PRIMARY KEY (account, market, name)
);

-- Up to where an account's market is recorded, microseconds since 1970.  Mutable: it moves in the
-- transaction that adds events, so that an event that is read again is never recorded again, and
-- what was lost is known as a hole.
CREATE TABLE trade.market_recordings (
    account  text           NOT NULL REFERENCES trade.leases,
    market   text           NOT NULL,
    covered  int8multirange NOT NULL,
    -- The latest moment about which facts were asked and noted.
    asked_to bigint         NOT NULL,
    PRIMARY KEY (account, market)
);

GRANT SELECT, INSERT ON trade.market_facts, trade.market_instruments TO trade_writer;
GRANT SELECT, INSERT, UPDATE ON trade.market_recordings TO trade_writer;
GRANT USAGE ON SEQUENCE trade.market_facts_number TO trade_writer;
GRANT SELECT ON trade.market_facts, trade.market_instruments, trade.market_recordings
    TO trade_reader, trade_admin;

-- The monthly partitions of recorded markets alone, for a recorder that works beside a session: it
-- must lock no table that the session's records go to.  The lock is that of ensure_partitions, and a
-- recorder holds it shared while it writes, so that neither ever waits for the other's tables.
CREATE FUNCTION trade.ensure_series_partitions(first_moment timestamptz, last_moment timestamptz)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '30s' AS $$
DECLARE
    parent    text;
    partition text;
    month     timestamptz;
BEGIN
    IF first_moment IS NULL OR last_moment IS NULL OR last_moment < first_moment
       OR last_moment > first_moment + interval '20 years'
       OR first_moment < '1970-01-01Z' OR last_moment >= '10000-01-01Z' THEN
        RAISE EXCEPTION 'ensure_series_partitions(%, %): expected at most 20 years between 1970 '
            'and 9999', first_moment, last_moment USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('trade.ensure_partitions'));
    -- A hypertable makes its own.
    FOR parent IN
        SELECT c.relname FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid
        WHERE c.relnamespace = 'trade'::regnamespace
          AND c.relname IN ('market_facts', 'market_series')
        ORDER BY c.relname
    LOOP
        month := date_trunc('month', first_moment);
        WHILE month <= last_moment LOOP
            partition := format('%s_%s', parent, to_char(month, 'YYYYMM'));
            IF to_regclass('trade.' || quote_ident(partition)) IS NULL THEN
                EXECUTE format(
                    'CREATE TABLE trade.%I PARTITION OF trade.%I FOR VALUES FROM (%L) TO (%L)',
                    partition, parent, month, month + interval '1 month');
            END IF;
            month := month + interval '1 month';
        END LOOP;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION trade.ensure_series_partitions(timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION trade.ensure_series_partitions(timestamptz, timestamptz)
    TO trade_writer, trade_admin;
