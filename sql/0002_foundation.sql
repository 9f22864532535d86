-- What every record shares: the ledger columns, the refusal of changes, and monthly partitions.
SET LOCAL ROLE trade_owner;

-- The columns that every record begins with.  The table stays empty; records copy it with LIKE.
--   content       the canonical bytes (UTF-8 JSON), as they were hashed; jsonb is derived from them in
--                 views and never hashed, since jsonb rewrites numbers
--   content_hash  SHA-256 of content
--   chain_hash    SHA-256 of (chain_hash of the record before in this chain, table, content_hash)
CREATE TABLE trade.ledger_columns (
    chain_id     text        NOT NULL,
    chain_seq    bigint      NOT NULL CHECK (chain_seq >= 0),
    content      text        NOT NULL,
    content_hash bytea       NOT NULL CHECK (content_hash = sha256(convert_to(content, 'UTF8'))),
    chain_hash   bytea       NOT NULL CHECK (octet_length(chain_hash) = 32),
    recorded_at  timestamptz NOT NULL DEFAULT now()
);

-- The newest record of each chain.  Not a record: it moves with every append, in the same
-- transaction, and so two writers of one chain cannot fork it.
CREATE TABLE trade.chain_heads (
    chain_id   text        PRIMARY KEY,
    chain_seq  bigint      NOT NULL CHECK (chain_seq >= 0),
    chain_hash bytea       NOT NULL CHECK (octet_length(chain_hash) = 32),
    updated_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE ON trade.chain_heads TO trade_writer;
GRANT SELECT ON trade.chain_heads TO trade_reader, trade_admin;

-- Fails the statement of a writer whose chain was moved by somebody else meanwhile.
CREATE FUNCTION trade.require_moved_head(moved bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    IF moved = 0 THEN
        RAISE EXCEPTION 'the chain was written by somebody else meanwhile'
            USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN moved;
END $$;

CREATE FUNCTION trade.refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on %.% refused: records are append-only; a correction is a new record',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

-- Makes a table append-only and lets the app's roles in.  A row trigger on a partitioned table is
-- copied to its partitions, a TRUNCATE trigger is not: trade.ensure_partitions adds that one.
CREATE FUNCTION trade.protect(table_name regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON %s
                    FOR EACH ROW EXECUTE FUNCTION trade.refuse_change()', table_name);
    EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON %s
                    FOR EACH STATEMENT EXECUTE FUNCTION trade.refuse_change()', table_name);
    EXECUTE format('GRANT SELECT, INSERT ON %s TO trade_writer', table_name);
    EXECUTE format('GRANT SELECT ON %s TO trade_reader, trade_admin', table_name);
END $$;
REVOKE ALL ON FUNCTION trade.protect(regclass) FROM PUBLIC;

-- The smallest UUIDv7 of a moment: a time range as a range of UUIDs, for partitions and scans.
CREATE FUNCTION trade.uuid7_floor(moment timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT rpad(lpad(to_hex(floor(extract(epoch FROM moment) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;

-- Creates the monthly partitions of every partitioned table for a range of time, the last month
-- included.  Returns how many are new.  It runs as the owner, so that a writer needs no right to
-- create anything.
CREATE FUNCTION trade.ensure_partitions(first_moment timestamptz, last_moment timestamptz)
RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '30s' AS $$
DECLARE
    parent    record;
    partition text;
    month     timestamptz;
    created   integer := 0;
BEGIN
    IF first_moment IS NULL OR last_moment IS NULL OR last_moment < first_moment
       OR last_moment > first_moment + interval '20 years'
       OR first_moment < '1970-01-01Z' OR last_moment >= '10000-01-01Z' THEN
        RAISE EXCEPTION 'ensure_partitions(%, %): expected at most 20 years between 1970 and 9999',
            first_moment, last_moment USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('trade.ensure_partitions'));
    FOR parent IN
        SELECT c.oid, c.relname, t.typname
        FROM pg_partitioned_table p
        JOIN pg_class c ON c.oid = p.partrelid
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
        JOIN pg_type t ON t.oid = a.atttypid
        WHERE c.relnamespace = 'trade'::regnamespace
        ORDER BY c.relname
    LOOP
        month := date_trunc('month', first_moment);
        WHILE month <= last_moment LOOP
            partition := format('%s_%s', parent.relname, to_char(month, 'YYYYMM'));
            IF to_regclass('trade.' || quote_ident(partition)) IS NULL THEN
                IF parent.typname = 'uuid' THEN
                    EXECUTE format(
                        'CREATE TABLE trade.%I PARTITION OF trade.%I FOR VALUES FROM (%L) TO (%L)',
                        partition, parent.relname, trade.uuid7_floor(month),
                        trade.uuid7_floor(month + interval '1 month'));
                ELSE
                    EXECUTE format(
                        'CREATE TABLE trade.%I PARTITION OF trade.%I FOR VALUES FROM (%L) TO (%L)',
                        partition, parent.relname, month, month + interval '1 month');
                END IF;
                IF EXISTS (SELECT FROM pg_trigger
                           WHERE tgrelid = parent.oid AND tgname = 'refuse_truncate') THEN
                    EXECUTE format(
                        'CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON trade.%I
                         FOR EACH STATEMENT EXECUTE FUNCTION trade.refuse_change()', partition);
                END IF;
                created := created + 1;
            END IF;
            month := month + interval '1 month';
        END LOOP;
    END LOOP;
    RETURN created;
END $$;
REVOKE ALL ON FUNCTION trade.ensure_partitions(timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION trade.ensure_partitions(timestamptz, timestamptz)
    TO trade_writer, trade_admin;
