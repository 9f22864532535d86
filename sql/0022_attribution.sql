-- Where the result of each trade came from: a view over the records, so that it is never older than
-- they are and anybody can read how it is computed.  trade_pipeline/core/attribution/parts.py says
-- the same in Python, with the reasons.
SET LOCAL ROLE trade_owner;

-- A session's settings, of which the barriers are read here.  Like an artifact one is named by the
-- hash of its content, which is all the proof it needs.
CREATE TABLE trade.settings (
    address       text PRIMARY KEY
                  CHECK (address = 'sha256:' || encode(sha256(convert_to(content, 'UTF8')), 'hex')),
    content       text NOT NULL,
    stop_loss     double precision
                  GENERATED ALWAYS AS ((content::jsonb #>> '{strategy,exits,stop_loss}')::float8) STORED,
    profit_target double precision
                  GENERATED ALWAYS AS ((content::jsonb #>> '{strategy,exits,profit_target}')::float8) STORED,
    -- How long a token stays in the arm that it drew.
    window_hours  integer
                  GENERATED ALWAYS AS ((content::jsonb #>> '{canary,window_hours}')::integer) STORED
);
COMMENT ON TABLE trade.settings IS 'The settings of sessions, under the address that params_ptr names.';
SELECT trade.protect('trade.settings');

-- A whole number, half to even; null from 2^53 on, where a double is no longer exact.
CREATE FUNCTION trade.whole(number double precision) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN abs(number) < 9007199254740992 THEN round(number)::bigint END
$$;

-- USD as whole millionths.
CREATE FUNCTION trade.micros(usd double precision) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN abs(usd) < 1e10 THEN trade.whole(usd * 1e6) END
$$;

-- Null for a number with which nobody trades, so that one such record cannot stop a query by an
-- overflow.
CREATE FUNCTION trade.sane(number double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN number = 0 OR abs(number) BETWEEN 1e-60 AND 1e60 THEN number END
$$;

CREATE VIEW trade.attribution AS
SELECT o.uuid, c.session_id, s.mode, s.market, c.instrument, c.decided_at, o.closed_at, o.revision,
       c.model_version, learned.until AS learned_until, c.arm, c.propensity, c.confidence,
       o.termination_reason, o.written_off, d.liquidity_usd, o.realized_pnl_percent, t.settings_known,
       result, market_move, entry_timing, exit_timing, own_impact, slippage, pool_fees, venue_fees,
       gas, failed_orders, rug_loss,
       result - (market_move + entry_timing + exit_timing + own_impact + slippage + pool_fees
                 + venue_fees + gas + failed_orders + rug_loss) AS unexplained
FROM (
    SELECT uuid, revision, closed_at, termination_reason, realized_pnl_percent, pnl_usd,
           (content::jsonb ->> 'written_off')::boolean AS written_off
    FROM trade.outcomes o
    WHERE kind = 'realised' AND NOT EXISTS (
        SELECT FROM trade.outcomes later
        WHERE later.uuid = o.uuid AND later.kind = 'realised' AND later.revision > o.revision)
) o
JOIN trade.candidates c USING (uuid)
-- Of an older bot's trades too little is known.
JOIN trade.sessions s ON s.session_id = c.session_id AND s.mode <> 'imported'
LEFT JOIN trade.research_docs d USING (uuid)
LEFT JOIN trade.settings p ON p.address = c.params_ptr
LEFT JOIN (
    -- When the last label ended that a model was fitted on, chosen or tested with.
    SELECT m.model_version, max((split.value ->> 'label_end')::timestamptz) AS until
    FROM trade.models m JOIN trade.datasets USING (dataset_version),
         jsonb_each(trade.datasets.content::jsonb -> 'bounds') split
    GROUP BY m.model_version
) learned USING (model_version)
CROSS JOIN LATERAL (
    -- By leg: tokens, value, what that was at the prices decided on, and what the prices contained.
    SELECT sum(size ORDER BY chain_seq) FILTER (WHERE buys) AS q_in,
           sum(size ORDER BY chain_seq) FILTER (WHERE sells) AS q_out,
           coalesce(sum(value) FILTER (WHERE buys), 0)::bigint AS v_in,
           coalesce(sum(value) FILTER (WHERE sells), 0)::bigint AS v_out,
           CASE WHEN bool_and(decided IS NOT NULL) FILTER (WHERE buys)
                THEN (sum(decided) FILTER (WHERE buys))::bigint END AS d_in,
           CASE WHEN bool_and(decided IS NOT NULL) FILTER (WHERE sells)
                THEN (sum(decided) FILTER (WHERE sells))::bigint END AS d_out,
           coalesce(bool_and(told) FILTER (WHERE buys), false) AS told_in,
           coalesce(bool_and(told) FILTER (WHERE sells), false) AS told_out,
           coalesce(bool_or(quoted) FILTER (WHERE sells), false) AS quoted,
           coalesce(sum(impact) FILTER (WHERE buys), 0)::bigint AS impact_in,
           coalesce(sum(impact) FILTER (WHERE sells), 0)::bigint AS impact_out,
           coalesce(sum(pool) FILTER (WHERE buys), 0)::bigint AS pool_in,
           coalesce(sum(pool) FILTER (WHERE sells), 0)::bigint AS pool_out,
           coalesce(sum(venue) FILTER (WHERE buys), 0)::bigint AS venue_in,
           coalesce(sum(venue) FILTER (WHERE sells), 0)::bigint AS venue_out,
           coalesce(sum(rest) FILTER (WHERE buys), 0)::bigint AS rest_in,
           coalesce(sum(rest) FILTER (WHERE sells), 0)::bigint AS rest_out,
           coalesce(sum(spread) FILTER (WHERE sells), 0)::bigint AS spread_out,
           coalesce(sum(paid_gas) FILTER (WHERE buys OR sells), 0)::bigint AS paid_gas,
           coalesce(sum(paid_fees) FILTER (WHERE buys OR sells), 0)::bigint AS paid_fees,
           coalesce(sum(paid_gas + paid_fees) FILTER (WHERE NOT buys AND NOT sells), 0)::bigint AS paid_failed,
           coalesce(sum(paid_gas + paid_fees) FILTER (WHERE leg = 'entry'), 0)::bigint AS paid_in
    FROM (
        SELECT e.chain_seq, e.leg, e.size, e.filled AND e.leg = 'entry' AS buys,
               e.filled AND e.leg = 'exit' AS sells,
               trade.micros(coalesce(e.value_usd, e.price * e.size)) AS value,
               trade.micros(e.size * (e.price / nullif(greatest(
                   CASE e.leg WHEN 'entry' THEN 1 + e.slippage ELSE 1 - e.slippage END, 0), 0)))
                   AS decided,
               inside.*, costs.*
        FROM (
            SELECT chain_seq, leg, trade.sane(size) AS size, trade.sane(price) AS price, value_usd,
                   trade.sane(slippage) AS slippage,
                   event IN ('filled', 'partly_filled') AS filled, content::jsonb AS doc
            FROM trade.executions e
            WHERE e.uuid = o.uuid AND (event IN ('filled', 'partly_filled') OR fees_usd <> 0)
            OFFSET 0
        ) e,
        LATERAL (
            SELECT coalesce(bool_or(key IN ('impact', 'own_impact')), false) AS told,
                   coalesce(bool_or(key = 'spread'), false) AS quoted,
                   coalesce(sum(usd) FILTER (WHERE key IN ('impact', 'own_impact')), 0) AS impact,
                   coalesce(sum(usd) FILTER (WHERE key = 'pool_fee'), 0) AS pool,
                   coalesce(sum(usd) FILTER (WHERE key = 'exchange_fee'), 0) AS venue,
                   coalesce(sum(usd) FILTER (WHERE key = 'spread'), 0) AS spread,
                   coalesce(sum(usd) FILTER (WHERE key NOT IN
                       ('impact', 'own_impact', 'pool_fee', 'exchange_fee')), 0) AS rest
            FROM (SELECT key, trade.micros(value::float8) AS usd
                  FROM jsonb_each_text(e.doc -> 'inside_usd')) named
        ) inside,
        LATERAL (
            SELECT coalesce(sum(usd) FILTER (WHERE key = 'gas'), 0) AS paid_gas,
                   coalesce(sum(usd) FILTER (WHERE key <> 'gas'), 0) AS paid_fees
            FROM (SELECT key, trade.micros(value::float8) AS usd
                  FROM jsonb_each_text(e.doc -> 'costs_usd')) named
        ) costs
    ) fills
) e
CROSS JOIN LATERAL (
    SELECT p.address IS NOT NULL AS settings_known,
           -- Tokens that no sale accounts for, of a trade that was written off.
           CASE WHEN o.written_off THEN greatest(e.q_in - coalesce(e.q_out, 0), 0) ELSE 0 END AS lost,
           coalesce(e.d_in, trade.micros(e.q_in * trade.sane(d.price_usd))) AS start,
           CASE o.termination_reason WHEN 'profit_target' THEN 1 + p.profit_target
                                     ELSE 1 - p.stop_loss END AS barrier,
           impact_out + pool_out + venue_out + rest_out AS inside_out
) t
CROSS JOIN LATERAL (
    SELECT trade.whole(e.v_in * t.barrier * (e.q_out / e.q_in)) AS at_barrier,
           trade.whole(e.v_in * t.barrier * (t.lost / e.q_in)) AS lost_at_barrier
) b
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN e.q_out IS NULL THEN 'nothing'
        WHEN o.termination_reason = 'rugpull_exit' AND b.at_barrier IS NULL THEN 'unknown rug'
        WHEN o.termination_reason = 'rugpull_exit' AND e.v_out < b.at_barrier THEN 'rug'
        WHEN o.termination_reason IN ('stop_loss', 'profit_target') AND e.told_out
             AND b.at_barrier IS NOT NULL THEN 'barrier'
        WHEN e.d_out IS NULL THEN 'unknown'
        WHEN e.told_out THEN 'decision'
        ELSE 'shortfall' END AS sale
) k
CROSS JOIN LATERAL (
    SELECT CASE k.sale
        WHEN 'nothing' THEN CASE WHEN t.lost > 0 THEN 0 END
        WHEN 'rug' THEN b.at_barrier
        WHEN 'barrier' THEN b.at_barrier
            + CASE WHEN e.quoted THEN e.spread_out ELSE t.inside_out - e.rest_out END
        WHEN 'decision' THEN e.d_out
        WHEN 'shortfall' THEN e.d_out END AS sold_at
) x
CROSS JOIN LATERAL (
    SELECT CASE WHEN o.written_off THEN x.sold_at + CASE WHEN t.lost > 0 THEN b.lost_at_barrier ELSE 0 END
                ELSE trade.whole(x.sold_at * (e.q_in / e.q_out)) END AS finish,
           k.sale NOT IN ('nothing', 'rug', 'unknown rug') AS counts
) f
CROSS JOIN LATERAL (
    SELECT coalesce(trade.micros(o.pnl_usd), CASE WHEN o.pnl_usd IS NULL AND e.q_in IS NOT NULL
               THEN trade.whole((e.v_in + e.paid_in) * (trade.sane(o.realized_pnl_percent) / 100)) END)
               AS result,
           coalesce(f.finish - t.start, 0) AS market_move,
           CASE WHEN e.told_in THEN
               coalesce(t.start - (e.v_in - e.impact_in - e.pool_in - e.venue_in - e.rest_in), 0)
               ELSE 0 END AS entry_timing,
           CASE WHEN k.sale IN ('barrier', 'decision')
                THEN e.v_out + t.inside_out - x.sold_at ELSE 0 END AS exit_timing,
           - CASE WHEN e.told_in OR t.start IS NULL THEN e.impact_in ELSE 0 END
           - CASE WHEN f.counts AND k.sale <> 'shortfall' THEN e.impact_out ELSE 0 END AS own_impact,
           - CASE WHEN e.told_in OR t.start IS NULL THEN e.rest_in
                  ELSE coalesce(e.v_in - e.pool_in - e.venue_in - t.start, 0) END
           - CASE WHEN k.sale = 'shortfall' THEN e.d_out - e.v_out - e.pool_out - e.venue_out
                  WHEN f.counts THEN e.rest_out ELSE 0 END AS slippage,
           - e.pool_in - CASE WHEN f.counts THEN e.pool_out ELSE 0 END AS pool_fees,
           - e.venue_in - e.paid_fees - CASE WHEN f.counts THEN e.venue_out ELSE 0 END AS venue_fees,
           - e.paid_gas AS gas,
           - e.paid_failed AS failed_orders,
           CASE WHEN k.sale = 'rug' THEN e.v_out - b.at_barrier ELSE 0 END
           - CASE WHEN t.lost > 0 AND f.finish IS NOT NULL THEN b.lost_at_barrier ELSE 0 END AS rug_loss
) parts;
COMMENT ON VIEW trade.attribution IS
    'Each closed trade''s result (newest revision) in parts that sum to it exactly, in whole millionths of a USD.';
GRANT SELECT ON trade.attribution TO trade_writer, trade_reader, trade_admin;

-- A trade's result by the features that moved its model's confidence: in proportion to each one's
-- share of the summed absolute log odds.  It is a way to share out, not a proof of cause.
CREATE VIEW trade.signal_attribution AS
SELECT a.uuid, a.session_id, a.mode, a.market, a.decided_at, a.model_version, a.arm,
       a.decided_at > a.learned_until AS out_of_sample, moved.feature, moved.log_odds,
       abs(moved.log_odds) / moved.total AS share,
       a.result * abs(moved.log_odds) / moved.total / 1e6 AS usd
FROM trade.attribution a
JOIN trade.candidates c USING (uuid)
CROSS JOIN LATERAL (
    SELECT key AS feature, value::float8 AS log_odds, sum(abs(value::float8)) OVER () AS total
    FROM jsonb_each_text(CASE jsonb_typeof(c.content::jsonb -> 'contributions')
                         WHEN 'object' THEN c.content::jsonb -> 'contributions' END)
    WHERE key <> '(base)'
) moved
WHERE moved.total > 0;
COMMENT ON VIEW trade.signal_attribution IS
    'Each closed trade''s result shared out to the features behind its decision; association, not cause.';
GRANT SELECT ON trade.signal_attribution TO trade_writer, trade_reader, trade_admin;
