-- What monitoring found of production models, and what it takes back: the model before decides
-- again, or else the heuristic with a part of the fund.
SET LOCAL ROLE trade_owner;

CREATE TABLE trade.monitoring_reports (
    LIKE trade.ledger_columns INCLUDING ALL,
    report_id     text        PRIMARY KEY,
    model_version text        NOT NULL REFERENCES trade.models,
    -- The deployment to production that was looked at.
    deployment    bigint      NOT NULL REFERENCES trade.deployments,
    looked_at     timestamptz NOT NULL,
    monitored_at  timestamptz NOT NULL,
    broken        boolean     NOT NULL,
    -- Something is broken that is the model's fault, or that it cannot decide with.
    rolls_back    boolean     NOT NULL CHECK (broken OR NOT rolls_back),
    -- Lets a deployment reference the report and what it asks for together.
    UNIQUE (report_id, rolls_back)
);
COMMENT ON TABLE trade.monitoring_reports IS
    'One look at a production model: its lines, the drift of its inputs and its confidence sequence are in the content.';
COMMENT ON COLUMN trade.monitoring_reports.looked_at IS
    'Market time of the look; monitored_at is the clock''s.';
CREATE INDEX ON trade.monitoring_reports (deployment, recorded_at DESC);
SELECT trade.protect('trade.monitoring_reports');

ALTER TABLE trade.deployments
    -- The part of the fund with which the heuristic decides from then on; null: all of it.
    ADD COLUMN fund_share double precision,
    -- What it rests on where monitoring took the production model back: each is acted on once.
    ADD COLUMN report_id text UNIQUE,
    ADD COLUMN report_rolls_back boolean
        GENERATED ALWAYS AS (CASE WHEN report_id IS NOT NULL THEN true END) STORED,
    ADD CONSTRAINT deployments_fund_share CHECK (
        fund_share IS NULL OR (stage = 'retired' AND slot = 'production'
                               AND fund_share > 0 AND fund_share <= 1)),
    ADD CONSTRAINT deployments_report CHECK (
        report_id IS NULL OR (slot = 'production'
                              AND (stage = 'retired' OR restores IS NOT NULL))),
    ADD FOREIGN KEY (report_id, report_rolls_back)
        REFERENCES trade.monitoring_reports (report_id, rolls_back);

-- A report takes back the deployment that it looked at, and no later one.
CREATE FUNCTION trade.require_monitored_production() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    looked_at_one bigint;
    production    bigint;
BEGIN
    SELECT r.deployment INTO looked_at_one FROM trade.monitoring_reports r
    WHERE r.report_id = NEW.report_id;
    SELECT d.deployment_id INTO production FROM trade.deployed d
    WHERE d.slot = 'production' AND (d.market, d.venue, d.account)
        = (NEW.market, NEW.venue, NEW.account);
    IF looked_at_one IS DISTINCT FROM production THEN
        RAISE EXCEPTION '% of model % on % is refused: report % looked at deployment %, in production is %',
            NEW.stage, NEW.model_version, concat_ws('/', NEW.market, NEW.venue, NEW.account),
            NEW.report_id, coalesce(looked_at_one::text, 'none'),
            coalesce('that of deployment ' || production, 'none')
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER require_monitored_production BEFORE INSERT ON trade.deployments
    FOR EACH ROW WHEN (NEW.report_id IS NOT NULL)
    EXECUTE FUNCTION trade.require_monitored_production();
