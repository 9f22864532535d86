-- Feature rows are read back by the chain that wrote them, as the other records of a session are.
SET LOCAL ROLE trade_owner;

CREATE INDEX ON trade.feature_rows (chain_id, chain_seq);
