-- The bus: since when a commit waits to be published, and events that a consumer cannot take.

ALTER TABLE outbox ADD COLUMN at timestamptz NOT NULL DEFAULT now();

-- Kept until an operator replays them: `hoga dead-letters`. Those of RabbitMQ are in its own queue.
CREATE TABLE dead_letters (
    consumer    text        NOT NULL,
    auction_id  uuid        NOT NULL,
    seq         bigint      NOT NULL,
    kind        text        NOT NULL,
    reason      text        NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, auction_id, seq)
);
CREATE INDEX dead_letters_at_idx ON dead_letters (at, consumer, auction_id, seq);
