-- Live sessions: who may trade an account, what was allowed to be sent, and what was found on start.
SET LOCAL ROLE trade_owner;

-- One holder an account.  Mutable: it moves with every heartbeat.  The epoch grows with each holder.
CREATE TABLE trade.leases (
    account         text        PRIMARY KEY,
    epoch           bigint      NOT NULL CHECK (epoch > 0),
    holder          text        NOT NULL,
    mode            text        NOT NULL CHECK (mode IN ('paper', 'live')),
    -- The database's session of the holder, by which a successor ends it.
    backend_pid     integer     NOT NULL,
    backend_start   timestamptz NOT NULL,
    taken_at        timestamptz NOT NULL,
    heartbeat_at    timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    -- What the holder tells of itself: how far it is, whether it is halted, what it dropped.
    told            text        NOT NULL DEFAULT '{}'
);

-- How far an account's market was read when its newest records became durable.  It moves in the same
-- statement as they do, and only for the holder.
CREATE TABLE trade.live_progress (
    account    text   PRIMARY KEY REFERENCES trade.leases,
    epoch      bigint NOT NULL,
    started_at bigint NOT NULL,
    reached    bigint NOT NULL,
    state      text   NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON trade.leases, trade.live_progress TO trade_writer;
GRANT SELECT ON trade.leases, trade.live_progress TO trade_reader, trade_admin;

-- Takes the lease when it is free, has expired, or its holder is known to be gone; gives the new
-- epoch, or null.  FOR UPDATE waits for an intent that is being committed under the old epoch.
CREATE FUNCTION trade.take_lease(
    wanted text, new_holder text, new_mode text, seconds double precision,
    holder_is_gone boolean
) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    held trade.leases;
    mine CONSTANT timestamptz := (SELECT backend_start FROM pg_stat_activity
                                  WHERE pid = pg_backend_pid());
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('lease:' || wanted, 1));
    SELECT * INTO held FROM trade.leases WHERE account = wanted FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO trade.leases VALUES (wanted, 1, new_holder, new_mode,
            pg_backend_pid(), mine, clock_timestamp(), clock_timestamp(),
            clock_timestamp() + make_interval(secs => seconds));
        RETURN 1;
    ELSIF held.expires_at > clock_timestamp() AND NOT holder_is_gone THEN
        RETURN NULL;
    ELSIF held.mode <> new_mode THEN
        RAISE EXCEPTION 'account %: it is a % account, and never becomes a % one', wanted,
            held.mode, new_mode USING ERRCODE = 'check_violation';
    END IF;
    UPDATE trade.leases SET epoch = held.epoch + 1, holder = new_holder,
        backend_pid = pg_backend_pid(), backend_start = mine,
        taken_at = clock_timestamp(), heartbeat_at = clock_timestamp(), told = '{}',
        expires_at = clock_timestamp() + make_interval(secs => seconds)
    WHERE account = wanted;
    UPDATE trade.live_progress SET epoch = held.epoch + 1 WHERE account = wanted;
    RETURN held.epoch + 1;
END $$;

