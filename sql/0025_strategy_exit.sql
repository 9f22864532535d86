-- A trade may end because a rule of the user's own said so.
SET LOCAL ROLE trade_owner;

ALTER TABLE trade.outcomes
    DROP CONSTRAINT outcomes_termination_reason_check,
    ADD CONSTRAINT outcomes_termination_reason_check CHECK (termination_reason IN
        ('stop_loss', 'profit_target', 'max_hold', 'rugpull_exit', 'strategy_exit', 'manual',
         'session_end', 'not_filled'));
