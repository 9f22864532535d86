-- Roles.  Nobody logs in as trade_owner: it owns the tables, and an owner could grant itself what was
-- revoked.  trade_writer inserts, trade_reader selects, trade_admin creates partitions ahead and
-- reads.  Passwords are set outside the migrations.

DO $$
DECLARE
    role_name text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'trade_owner') THEN
        CREATE ROLE trade_owner NOLOGIN;
    END IF;
    FOREACH role_name IN ARRAY ARRAY['trade_writer', 'trade_reader', 'trade_admin'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', role_name);
        END IF;
    END LOOP;
    -- A migrating login that is no superuser must be able to act for the owner and as the app's roles.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format(
            'GRANT trade_owner, trade_writer, trade_reader, trade_admin TO %I', current_user);
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    -- Another database of the same server is being migrated at the same moment.
    NULL;
END $$;

ALTER SCHEMA trade OWNER TO trade_owner;
ALTER TABLE trade.migrations OWNER TO trade_owner;
GRANT USAGE ON SCHEMA trade TO trade_writer, trade_reader, trade_admin;
GRANT SELECT ON trade.migrations TO trade_writer, trade_reader, trade_admin;
