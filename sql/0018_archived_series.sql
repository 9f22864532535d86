-- Months of recorded markets that were written elsewhere leave the database, by the administrator and
-- only as they were read: nothing may have been added since.
SET LOCAL ROLE trade_owner;

CREATE FUNCTION trade.drop_series_month(month timestamptz, archived bigint)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '30s' AS $$
DECLARE
    partition text := format('market_series_%s', to_char(month, 'YYYYMM'));
    stored    bigint;
BEGIN
    IF to_regclass('trade.' || quote_ident(partition)) IS NULL THEN
        RAISE EXCEPTION 'drop_series_month(%): there is no trade.%', month, partition
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Recorders hold it shared while they write.
    PERFORM pg_advisory_xact_lock(hashtext('trade.ensure_partitions'));
    -- Whoever reads goes on first.  The empty partition stays for those who still record there.
    EXECUTE format('LOCK TABLE trade.%I IN ACCESS EXCLUSIVE MODE', partition);
    EXECUTE format('SELECT count(*) FROM trade.%I', partition) INTO stored;
    IF stored <> archived THEN
        RAISE EXCEPTION 'drop_series_month(%): trade.% holds % rows, % are archived: archive again',
            month, partition, stored, archived USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    EXECUTE format('TRUNCATE trade.%I', partition);
END $$;
REVOKE ALL ON FUNCTION trade.drop_series_month(timestamptz, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION trade.drop_series_month(timestamptz, bigint) TO trade_admin;
