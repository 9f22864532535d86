-- Ways from what was made to what it was made from, and back, that do not read whole tables.
SET LOCAL ROLE trade_owner;

-- A session's decisions, and a model's.  Few values, each of many rows: the index keeps each once.
CREATE INDEX ON trade.candidates (session_id);
CREATE INDEX ON trade.candidates (model_version);
CREATE INDEX ON trade.candidates (canary_version) WHERE canary_version IS NOT NULL;

CREATE INDEX ON trade.models (dataset_version);
CREATE INDEX ON trade.models (parent);
CREATE INDEX ON trade.deployments (model_version);
CREATE INDEX ON trade.deployments (evaluation_id);
CREATE INDEX ON trade.deployments (restores);
CREATE INDEX ON trade.canary_evaluations (canary);

-- What came of a trade is counted for whole datasets, from the index alone.
ALTER TABLE trade.outcomes DROP CONSTRAINT outcomes_pkey;
ALTER TABLE trade.outcomes ADD PRIMARY KEY (uuid, kind, revision) INCLUDE (termination_reason);
