-- The main path: research -> candidate -> execution -> outcome under one UUID.
SET LOCAL ROLE trade_owner;

CREATE TABLE trade.experiments (
    LIKE trade.ledger_columns INCLUDING ALL,
    experiment  text PRIMARY KEY,
    description text NOT NULL
);
COMMENT ON TABLE trade.experiments IS 'A batch of sessions with one purpose.';
SELECT trade.protect('trade.experiments');

CREATE TABLE trade.sessions (
    LIKE trade.ledger_columns INCLUDING ALL,
    session_id     text        PRIMARY KEY,
    mode           text        NOT NULL CHECK (mode IN ('backtest', 'paper', 'live', 'manual')),
    market         text        NOT NULL,
    market_address text,
    range_start    timestamptz,
    range_end      timestamptz,
    seed           bigint,
    params_ptr     text,
    code_version   text        NOT NULL,
    CHECK (range_end > range_start)
);
COMMENT ON TABLE trade.sessions IS
    'One run of the strategy; its id is a hash of what determines it. Mode manual: through the Python API.';
SELECT trade.protect('trade.sessions');

-- The last record of a session's chain: without it the session was stopped on its way, and running
-- it again completes it.
CREATE TABLE trade.session_ends (
    LIKE trade.ledger_columns INCLUDING ALL,
    session_id     text             PRIMARY KEY REFERENCES trade.sessions,
    events         bigint           NOT NULL CHECK (events >= 0),
    decisions      bigint           NOT NULL CHECK (decisions >= 0),
    final_cash_usd double precision NOT NULL
);
SELECT trade.protect('trade.session_ends');

-- The Dagster runs that ran (or replayed) a session; not part of what determines it.
CREATE TABLE trade.session_runs (
    session_id     text        NOT NULL REFERENCES trade.sessions,
    dagster_run_id text        NOT NULL,
    recorded_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (session_id, dagster_run_id)
);
SELECT trade.protect('trade.session_runs');

CREATE TABLE trade.experiment_sessions (
    LIKE trade.ledger_columns INCLUDING ALL,
    experiment text NOT NULL REFERENCES trade.experiments,
    session_id text NOT NULL REFERENCES trade.sessions,
    PRIMARY KEY (experiment, session_id)
);
SELECT trade.protect('trade.experiment_sessions');

CREATE TABLE trade.candidates (
    LIKE trade.ledger_columns INCLUDING ALL,
    uuid           uuid             PRIMARY KEY,
    session_id     text             NOT NULL REFERENCES trade.sessions,
    decision_no    bigint           NOT NULL,
    instrument     text             NOT NULL,
    decided_at     timestamptz      NOT NULL,
    decision       text             NOT NULL CHECK (decision IN ('enter', 'skip')),
    reason         text             NOT NULL,
    model_version  text             NOT NULL,
    canary_version text,
    arm            text             NOT NULL CHECK (arm IN ('production', 'canary')),
    propensity     double precision NOT NULL CHECK (propensity > 0 AND propensity <= 1),
    confidence     double precision NOT NULL CHECK (confidence >= 0 AND confidence <= 1),
    stake_usd      double precision CHECK (stake_usd >= 0),
    params_ptr     text             NOT NULL,
    created_by     text             NOT NULL,
    feature_hash   bytea
) PARTITION BY RANGE (uuid);
COMMENT ON TABLE trade.candidates IS
    'One row per decision, also for those skipped, with the reason.';
CREATE INDEX ON trade.candidates (chain_id, chain_seq);
SELECT trade.protect('trade.candidates');

CREATE TABLE trade.research_docs (
    LIKE trade.ledger_columns INCLUDING ALL,
    uuid               uuid             PRIMARY KEY REFERENCES trade.candidates,
    contract_address   text,
    known_at           timestamptz,
    price_usd          double precision CHECK (price_usd > 0),
    initial_market_cap double precision CHECK (initial_market_cap >= 0),
    liquidity_usd      double precision CHECK (liquidity_usd >= 0),
    volume_24h_usd     double precision CHECK (volume_24h_usd >= 0),
    holders            bigint           CHECK (holders >= 0),
    rug_risk           double precision CHECK (rug_risk >= 0 AND rug_risk <= 1),
    sentiment          double precision CHECK (sentiment >= 0 AND sentiment <= 1)
) PARTITION BY RANGE (uuid);
COMMENT ON TABLE trade.research_docs IS
    'The immutable snapshot behind a decision; rug heuristics and sentiment by name are in the content.';
CREATE INDEX ON trade.research_docs (chain_id, chain_seq);
SELECT trade.protect('trade.research_docs');

