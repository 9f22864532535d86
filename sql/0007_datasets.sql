-- What datasets need of the schema: how people name them, where their decisions come from, and a way
-- from a trade to the datasets that hold it.
SET LOCAL ROLE trade_owner;

ALTER TABLE trade.datasets
    ADD COLUMN kind text,
    -- A version is sha256:<64 hex digits>; eight of them tell a name's datasets apart for people.
    ADD COLUMN short_name text
        GENERATED ALWAYS AS (name || '-' || substr(dataset_version, 8, 8)) STORED;
COMMENT ON COLUMN trade.datasets.kind IS
    'simulated, recorded or live; several joined by + where mixing was asked for.';
CREATE INDEX ON trade.datasets (short_name);
CREATE INDEX ON trade.dataset_members (uuid);
