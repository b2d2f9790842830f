-- Webhooks: where registered clients want to be told of events, and what was told.

CREATE TABLE webhooks (
    id                uuid        PRIMARY KEY,
    client_id         text        NOT NULL CONSTRAINT webhooks_client_id_fkey REFERENCES clients (id) ON DELETE CASCADE,
    -- May hold a secret of the receiver's in path or query; shown to admins, never logged.
    url               text        NOT NULL,
    description       text,
    -- Which events: `bid.placed`, `bid.*` or `*`.
    types             text[]      NOT NULL,
    -- In the clear, for it signs; empty once the row is removed.
    secret            bytea       NOT NULL,
    -- Signs as well until then.
    old_secret        bytea,
    old_secret_until  timestamptz,
    created_at        timestamptz NOT NULL,
    disabled_at       timestamptz,
    disabled_because  text        CHECK (disabled_because IN ('operator', 'gone', 'failing')),
    -- Since when nothing has arrived, and attempts in a row that failed.
    failing_since     timestamptz,
    failures          integer     NOT NULL DEFAULT 0,
    -- Nobody works on it before then: whoever claims it moves it into the future.
    busy_until        timestamptz NOT NULL,
    -- Events that were not kept for it, because too many waited.
    skipped           bigint      NOT NULL DEFAULT 0,
    skipped_at        timestamptz,
    -- Gone for everybody; the row goes once its deliveries have.
    removed_at        timestamptz
);
CREATE INDEX webhooks_client_id_idx ON webhooks (client_id, id) WHERE removed_at IS NULL;
CREATE INDEX webhooks_removed_idx ON webhooks (removed_at) WHERE removed_at IS NOT NULL;

-- How far events have been noted: an event that was decided well before that needs not be looked for
-- in the log when the broker may have lost some.
CREATE TABLE webhook_progress (
    is_the_only_row  boolean     PRIMARY KEY DEFAULT true CHECK (is_the_only_row),
    heard_until      timestamptz NOT NULL
);
-- To look for them by time. Events are written in nearly that order, so a few bytes tell of many.
CREATE INDEX events_at_idx ON events USING brin (at);

-- One event for one webhook. What is sent is made of the event, so that it is not kept twice.
CREATE TABLE webhook_deliveries (
    id               uuid        PRIMARY KEY,
    webhook_id       uuid        NOT NULL CONSTRAINT webhook_deliveries_webhook_id_fkey REFERENCES webhooks (id) ON DELETE CASCADE,
    -- Null for a test.
    auction_id       uuid,
    seq              bigint,
    kind             text        NOT NULL,
    status           text        NOT NULL CHECK (status IN ('waiting', 'delivered', 'failed')),
    -- Since it was noted, or replayed; how long the next pause is goes by it.
    attempts         integer     NOT NULL DEFAULT 0,
    -- Of all times.
    attempts_made    integer     NOT NULL DEFAULT 0,
    next_attempt_at  timestamptz NOT NULL,
    created_at       timestamptz NOT NULL,
    done_at          timestamptz,
    -- An event that comes twice over the bus is told once.
    CONSTRAINT webhook_deliveries_event_key UNIQUE (webhook_id, auction_id, seq)
);
CREATE INDEX webhook_deliveries_list_idx ON webhook_deliveries (webhook_id, id);
CREATE INDEX webhook_deliveries_due_idx ON webhook_deliveries (webhook_id, next_attempt_at, id) WHERE status = 'waiting';
CREATE INDEX webhook_deliveries_failed_idx ON webhook_deliveries (webhook_id, id) WHERE status = 'failed';

CREATE TABLE webhook_attempts (
    delivery_id  uuid        NOT NULL CONSTRAINT webhook_attempts_delivery_id_fkey REFERENCES webhook_deliveries (id) ON DELETE CASCADE,
    -- A newer attempt takes the place of one long before it.
    slot         integer     NOT NULL,
    number       integer     NOT NULL,
    at           timestamptz NOT NULL,
    took_ms      integer     NOT NULL,
    -- Of the answer, where there was one.
    status       integer,
    -- Why it failed.
    error        text,
    PRIMARY KEY (delivery_id, slot)
);
