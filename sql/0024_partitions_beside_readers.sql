-- A new month waits for nobody who reads: a backup reads every table for as long as it takes, and a
-- partition that is made in place waits for it, with every writer behind.  A table that is made by
-- itself and then attached does not.
SET LOCAL ROLE trade_owner;

CREATE FUNCTION trade.add_partition(parent text, partition text, first text, behind text)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE TABLE trade.%I (LIKE trade.%I INCLUDING ALL)', partition, parent);
    EXECUTE format('ALTER TABLE trade.%I ATTACH PARTITION trade.%I FOR VALUES FROM (%L) TO (%L)',
        parent, partition, first, behind);
    -- Row triggers come with the parent, this one does not.
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass('trade.' || quote_ident(parent))
               AND tgname = 'refuse_truncate') THEN
        EXECUTE format(
            'CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON trade.%I
             FOR EACH STATEMENT EXECUTE FUNCTION trade.refuse_change()', partition);
    END IF;
END $$;
REVOKE ALL ON FUNCTION trade.add_partition(text, text, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION trade.ensure_partitions(
    first_moment timestamptz, last_moment timestamptz
) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '30s' AS $$
DECLARE
    parent    record;
    partition text;
    month     timestamptz;
    later     timestamptz;
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
        SELECT c.relname, t.typname
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
            later := month + interval '1 month';
            IF to_regclass('trade.' || quote_ident(partition)) IS NULL THEN
                IF parent.typname = 'uuid' THEN
                    PERFORM trade.add_partition(parent.relname, partition,
                        trade.uuid7_floor(month)::text, trade.uuid7_floor(later)::text);
                ELSE
                    PERFORM trade.add_partition(
                        parent.relname, partition, month::text, later::text);
                END IF;
                created := created + 1;
            END IF;
            month := later;
        END LOOP;
    END LOOP;
    RETURN created;
END $$;

CREATE OR REPLACE FUNCTION trade.ensure_series_partitions(
    first_moment timestamptz, last_moment timestamptz
) RETURNS void
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
                PERFORM trade.add_partition(
                    parent, partition, month::text, (month + interval '1 month')::text);
            END IF;
            month := month + interval '1 month';
        END LOOP;
    END LOOP;
END $$;
