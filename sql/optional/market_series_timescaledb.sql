-- Optional, by hand and once, before the first market event is stored, on a server that has
-- TimescaleDB: psql "$ADMIN_URL" -f sql/optional/market_series_timescaledb.sql
-- The series becomes a hypertable in place of monthly partitions.  Refused when it holds rows.
BEGIN;
CREATE EXTENSION IF NOT EXISTS timescaledb;
SET LOCAL ROLE trade_owner;
DO $$
BEGIN
    IF EXISTS (SELECT FROM trade.market_series) THEN
        RAISE EXCEPTION 'trade.market_series holds rows: it can only be converted while it is empty';
    END IF;
END $$;
CREATE TABLE trade.market_series_hyper (LIKE trade.market_series INCLUDING ALL);
DROP TABLE trade.market_series;
ALTER TABLE trade.market_series_hyper RENAME TO market_series;
SELECT create_hypertable('trade.market_series', by_range('known_at', INTERVAL '1 month'));
GRANT SELECT, INSERT ON trade.market_series TO trade_writer;
GRANT SELECT ON trade.market_series TO trade_reader, trade_admin;
COMMIT;