CREATE TABLE trade.executions (
    LIKE trade.ledger_columns INCLUDING ALL,
    uuid        uuid             NOT NULL REFERENCES trade.candidates,
    order_id    text             NOT NULL,
    event       text             NOT NULL CHECK (event IN
                    ('submitted', 'acknowledged', 'partly_filled', 'filled', 'cancelled', 'rejected')),
    sequence    integer          NOT NULL CHECK (sequence >= 0),
    leg         text             NOT NULL CHECK (leg IN ('entry', 'exit')),
    occurred_at timestamptz,
    price       double precision CHECK (price > 0),
    size        double precision NOT NULL CHECK (size >= 0),
    value_usd   double precision CHECK (value_usd >= 0),
    fees_usd    double precision CHECK (fees_usd >= 0),
    slippage    double precision,
    PRIMARY KEY (uuid, order_id, event, sequence)
) PARTITION BY RANGE (uuid);
COMMENT ON TABLE trade.executions IS 'Every order event; slippage is against the decision price.';
CREATE INDEX ON trade.executions (chain_id, chain_seq);
SELECT trade.protect('trade.executions');

CREATE TABLE trade.outcomes (
    LIKE trade.ledger_columns INCLUDING ALL,
    uuid                   uuid             NOT NULL REFERENCES trade.candidates,
    kind                   text             NOT NULL CHECK (kind IN ('realised', 'shadow')),
    revision               integer          NOT NULL CHECK (revision >= 0),
    closed_at              timestamptz,
    realized_pnl_percent   double precision NOT NULL CHECK (realized_pnl_percent < 'Infinity'),
    pnl_usd                double precision,
    time_in_market_seconds double precision NOT NULL CHECK (time_in_market_seconds >= 0),
    termination_reason     text             NOT NULL CHECK (termination_reason IN
        ('stop_loss', 'profit_target', 'max_hold', 'rugpull_exit', 'manual', 'session_end')),
    worst_percent          double precision,
    best_percent           double precision,
    fees_usd               double precision CHECK (fees_usd >= 0),
    exit_impact            double precision,
    PRIMARY KEY (uuid, kind, revision)
) PARTITION BY RANGE (uuid);
COMMENT ON TABLE trade.outcomes IS
    'What came of a trade (realised) or would have come of a candidate (shadow); a correction is the next revision.';
CREATE INDEX ON trade.outcomes (chain_id, chain_seq);
SELECT trade.protect('trade.outcomes');

-- A realised outcome needs a fill, at the latest when its transaction commits.
CREATE FUNCTION trade.require_execution() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM trade.executions
                   WHERE uuid = NEW.uuid AND event IN ('filled', 'partly_filled')) THEN
        RAISE EXCEPTION 'outcome of % refused: no fill is stored for it', NEW.uuid
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER require_execution AFTER INSERT ON trade.outcomes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.kind = 'realised')
    EXECUTE FUNCTION trade.require_execution();

-- How many tokens a scan looked at, and why those that are no candidates failed the filter.
CREATE TABLE trade.scans (
    LIKE trade.ledger_columns INCLUDING ALL,
    session_id text        NOT NULL REFERENCES trade.sessions,
    slot       timestamptz NOT NULL,
    evaluated  integer     NOT NULL CHECK (evaluated >= 0),
    passed     integer     NOT NULL CHECK (passed >= 0),
    PRIMARY KEY (session_id, slot)
);
SELECT trade.protect('trade.scans');

-- Artifacts are named by the hash of their content, which is all the proof they need.
CREATE TABLE trade.artifacts (
    address    text        PRIMARY KEY CHECK (address ~ '^sha256:[0-9a-f]{64}$'),
    uri        text        NOT NULL,
    size_bytes bigint      NOT NULL CHECK (size_bytes >= 0),
    media_type text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz
);
COMMENT ON COLUMN trade.artifacts.expires_at IS
    'Raw answers live for one year; features and records for ever (null).';
SELECT trade.protect('trade.artifacts');

CREATE TABLE trade.artifact_aliases (
    alias      text        PRIMARY KEY,
    address    text        NOT NULL REFERENCES trade.artifacts,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE trade.artifact_aliases IS 'Readable names of addresses; a name is never given twice.';
SELECT trade.protect('trade.artifact_aliases');

-- The documents as jsonb, for queries.
CREATE VIEW trade.research_documents AS
    SELECT uuid, content::jsonb AS document FROM trade.research_docs;
GRANT SELECT ON trade.research_documents TO trade_writer, trade_reader, trade_admin;
