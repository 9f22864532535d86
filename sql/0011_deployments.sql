-- Which model decides where: a history that is only ever added to, and what follows from it.
SET LOCAL ROLE trade_owner;

-- A deployment holds in a scope: a kind of market, a venue, and an account.
ALTER TABLE trade.deployments
    DROP CONSTRAINT deployments_check1,
    ADD COLUMN market   text   NOT NULL,
    ADD COLUMN venue    text   NOT NULL,
    ADD COLUMN account  text   NOT NULL CHECK (account IN ('backtest', 'paper', 'live')),
    -- What the row is about; a retired model leaves the one or the other.
    ADD COLUMN slot     text   NOT NULL CHECK (slot IN ('canary', 'production')),
    -- Why a person put it there without an evaluation that said so.
    ADD COLUMN override text   CHECK (override <> ''),
    -- A deployment of the same model to production before, to which this goes back.
    ADD COLUMN restores bigint REFERENCES trade.deployments,
    ADD CHECK (stage = 'retired' OR slot = stage),
    ADD CHECK (restores IS NULL OR stage = 'production');
CREATE INDEX ON trade.deployments (market, venue, account, deployment_id DESC);

ALTER TABLE trade.canary_evaluations
    -- The deployment as canary that was looked at.
    ADD COLUMN canary bigint NOT NULL REFERENCES trade.deployments,
    ADD COLUMN looked_at timestamptz NOT NULL;
COMMENT ON COLUMN trade.canary_evaluations.looked_at IS
    'Market time of the look; evaluated_at is the clock''s.';

-- A canary is measured beside one production model: whatever happens to production ends it.  So it
-- is active while its deployment is the newest of its scope, and nobody can write half a promotion.
CREATE VIEW trade.deployed AS
SELECT * FROM (
    SELECT DISTINCT ON (market, venue, account) market, venue, account, slot,
        model_version, deployed_at, deployment_id, stage <> 'retired' AND slot = 'canary' AS active
    FROM trade.deployments ORDER BY market, venue, account, deployment_id DESC) newest
WHERE active
UNION ALL
SELECT * FROM (
    SELECT DISTINCT ON (market, venue, account) market, venue, account, slot,
        model_version, deployed_at, deployment_id, stage <> 'retired' AS active
    FROM trade.deployments WHERE slot = 'production'
    ORDER BY market, venue, account, deployment_id DESC) newest
WHERE active;
COMMENT ON VIEW trade.deployed IS
    'The canary and the production model of each scope, where there is one; without a production model the heuristic decides.';
GRANT SELECT ON trade.deployed TO trade_writer, trade_reader, trade_admin;

CREATE FUNCTION trade.require_deployment() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    scope      CONSTANT text := concat_ws('/', NEW.market, NEW.venue, NEW.account);
    refused    CONSTANT text := format('%s of model %s on %s is refused: ', NEW.stage,
                                       NEW.model_version, scope);
    learned    record;
    canary     record;
    production text;
    newest     text;
BEGIN
    -- Two at once: the second sees what the first left.
    PERFORM pg_advisory_xact_lock(hashtextextended('deployments:' || scope, 0));
    IF EXISTS (SELECT FROM trade.deployments d WHERE d.deployment_id > NEW.deployment_id
               AND (d.market, d.venue, d.account) = (NEW.market, NEW.venue, NEW.account)) THEN
        RAISE EXCEPTION '%another deployment there came first; look again', refused
            USING ERRCODE = 'serialization_failure';
    END IF;
    SELECT m.market, m.kind INTO learned FROM trade.models m
    WHERE m.model_version = NEW.model_version;
    IF learned.market IS DISTINCT FROM NEW.market THEN
        RAISE EXCEPTION '%it was learned on %', refused, coalesce(learned.market, 'nothing')
            USING ERRCODE = 'check_violation';
    ELSIF NEW.account = 'live' AND NEW.stage <> 'retired'
          AND 'simulated' = ANY (string_to_array(learned.kind, '+')) THEN
        RAISE EXCEPTION '%it was learned from simulated trades, which is never enough for a live account',
            refused USING ERRCODE = 'check_violation';
    END IF;
    SELECT d.deployment_id, d.model_version INTO canary FROM trade.deployed d
    WHERE d.slot = 'canary' AND (d.market, d.venue, d.account)
        = (NEW.market, NEW.venue, NEW.account);
    SELECT d.model_version INTO production FROM trade.deployed d
    WHERE d.slot = 'production' AND (d.market, d.venue, d.account)
        = (NEW.market, NEW.venue, NEW.account);

    IF NEW.stage = 'retired' THEN
        IF NEW.model_version IS DISTINCT FROM
           (CASE NEW.slot WHEN 'canary' THEN canary.model_version ELSE production END) THEN
            RAISE EXCEPTION '%it is not the % there', refused, NEW.slot
                USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.stage = 'canary' THEN
        IF canary.model_version IS NOT NULL THEN
            RAISE EXCEPTION '%model % is the canary there; roll it back first', refused,
                canary.model_version USING ERRCODE = 'check_violation';
        ELSIF production = NEW.model_version THEN
            RAISE EXCEPTION '%it is in production there', refused
                USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.restores IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM trade.deployments d
                       WHERE d.deployment_id = NEW.restores AND d.stage = 'production'
                         AND (d.model_version, d.market, d.venue, d.account)
                             = (NEW.model_version, NEW.market, NEW.venue, NEW.account)) THEN
            RAISE EXCEPTION '%deployment % did not put it into production there', refused,
                NEW.restores USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.override IS NULL THEN
        IF canary.model_version IS DISTINCT FROM NEW.model_version THEN
            RAISE EXCEPTION '%it is not the canary there', refused
                USING ERRCODE = 'check_violation';
        END IF;
        SELECT e.evaluation_id INTO newest FROM trade.canary_evaluations e
        WHERE e.canary = canary.deployment_id ORDER BY e.recorded_at DESC, e.chain_seq DESC LIMIT 1;
        IF NEW.verdict IS DISTINCT FROM 'promote' OR NEW.evaluation_id IS DISTINCT FROM newest THEN
            RAISE EXCEPTION '%its newest evaluation as this canary does not say promote', refused
                USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER require_deployment BEFORE INSERT ON trade.deployments
    FOR EACH ROW EXECUTE FUNCTION trade.require_deployment();

CREATE FUNCTION trade.tell_deployment() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_notify('trade_deployments', concat_ws('/', NEW.market, NEW.venue, NEW.account));
    RETURN NULL;
END $$;
CREATE TRIGGER tell_deployment AFTER INSERT ON trade.deployments
    FOR EACH ROW EXECUTE FUNCTION trade.tell_deployment();
