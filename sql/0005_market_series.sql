-- Recorded market events of the recent window.  Not records: older windows move to Parquet tapes in
-- the artifact store.  BRIN, since rows arrive in the order of time.
SET LOCAL ROLE trade_owner;

CREATE TABLE trade.market_series (
    market         text             NOT NULL,
    instrument     text             NOT NULL,
    event_time     timestamptz      NOT NULL,
    known_at       timestamptz      NOT NULL CHECK (known_at >= event_time),
    price_usd      double precision CHECK (price_usd > 0),
    volume_usd     double precision,
    liquidity_usd  double precision,
    market_cap_usd double precision,
    reserve_quote  double precision,
    reserve_token  double precision,
    quote_usd      double precision
) PARTITION BY RANGE (known_at);
CREATE INDEX ON trade.market_series USING brin (known_at);
GRANT SELECT, INSERT ON trade.market_series TO trade_writer;
GRANT SELECT ON trade.market_series TO trade_reader, trade_admin;
