-- A shadow outcome may say that the venue would have refused the entry; a realised one needs a fill.
SET LOCAL ROLE trade_owner;

ALTER TABLE trade.outcomes
    DROP CONSTRAINT outcomes_termination_reason_check,
    ADD CONSTRAINT outcomes_termination_reason_check CHECK (termination_reason IN
        ('stop_loss', 'profit_target', 'max_hold', 'rugpull_exit', 'manual', 'session_end',
         'not_filled')),
    ADD CONSTRAINT outcomes_not_filled_check
        CHECK (kind = 'shadow' OR termination_reason <> 'not_filled');
