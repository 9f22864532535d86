-- Features, datasets, models, canary evaluations and deployments.
SET LOCAL ROLE trade_owner;

CREATE TABLE trade.feature_rows (
    LIKE trade.ledger_columns INCLUDING ALL,
    uuid        uuid        NOT NULL REFERENCES trade.candidates,
    feature_set text        NOT NULL,
    known_at    timestamptz NOT NULL,
    vector_hash bytea       NOT NULL CHECK (octet_length(vector_hash) = 32),
    PRIMARY KEY (uuid, feature_set)
) PARTITION BY RANGE (uuid);
COMMENT ON TABLE trade.feature_rows IS 'The feature vector behind each decision.';
SELECT trade.protect('trade.feature_rows');

CREATE TABLE trade.datasets (
    LIKE trade.ledger_columns INCLUDING ALL,
    dataset_version text NOT NULL PRIMARY KEY,
    name            text NOT NULL,
    market          text NOT NULL,
    feature_set     text NOT NULL
);
COMMENT ON TABLE trade.datasets IS 'A versioned list of trade UUIDs with their splits.';
SELECT trade.protect('trade.datasets');

CREATE TABLE trade.dataset_members (
    dataset_version text NOT NULL REFERENCES trade.datasets,
    uuid            uuid NOT NULL REFERENCES trade.candidates,
    split           text NOT NULL CHECK (split IN ('train', 'validation', 'test', 'holdout')),
    PRIMARY KEY (dataset_version, uuid)
);
COMMENT ON TABLE trade.dataset_members IS
    'Covered by the dataset''s version, which is a hash over its members.';
SELECT trade.protect('trade.dataset_members');

CREATE TABLE trade.models (
    LIKE trade.ledger_columns INCLUDING ALL,
    model_version   text NOT NULL PRIMARY KEY,
    name            text NOT NULL,
    market          text NOT NULL,
    dataset_version text NOT NULL REFERENCES trade.datasets,
    artifact        text NOT NULL REFERENCES trade.artifacts,
    parent          text REFERENCES trade.models
);
SELECT trade.protect('trade.models');

CREATE TABLE trade.canary_evaluations (
    LIKE trade.ledger_columns INCLUDING ALL,
    evaluation_id text        NOT NULL PRIMARY KEY,
    model_version text        NOT NULL REFERENCES trade.models,
    evaluated_at  timestamptz NOT NULL,
    decision      text        NOT NULL CHECK (decision IN ('promote', 'extend', 'rollback', 'expired')),
    -- Lets a deployment reference the model and the verdict of its evaluation together.
    UNIQUE (evaluation_id, model_version, decision)
);
SELECT trade.protect('trade.canary_evaluations');

-- The promotion history.  A production deployment references an evaluation of the same model that
-- said "promote": no code path can go around it.
CREATE TABLE trade.deployments (
    LIKE trade.ledger_columns INCLUDING ALL,
    deployment_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_version text        NOT NULL REFERENCES trade.models,
    stage         text        NOT NULL CHECK (stage IN ('canary', 'production', 'retired')),
    deployed_at   timestamptz NOT NULL,
    deployed_by   text        NOT NULL,
    reason        text        NOT NULL,
    evaluation_id text,
    verdict       text,
    FOREIGN KEY (evaluation_id, model_version, verdict)
        REFERENCES trade.canary_evaluations (evaluation_id, model_version, decision),
    CHECK ((evaluation_id IS NULL) = (verdict IS NULL)),
    CHECK (stage <> 'production' OR (verdict IS NOT NULL AND verdict = 'promote'))
);
SELECT trade.protect('trade.deployments');
