-- Incidents: what is wrong with the machinery around trading, since when, and that it is over.
SET LOCAL ROLE trade_owner;

-- Events of a subject, such as the market data of an account or a job; the newest one holds.
CREATE TABLE trade.incidents (
    incident_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject     text        NOT NULL CHECK (subject <> ''),
    state       text        NOT NULL CHECK (state IN ('begins', 'ends')),
    reason      text        NOT NULL CHECK (reason <> ''),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
SELECT trade.protect('trade.incidents');
CREATE INDEX ON trade.incidents (subject, incident_id DESC);

-- Notes how a subject is: a null reason says that nothing is wrong with it.  Only a change is an
-- event, whoever notes it and how many of them at once.  Gives whether it was one.
CREATE FUNCTION trade.note_incident(noted text, why text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    newest trade.incidents;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('incident:' || noted, 3));
    SELECT * INTO newest FROM trade.incidents WHERE subject = noted
        ORDER BY incident_id DESC LIMIT 1;
    IF (why IS NULL) = (newest.state IS DISTINCT FROM 'begins') THEN
        RETURN false;
    END IF;
    INSERT INTO trade.incidents (subject, state, reason) VALUES (noted,
        CASE WHEN why IS NULL THEN 'ends' ELSE 'begins' END, coalesce(why, newest.reason));
    RETURN true;
END $$;

-- As halts are told: each one that a channel knows.
CREATE TABLE trade.alert_incidents (
    channel     text   NOT NULL REFERENCES trade.alert_channels,
    incident_id bigint NOT NULL REFERENCES trade.incidents,
    PRIMARY KEY (channel, incident_id)
);
GRANT SELECT, INSERT ON trade.alert_incidents TO trade_writer;
GRANT SELECT ON trade.alert_incidents TO trade_reader, trade_admin;

-- What a session did while the database took no writes, and what it finds of one that died then.
ALTER TABLE trade.reconciliations DROP CONSTRAINT reconciliations_kind_check;
ALTER TABLE trade.reconciliations ADD CONSTRAINT reconciliations_kind_check CHECK (kind IN (
    'start', 'filled_while_away', 'ended_while_away', 'never_arrived', 'sent_again', 'lapsed',
    'unknown_order', 'balance_differs', 'closed_by_hand', 'filled_after_cancel', 'contradiction',
    'writes_refused', 'sold_unrecorded'));
