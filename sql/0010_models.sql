-- What it takes before a model may trade: a holdout window of its own, an evaluation in which every
-- gate passed, a dataset without leaks and of enough size.  A deployment references the proof.
SET LOCAL ROLE trade_owner;

-- Lets a model reference its dataset and what it says of itself together.
ALTER TABLE trade.datasets ADD UNIQUE (dataset_version, market, kind, feature_set);

ALTER TABLE trade.models
    ADD COLUMN kind        text NOT NULL,
    ADD COLUMN feature_set text NOT NULL,
    -- A version is sha256:<64 hex digits>; eight of them tell a name's models apart for people.
    ADD COLUMN short_name  text
        GENERATED ALWAYS AS (name || '-' || substr(model_version, 8, 8)) STORED,
    -- A market's models share its holdout windows, which a mixture of markets would go around.
    ADD CHECK (strpos(market, '+') = 0),
    ADD FOREIGN KEY (dataset_version, market, kind, feature_set)
        REFERENCES trade.datasets (dataset_version, market, kind, feature_set),
    -- Lets a holdout window reference the model and its market together.
    ADD UNIQUE (model_version, market);
COMMENT ON TABLE trade.models IS 'A trained model; its version is a hash over its content.';
COMMENT ON COLUMN trade.models.kind IS
    'simulated, recorded or live; several joined by + where mixing was asked for.';
CREATE INDEX ON trade.models (market);
CREATE INDEX ON trade.models (short_name);

-- What must have passed before a model is eligible.  A view of constants, because nobody inserts
-- into it: another requirement is another migration.
CREATE VIEW trade.required_verdicts (kind, name) AS VALUES
    ('gate', 'enough_data'),
    ('gate', 'predictive_power'),
    ('gate', 'fold_stability'),
    ('gate', 'improvement'),
    ('gate', 'fresh_holdout'),
    ('gate', 'no_harm'),
    ('gate', 'calibration'),
    ('gate', 'overfitting'),
    ('gate', 'leak_guards'),
    ('gate', 'sanity'),
    ('guard', 'compare_vectors'),
    ('guard', 'delay_sensitive_features'),
    ('guard', 'separating_features'),
    ('guard', 'identity_features'),
    ('guard', 'overlapping_intervals'),
    ('guard', 'preparation_guard'),
    ('guard', 'stored_values');
COMMENT ON VIEW trade.required_verdicts IS
    'The gates that a model must pass, and the leak guards that its dataset must pass.';
GRANT SELECT ON trade.required_verdicts TO trade_writer, trade_reader, trade_admin;

-- A market as a range of one value, so that a GiST index compares it without an extension.
CREATE TYPE trade.text_range AS RANGE (subtype = text, collation = "C");

CREATE TABLE trade.holdout_windows (
    LIKE trade.ledger_columns INCLUDING ALL,
    model_version text        PRIMARY KEY,
    market        text        NOT NULL,
    first_at      timestamptz NOT NULL,
    last_at       timestamptz NOT NULL CHECK (last_at >= first_at),
    FOREIGN KEY (model_version, market) REFERENCES trade.models (model_version, market),
    CONSTRAINT holdout_used_once EXCLUDE USING gist (
        trade.text_range(market, market, '[]') WITH &&,
        tstzrange(first_at, last_at, '[]') WITH &&
    )
);
COMMENT ON TABLE trade.holdout_windows IS
    'The time on which a model was judged, both ends included; recorded before it is looked at, and used once.';
SELECT trade.protect('trade.holdout_windows');

CREATE TABLE trade.model_evaluations (
    LIKE trade.ledger_columns INCLUDING ALL,
    model_version text        NOT NULL REFERENCES trade.models,
    evaluation    integer     NOT NULL CHECK (evaluation >= 0),
    passed        boolean     NOT NULL,
    evaluated_at  timestamptz NOT NULL,
    PRIMARY KEY (model_version, evaluation),
    -- Lets an eligible model reference its evaluation and the result together.
    UNIQUE (model_version, evaluation, passed)
);
COMMENT ON TABLE trade.model_evaluations IS
    'One look of all gates at a model; it passed when every gate did.';
SELECT trade.protect('trade.model_evaluations');

CREATE TABLE trade.gate_verdicts (
    LIKE trade.ledger_columns INCLUDING ALL,
    model_version text    NOT NULL,
    evaluation    integer NOT NULL,
    gate          text    NOT NULL,
    passed        boolean NOT NULL,
    PRIMARY KEY (model_version, evaluation, gate),
    FOREIGN KEY (model_version, evaluation) REFERENCES trade.model_evaluations
);
COMMENT ON TABLE trade.gate_verdicts IS
    'Verdict of each gate in an evaluation; reasons and numbers are in the content.';
SELECT trade.protect('trade.gate_verdicts');

