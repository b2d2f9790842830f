-- Pushes: the browsers that are written to, what is to be sent to each, and how far the inbox was
-- followed.

-- A browser of a user's.
CREATE TABLE push_subscriptions (
    id          uuid        PRIMARY KEY,
    user_id     uuid        NOT NULL CONSTRAINT push_subscriptions_user_id_fkey REFERENCES users (id),
    -- Where its push service takes messages; whoever knows it may try.
    endpoint    text        NOT NULL,
    -- SHA-256 of it.
    endpoint_hash bytea     NOT NULL CONSTRAINT push_subscriptions_endpoint_key UNIQUE,
    -- Scheme, host and port of it.
    origin      text        NOT NULL,
    -- What messages are encrypted for: a point on P-256, and 16 bytes.
    p256dh      bytea       NOT NULL,
    auth        bytea       NOT NULL,
    language    text        NOT NULL CHECK (language IN ('en', 'ko')),
    -- As the browser said.
    expires_at  timestamptz,
    created_at  timestamptz NOT NULL,
    -- When the browser last showed it.
    renewed_at  timestamptz NOT NULL,
    -- Since when no message has arrived that was to; null while they do.
    failing_since timestamptz
);
CREATE INDEX push_subscriptions_user_id_idx ON push_subscriptions (user_id, id);
CREATE INDEX push_subscriptions_expires_at_idx ON push_subscriptions (expires_at)
    WHERE expires_at IS NOT NULL;

-- Kinds that are not pushed to a user; who has no row has the default.
CREATE TABLE push_preferences (
    user_id     uuid        PRIMARY KEY CONSTRAINT push_preferences_user_id_fkey REFERENCES users (id),
    muted       text[]      NOT NULL
);

-- Up to where the inbox was followed. Nothing that stands there now is pushed.
CREATE TABLE push_progress (
    is_the_one  boolean     PRIMARY KEY DEFAULT true CHECK (is_the_one),
    done_id     bigint      NOT NULL
);
INSERT INTO push_progress (done_id) SELECT coalesce(max(id), 0) FROM notifications;

-- What is to be sent. Gone when it was, or when it is worth nothing any more. Refers to nothing by a
-- foreign key: whoever deletes a subscription or a notification waits for nobody here, and what it
-- was for is found missing when it is due.
CREATE TABLE pushes (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription_id uuid    NOT NULL,
    -- What takes the place of what: the kind and its subject, or the notification alone.
    slot        text        NOT NULL,
    notification_id bigint  NOT NULL,
    -- Of the subscription.
    origin      text        NOT NULL,
    -- Worth nothing from then on.
    expires_at  timestamptz NOT NULL,
    attempts    integer     NOT NULL DEFAULT 0,
    -- Whoever claims it moves this into the future.
    next_attempt_at timestamptz NOT NULL,
    CONSTRAINT pushes_slot_key UNIQUE (subscription_id, slot)
);
CREATE INDEX pushes_origin_idx ON pushes (origin, next_attempt_at);