-- Fails the statement of a session that no longer holds its lease.  A lease that is being taken over
-- is waited for; a heartbeat is not.
CREATE FUNCTION trade.require_lease(wanted text, held_epoch bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM FROM trade.leases WHERE account = wanted AND epoch = held_epoch
        AND expires_at > clock_timestamp() FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'account %: epoch % does not hold the lease', wanted, held_epoch
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END $$;

-- Notes how far a session is; what it began with stays.
CREATE FUNCTION trade.move_progress(
    wanted text, held_epoch bigint, now_reached bigint, now_state text
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM trade.require_lease(wanted, held_epoch);
    INSERT INTO trade.live_progress VALUES (wanted, held_epoch, now_reached, now_reached, now_state)
    ON CONFLICT (account) DO UPDATE SET epoch = EXCLUDED.epoch, reached = EXCLUDED.reached,
        state = EXCLUDED.state;
END $$;

CREATE FUNCTION trade.require_lease_of_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM trade.require_lease(NEW.account, NEW.epoch);
    RETURN NEW;
END $$;

-- Which token was decided about in which slot of market time: once.
CREATE TABLE trade.live_decisions (
    LIKE trade.ledger_columns INCLUDING ALL,
    account    text   NOT NULL REFERENCES trade.leases,
    epoch      bigint NOT NULL,
    instrument text   NOT NULL,
    slot       bigint NOT NULL,
    uuid       uuid   NOT NULL UNIQUE
        REFERENCES trade.candidates DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (account, instrument, slot)
);
SELECT trade.protect('trade.live_decisions');
CREATE TRIGGER require_lease BEFORE INSERT ON trade.live_decisions
    FOR EACH ROW EXECUTE FUNCTION trade.require_lease_of_row();

-- What may be sent to the venue.  The epoch is checked in the transaction that commits the row.
CREATE TABLE trade.order_intents (
    LIKE trade.ledger_columns INCLUDING ALL,
    client_order_id text             PRIMARY KEY,
    uuid            uuid             NOT NULL
        REFERENCES trade.live_decisions (uuid) DEFERRABLE INITIALLY DEFERRED,
    account         text             NOT NULL,
    epoch           bigint           NOT NULL,
    leg             text             NOT NULL CHECK (leg IN ('entry', 'exit')),
    attempt         integer          NOT NULL CHECK (attempt >= 0),
    instrument      text             NOT NULL,
    stake_usd       double precision CHECK (stake_usd > 0),
    tokens          double precision CHECK (tokens > 0),
    decision_price  double precision NOT NULL CHECK (decision_price >= 0),
    submitted_at    timestamptz      NOT NULL,
    UNIQUE (uuid, leg, attempt),
    CHECK ((leg = 'entry') = (stake_usd IS NOT NULL)),
    CHECK ((leg = 'exit') = (tokens IS NOT NULL))
);
SELECT trade.protect('trade.order_intents');
CREATE INDEX ON trade.order_intents (account, submitted_at);
CREATE TRIGGER require_lease BEFORE INSERT ON trade.order_intents
    FOR EACH ROW EXECUTE FUNCTION trade.require_lease_of_row();

-- What a session found when it compared its records with the venue, and what it did about it.
CREATE TABLE trade.reconciliations (
    LIKE trade.ledger_columns INCLUDING ALL,
    account         text        NOT NULL REFERENCES trade.leases,
    epoch           bigint      NOT NULL,
    number          bigint      NOT NULL,
    kind            text        NOT NULL CHECK (kind IN (
        'start', 'filled_while_away', 'ended_while_away', 'never_arrived', 'sent_again', 'lapsed',
        'unknown_order', 'balance_differs', 'closed_by_hand', 'filled_after_cancel')),
    explained       boolean     NOT NULL,
    client_order_id text,
    instrument      text,
    PRIMARY KEY (account, epoch, number)
);
SELECT trade.protect('trade.reconciliations');
CREATE TRIGGER require_lease BEFORE INSERT ON trade.reconciliations
    FOR EACH ROW EXECUTE FUNCTION trade.require_lease_of_row();

-- The kill switch, and every other halt: events of an account, the newest holds.
CREATE TABLE trade.halts (
    halt_id     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account     text        NOT NULL,
    action      text        NOT NULL CHECK (action IN ('halt', 'flatten', 'resume')),
    reason      text        NOT NULL CHECK (reason <> ''),
    by_whom     text        NOT NULL CHECK (by_whom <> ''),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
SELECT trade.protect('trade.halts');
CREATE INDEX ON trade.halts (account, halt_id DESC);

CREATE FUNCTION trade.tell_halt() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_notify('trade_halts', NEW.account);
    RETURN NULL;
END $$;
CREATE TRIGGER tell_halt AFTER INSERT ON trade.halts
    FOR EACH ROW EXECUTE FUNCTION trade.tell_halt();

-- Which accounts are to be traded, and how; the newest row of an account holds.
CREATE TABLE trade.live_requests (
    request_id  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account     text        NOT NULL,
    wanted      boolean     NOT NULL,
    settings    text        NOT NULL,
    by_whom     text        NOT NULL CHECK (by_whom <> ''),
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
SELECT trade.protect('trade.live_requests');
CREATE TRIGGER tell_halt AFTER INSERT ON trade.live_requests
    FOR EACH ROW EXECUTE FUNCTION trade.tell_halt();
CREATE INDEX ON trade.live_requests (account, request_id DESC);

-- The simulated venue of paper sessions.  It lives apart: no session's records are in it, and a
-- session that dies leaves it as it is.
CREATE TABLE trade.paper_orders (
    client_order_id text             PRIMARY KEY,
    account         text             NOT NULL,
    instrument      text             NOT NULL,
    leg             text             NOT NULL,
    stake_usd       double precision NOT NULL,
    tokens          double precision NOT NULL,
    decision_price  double precision NOT NULL,
    submitted_at    bigint           NOT NULL,
    status          text             NOT NULL CHECK (status IN
        ('open', 'filled', 'cancelled', 'rejected')),
    waited          integer          NOT NULL DEFAULT 0,
    why             text,
    costs_usd       text             NOT NULL DEFAULT '{}',
    changed_at      bigint           NOT NULL
);
CREATE INDEX ON trade.paper_orders (account) WHERE status = 'open';
CREATE TABLE trade.paper_fills (
    client_order_id text             NOT NULL REFERENCES trade.paper_orders,
    number          integer          NOT NULL,
    filled_at       bigint           NOT NULL,
    price           double precision NOT NULL,
    tokens          double precision NOT NULL,
    value_usd       double precision NOT NULL,
    costs_usd       text             NOT NULL,
    inside_usd      text             NOT NULL,
    impact          double precision NOT NULL,
    complete        boolean          NOT NULL,
    PRIMARY KEY (client_order_id, number)
);
GRANT SELECT, INSERT, UPDATE ON trade.paper_orders TO trade_writer;
GRANT SELECT, INSERT ON trade.paper_fills TO trade_writer;
GRANT SELECT ON trade.paper_orders, trade.paper_fills TO trade_reader, trade_admin;
