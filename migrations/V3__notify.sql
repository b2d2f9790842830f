-- Watching and telling: watches and their counts, the notifier's work, reminders, the inbox, alerts,
-- tickets for streams. Nothing here refers to `auctions` by a foreign key: a million watches would
-- all lock one row of it.

-- Who follows which auction.
CREATE TABLE watches (
    auction_id  uuid        NOT NULL,
    user_id     uuid        NOT NULL CONSTRAINT watches_user_id_fkey REFERENCES users (id),
    created_at  timestamptz NOT NULL,
    -- In the order in which those who are told are gone through.
    CONSTRAINT watches_pkey PRIMARY KEY (auction_id, user_id)
);
CREATE INDEX watches_user_id_idx ON watches (user_id, created_at, auction_id);

-- How many: what was folded, and what was not yet. The sum of both is exact in every snapshot, and
-- nobody who watches touches a row that somebody else writes.
CREATE TABLE watch_counts (
    auction_id  uuid        PRIMARY KEY,
    count       bigint      NOT NULL
);
CREATE TABLE watch_deltas (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    auction_id  uuid        NOT NULL,
    delta       smallint    NOT NULL
);
CREATE INDEX watch_deltas_auction_id_idx ON watch_deltas (auction_id);

-- Up to where the log of an auction has been worked off, and who led then. It moves on in the
-- transaction that writes what follows from the log: every event is worked off once.
CREATE TABLE notify_progress (
    auction_id  uuid        PRIMARY KEY,
    done_seq    bigint      NOT NULL,
    leader_id   uuid
);
-- Nothing that happened before is told now.
INSERT INTO notify_progress (auction_id, done_seq, leader_id)
SELECT auction_id, seq, leader_id FROM standings;

-- Who has bid in an auction, however often.
CREATE TABLE auction_bidders (
    auction_id  uuid        NOT NULL,
    user_id     uuid        NOT NULL,
    -- The number in their alias.
    bidder_no   bigint      NOT NULL,
    CONSTRAINT auction_bidders_pkey PRIMARY KEY (auction_id, user_id)
);
CREATE INDEX auction_bidders_bidder_no_idx ON auction_bidders (auction_id, bidder_no);
INSERT INTO auction_bidders (auction_id, user_id, bidder_no)
SELECT DISTINCT auction_id, (private::jsonb ->> 'bidder')::uuid,
       substr(data::jsonb ->> 'bidder', length('bidder-') + 1)::bigint
FROM events WHERE kind = 'bid.placed' AND private::jsonb ->> 'bidder' IS NOT NULL
ON CONFLICT DO NOTHING;

