-- What the leak guards said of a dataset, each time that they were asked.
SET LOCAL ROLE trade_owner;

CREATE TABLE trade.dataset_guards (
    LIKE trade.ledger_columns INCLUDING ALL,
    dataset_version text    NOT NULL REFERENCES trade.datasets,
    evaluation      integer NOT NULL CHECK (evaluation >= 0),
    guard           text    NOT NULL,
    passed          boolean NOT NULL,
    PRIMARY KEY (dataset_version, evaluation, guard)
);
COMMENT ON TABLE trade.dataset_guards IS
    'Verdicts of the leak guards on a dataset; reasons, numbers and culprits are in the content.';
SELECT trade.protect('trade.dataset_guards');
