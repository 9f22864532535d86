-- What a deployment rests on is read after those before it have ended, which a transaction that
-- keeps to an older snapshot would not see.
SET LOCAL ROLE trade_owner;

CREATE FUNCTION trade.require_newest_snapshot() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        RAISE EXCEPTION '% of model % on % is refused: its transaction is %, needed is read committed',
            NEW.stage, NEW.model_version, concat_ws('/', NEW.market, NEW.venue, NEW.account),
            current_setting('transaction_isolation') USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER require_newest_snapshot BEFORE INSERT ON trade.deployments
    FOR EACH ROW EXECUTE FUNCTION trade.require_newest_snapshot();
