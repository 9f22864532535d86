-- Nobody but the product's roles may call its functions: PostgreSQL lets everybody call a new one.
-- What follows here or is made by later migrations is granted by name.
SET LOCAL ROLE trade_owner;

ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

DO $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT p.oid::regprocedure AS name, p.prosecdef AS as_owner,
               p.prorettype = 'trigger'::regtype AS is_trigger, p.proname, p.proconfig, l.lanname
        FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
        WHERE p.pronamespace = 'trade'::regnamespace AND p.proowner = 'trade_owner'::regrole
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', one.name);
        -- Without a search path of its own, or with one that does not put temporary names last, a
        -- function could be shown other types and tables of the same names.  A plain one in SQL
        -- stays as it is: with a setting of its own it would not be inlined.
        IF one.proconfig = ARRAY['search_path=pg_catalog']
           OR one.proconfig IS NULL AND one.lanname = 'plpgsql' THEN
            EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', one.name);
        END IF;
        -- Those that run as the owner were granted when they were made; a trigger needs no right.
        CONTINUE WHEN one.as_owner OR one.is_trigger OR one.proname IN ('protect', 'add_partition');
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO trade_writer', one.name);
        -- Views call these in the name of who reads them.
        IF one.lanname = 'sql' OR one.proname IN ('gates_not_passed') THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO trade_reader, trade_admin', one.name);
        END IF;
    END LOOP;
END $$;