-- News for many: worked off page by page, with the place in between.
CREATE TABLE fanouts (
    auction_id  uuid        NOT NULL,
    kind        text        NOT NULL,
    -- 0 where newer news takes the place of older; else what caused it.
    slot        bigint      NOT NULL,
    audience    text        NOT NULL CHECK (audience IN ('watchers', 'bidders', 'watchers_and_bidders', 'alerted')),
    cause       bigint      NOT NULL,
    data        text        NOT NULL,
    at          timestamptz NOT NULL,
    -- Who knows anyway.
    besides     uuid[]      NOT NULL,
    -- The last one that was told.
    cursor      uuid,
    -- When the next page is; null while there is nothing to tell.
    due_at      timestamptz,
    -- When the last telling began.
    told_at     timestamptz,
    -- What came while it was being told.
    next_cause   bigint,
    next_data    text,
    next_at      timestamptz,
    next_besides uuid[],
    CONSTRAINT fanouts_pkey PRIMARY KEY (auction_id, kind, slot)
);
CREATE INDEX fanouts_due_at_idx ON fanouts (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX fanouts_told_at_idx ON fanouts (told_at) WHERE due_at IS NULL;

-- What is to be said before an auction opens or ends. Moves with its times; gone once it is told.
CREATE TABLE reminders (
    auction_id  uuid        NOT NULL,
    kind        text        NOT NULL CHECK (kind IN ('opening_soon', 'ending_soon')),
    lead_s      bigint      NOT NULL CHECK (lead_s > 0),
    -- The opening or the end that it is about.
    target_at   timestamptz NOT NULL,
    -- `lead_s` before that.
    fire_at     timestamptz NOT NULL,
    CONSTRAINT reminders_pkey PRIMARY KEY (auction_id, kind, lead_s)
);
CREATE INDEX reminders_fire_at_idx ON reminders (fire_at);
-- The default lead times; those of auctions to come follow HOGA_REMINDER_LEADS.
INSERT INTO reminders (auction_id, kind, lead_s, target_at, fire_at)
SELECT t.auction_id, t.kind, l.lead_s, t.target_at, t.target_at - make_interval(secs => l.lead_s)
FROM (SELECT s.auction_id, 'opening_soon' AS kind, a.starts_at AS target_at
      FROM standings s JOIN auctions a ON a.id = s.auction_id WHERE s.status = 'scheduled'
      UNION ALL
      SELECT auction_id, 'ending_soon', ends_at FROM standings WHERE status IN ('scheduled', 'live')) t,
     (VALUES (86400), (3600)) AS l (lead_s)
WHERE t.target_at - make_interval(secs => l.lead_s) > now();

-- The inbox. `id` rises in the order of commits, for those who write take turns; a stream resumes
-- by it.
CREATE TABLE notifications (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id     uuid        NOT NULL,
    kind        text        NOT NULL,
    -- The auction, or the seller application.
    subject_id  uuid        NOT NULL,
    -- The event's sequence number, or when a reminder was due, in milliseconds.
    cause       bigint      NOT NULL,
    -- JSON: what is worded of it.
    data        text        NOT NULL,
    -- When it happened.
    at          timestamptz NOT NULL,
    created_at  timestamptz NOT NULL,
    read_at     timestamptz,
    -- One for each cause: whoever is told again hears nothing.
    CONSTRAINT notifications_cause_key UNIQUE (user_id, kind, subject_id, cause)
);
CREATE INDEX notifications_user_id_idx ON notifications (user_id, id);
CREATE INDEX notifications_created_at_idx ON notifications USING brin (created_at);

-- Kinds that a user does not want to hear of.
CREATE TABLE notification_mutes (
    user_id     uuid        NOT NULL CONSTRAINT notification_mutes_user_id_fkey REFERENCES users (id),
    kind        text        NOT NULL,
    CONSTRAINT notification_mutes_pkey PRIMARY KEY (user_id, kind)
);

-- What users want to hear of when it is listed. An empty text stands for any.
CREATE TABLE keyword_alerts (
    id          uuid        PRIMARY KEY,
    user_id     uuid        NOT NULL CONSTRAINT keyword_alerts_user_id_fkey REFERENCES users (id),
    -- In lower case.
    keyword     text        NOT NULL,
    category    text        NOT NULL,
    created_at  timestamptz NOT NULL,
    CONSTRAINT keyword_alerts_key UNIQUE (user_id, keyword, category),
    CONSTRAINT keyword_alerts_something CHECK (keyword <> '' OR category <> '')
);
-- A title is looked up by every part of it that may be a keyword.
CREATE INDEX keyword_alerts_keyword_idx ON keyword_alerts (keyword, user_id);

-- Of those who cannot send a header: SHA-256 of what was handed out.
CREATE TABLE stream_tickets (
    ticket_hash bytea       PRIMARY KEY,
    user_id     uuid        NOT NULL CONSTRAINT stream_tickets_user_id_fkey REFERENCES users (id),
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz
);
CREATE INDEX stream_tickets_user_id_idx ON stream_tickets (user_id, expires_at);
CREATE INDEX stream_tickets_expires_at_idx ON stream_tickets (expires_at);
