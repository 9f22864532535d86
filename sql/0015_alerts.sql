-- How far people were told of what is stored: for each channel by itself, so that one that fails
-- holds up nobody.
SET LOCAL ROLE trade_owner;

CREATE TABLE trade.alert_channels (
    -- A slow hash of the channel's URL: the URL holds secrets, and is not stored.
    channel   text        PRIMARY KEY,
    since     timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Sendings that failed since the last one that did not, and when the next one is due.
    failures  integer     NOT NULL DEFAULT 0 CHECK (failures >= 0),
    retry_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    told      bigint      NOT NULL DEFAULT 0 CHECK (told >= 0)
);

-- Up to which record of each chain a channel was told.  Within a chain the order of numbers is the
-- order of commits, because a chain's head is locked until its writer commits; no sequence, id or
-- time has this property, and a cursor of theirs would step over a row that becomes visible late.
CREATE TABLE trade.alert_positions (
    channel   text   NOT NULL REFERENCES trade.alert_channels,
    chain_id  text   NOT NULL,
    chain_seq bigint NOT NULL,
    PRIMARY KEY (channel, chain_id)
);

-- Halts are in no chain, and few: each one that was told is remembered.
CREATE TABLE trade.alert_halts (
    channel text   NOT NULL REFERENCES trade.alert_channels,
    halt_id bigint NOT NULL REFERENCES trade.halts,
    PRIMARY KEY (channel, halt_id)
);
GRANT SELECT, INSERT, UPDATE ON trade.alert_channels, trade.alert_positions TO trade_writer;
GRANT SELECT, INSERT ON trade.alert_halts TO trade_writer;
GRANT SELECT ON trade.alert_channels, trade.alert_positions, trade.alert_halts
    TO trade_reader, trade_admin;