-- The gates that failed in an evaluation or are missing in it; null: every gate passed.
CREATE FUNCTION trade.gates_not_passed(of_model text, of_evaluation integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT string_agg(coalesce(r.name, v.gate), ', ' ORDER BY coalesce(r.name, v.gate))
    FROM (SELECT name FROM trade.required_verdicts WHERE kind = 'gate') r
    FULL JOIN (SELECT gate, passed FROM trade.gate_verdicts
               WHERE model_version = of_model AND evaluation = of_evaluation) v ON v.gate = r.name
    WHERE v.passed IS NOT TRUE
$$;

-- An evaluation passed only if its gates did.  Verdicts reference their evaluation and so come after
-- it: the two are compared when the transaction commits, and again when a failure is added later.
CREATE FUNCTION trade.require_passed_gates() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    gates text := trade.gates_not_passed(NEW.model_version, NEW.evaluation);
BEGIN
    IF gates IS NOT NULL
       AND EXISTS (SELECT FROM trade.model_evaluations
                   WHERE model_version = NEW.model_version AND evaluation = NEW.evaluation
                     AND passed) THEN
        RAISE EXCEPTION 'evaluation % of model % cannot have passed: gates failed or missing: %',
            NEW.evaluation, NEW.model_version, gates USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER require_passed_gates AFTER INSERT ON trade.model_evaluations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.passed)
    EXECUTE FUNCTION trade.require_passed_gates();
CREATE CONSTRAINT TRIGGER require_passed_gates AFTER INSERT ON trade.gate_verdicts
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NOT NEW.passed)
    EXECUTE FUNCTION trade.require_passed_gates();

CREATE TABLE trade.eligible_models (
    LIKE trade.ledger_columns INCLUDING ALL,
    model_version text    PRIMARY KEY REFERENCES trade.models,
    evaluation    integer NOT NULL,
    passed        boolean NOT NULL CHECK (passed),
    FOREIGN KEY (model_version, evaluation, passed)
        REFERENCES trade.model_evaluations (model_version, evaluation, passed)
);
COMMENT ON TABLE trade.eligible_models IS
    'The models that may be deployed, each with the evaluation that it passed.';
SELECT trade.protect('trade.eligible_models');

-- Whoever inserts: what is counted here is counted from the records, not told by the program.
CREATE FUNCTION trade.require_eligibility() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    refused CONSTANT text := format('model %s is not eligible: ', NEW.model_version);
    dataset text;
    newest  integer;
    missing text;
    members bigint;
    days    bigint;
    outside bigint;
BEGIN
    SELECT m.dataset_version INTO dataset FROM trade.models m
    WHERE m.model_version = NEW.model_version;
    SELECT max(e.evaluation) INTO newest FROM trade.model_evaluations e
    WHERE e.model_version = NEW.model_version;
    IF newest IS NULL THEN
        RAISE EXCEPTION '%no evaluation is stored', refused USING ERRCODE = 'foreign_key_violation';
    ELSIF NEW.evaluation IS DISTINCT FROM newest THEN
        RAISE EXCEPTION '%evaluation % is not its newest, which is %',
            refused, NEW.evaluation, newest USING ERRCODE = 'check_violation';
    END IF;

    missing := trade.gates_not_passed(NEW.model_version, NEW.evaluation);
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION '%gates failed or missing in evaluation %: %',
            refused, NEW.evaluation, missing USING ERRCODE = 'check_violation';
    END IF;

    SELECT string_agg(r.name, ', ' ORDER BY r.name) INTO missing
    FROM trade.required_verdicts r
    WHERE r.kind = 'guard' AND NOT EXISTS (
        SELECT FROM trade.dataset_guards g
        WHERE g.dataset_version = dataset AND g.guard = r.name AND g.passed
          AND g.evaluation = (SELECT max(n.evaluation) FROM trade.dataset_guards n
                              WHERE n.dataset_version = dataset));
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION '%leak guards failed or missing in the newest verdicts on dataset %: %',
            refused, dataset, missing USING ERRCODE = 'check_violation';
    END IF;

    -- What a model was judged on is what no training could learn from: test and holdout.
    SELECT count(*), count(DISTINCT (c.decided_at AT TIME ZONE 'UTC')::date),
           count(*) FILTER (WHERE d.split IN ('test', 'holdout')
                              AND c.decided_at NOT BETWEEN w.first_at AND w.last_at)
    INTO members, days, outside
    FROM trade.dataset_members d
    JOIN trade.candidates c USING (uuid)
    LEFT JOIN trade.holdout_windows w ON w.model_version = NEW.model_version
    WHERE d.dataset_version = dataset;
    IF members < 1000 OR days < 30 THEN
        RAISE EXCEPTION '%dataset % has % members on % UTC days, needed are 1000 on 30',
            refused, dataset, members, days USING ERRCODE = 'check_violation';
    END IF;

    IF NOT EXISTS (
        SELECT FROM trade.holdout_windows w
        JOIN trade.model_evaluations e USING (model_version)
        WHERE w.model_version = NEW.model_version AND e.evaluation = NEW.evaluation
          AND w.recorded_at <= e.recorded_at) THEN
        RAISE EXCEPTION '%no holdout window was recorded before evaluation %',
            refused, NEW.evaluation USING ERRCODE = 'foreign_key_violation';
    ELSIF outside > 0 THEN
        RAISE EXCEPTION '%of test and holdout, % decisions lie outside of its holdout window',
            refused, outside USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER require_eligibility BEFORE INSERT ON trade.eligible_models
    FOR EACH ROW EXECUTE FUNCTION trade.require_eligibility();

-- A model that takes decisions is an eligible one; to retire it needs no proof.
ALTER TABLE trade.deployments
    ADD COLUMN eligible_version text
        GENERATED ALWAYS AS (CASE WHEN stage <> 'retired' THEN model_version END) STORED
        REFERENCES trade.eligible_models;
COMMENT ON COLUMN trade.deployments.eligible_version IS
    'The model where the stage needs an eligible one, else null.';
