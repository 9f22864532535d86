-- A venue's answers about one order may exclude each other: found, written, and entries stop.
SET LOCAL ROLE trade_owner;

ALTER TABLE trade.reconciliations DROP CONSTRAINT reconciliations_kind_check;
ALTER TABLE trade.reconciliations ADD CONSTRAINT reconciliations_kind_check CHECK (kind IN (
    'start', 'filled_while_away', 'ended_while_away', 'never_arrived', 'sent_again', 'lapsed',
    'unknown_order', 'balance_differs', 'closed_by_hand', 'filled_after_cancel', 'contradiction'));

-- What pg_stat_activity tells of a login that only may become trade_writer is null to it, and the
-- holder's lock tells the same.
ALTER TABLE trade.leases DROP COLUMN backend_pid, DROP COLUMN backend_start;

CREATE OR REPLACE FUNCTION trade.take_lease(
    wanted text, new_holder text, new_mode text, seconds double precision,
    holder_is_gone boolean
) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    held trade.leases;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('lease:' || wanted, 1));
    SELECT * INTO held FROM trade.leases WHERE account = wanted FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO trade.leases (account, epoch, holder, mode, taken_at, heartbeat_at, expires_at)
        VALUES (wanted, 1, new_holder, new_mode, clock_timestamp(), clock_timestamp(),
            clock_timestamp() + make_interval(secs => seconds));
        RETURN 1;
    ELSIF held.expires_at > clock_timestamp() AND NOT holder_is_gone THEN
        RETURN NULL;
    ELSIF held.mode <> new_mode THEN
        RAISE EXCEPTION 'account %: it is a % account, and never becomes a % one', wanted,
            held.mode, new_mode USING ERRCODE = 'check_violation';
    END IF;
    UPDATE trade.leases SET epoch = held.epoch + 1, holder = new_holder,
        taken_at = clock_timestamp(), heartbeat_at = clock_timestamp(), told = '{}',
        expires_at = clock_timestamp() + make_interval(secs => seconds)
    WHERE account = wanted;
    UPDATE trade.live_progress SET epoch = held.epoch + 1 WHERE account = wanted;
    RETURN held.epoch + 1;
END $$;
