-- Trades of an older bot: sessions of a mode of their own, which nothing reads unless it is asked to.
SET LOCAL ROLE trade_owner;

ALTER TABLE trade.sessions
    DROP CONSTRAINT sessions_mode_check,
    ADD CONSTRAINT sessions_mode_check
        CHECK (mode IN ('backtest', 'paper', 'live', 'manual', 'imported'));
COMMENT ON TABLE trade.sessions IS
    'One run of the strategy; its id is a hash of what determines it. Mode manual: through the Python API; imported: trades of an older bot, market_address is the file.';

-- What an older bot did not tell is not made up.
ALTER TABLE trade.candidates
    ALTER COLUMN confidence DROP NOT NULL,
    ADD CONSTRAINT candidates_confidence_known
        CHECK (confidence IS NOT NULL OR starts_with(created_by, 'import:'));
