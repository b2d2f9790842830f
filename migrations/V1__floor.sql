-- The floor: users, auctions, the event log, receipts and the outbox.
-- Money is bigint minor units; times are timestamptz with milliseconds.

CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE users (
    id          uuid        PRIMARY KEY,
    name        text        NOT NULL CONSTRAINT users_name_key UNIQUE,
    nickname    text        NOT NULL,
    roles       text[]      NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- What is sold and how: changes only while the auction is scheduled.
CREATE TABLE auctions (
    id                   uuid        PRIMARY KEY,
    seller_id            uuid        NOT NULL CONSTRAINT auctions_seller_id_fkey REFERENCES users (id),
    title                text        NOT NULL,
    description          text        NOT NULL,
    category             text,
    -- JSON, like attributes, increment and soft_close: read as a whole, never searched.
    image_keys           text        NOT NULL,
    attributes           text        NOT NULL,
    currency             text        NOT NULL,
    opening_price        bigint      NOT NULL CHECK (opening_price > 0),
    increment            text        NOT NULL,
    reserve_price        bigint      CHECK (reserve_price > 0),
    buy_now_price        bigint      CHECK (buy_now_price > 0),
    bids_per_bidder_max  integer,
    cap                  bigint      NOT NULL,
    soft_close           text,
    starts_at            timestamptz NOT NULL,
    -- An unsold auction is taken up again once.
    relisted_from        uuid        CONSTRAINT auctions_relisted_from_fkey REFERENCES auctions (id)
                                     CONSTRAINT auctions_relisted_from_key UNIQUE,
    created_at           timestamptz NOT NULL
);

-- Where each auction stands: rewritten with every batch that touches it, for reading. Apart from
-- `auctions`, so that a bid rewrites a short row and leaves the text indexes alone.
CREATE TABLE standings (
    auction_id        uuid        PRIMARY KEY CONSTRAINT standings_auction_id_fkey REFERENCES auctions (id),
    status            text        NOT NULL,
    result            text,
    price             bigint      NOT NULL,
    -- The price to two digits, for the index: it rises with the price but changes with few bids, so
    -- that most of them leave every index alone (a heap-only update).
    price_class       integer     NOT NULL GENERATED ALWAYS AS
                          (length(price::text) * 100 + left(price::text, 2)::integer) STORED,
    minimum_next_bid  bigint,
    bid_count         integer     NOT NULL,
    leader_alias      text,
    reserve_met       boolean     NOT NULL,
    buy_now_stands    boolean     NOT NULL,
    ends_at           timestamptz NOT NULL,
    -- When the clock next has something to do: the opening or the closing.
    due_at            timestamptz,
    seq               bigint      NOT NULL,
    head_hash         bytea       NOT NULL,
    -- The bidder ids, private; the winner is a stored fact.
    winner_id         uuid,
    runner_up_id      uuid
) WITH (fillfactor = 60);

CREATE TABLE events (
    auction_id  uuid        NOT NULL,
    seq         bigint      NOT NULL,
    kind        text        NOT NULL,
    at          timestamptz NOT NULL,
    -- The public half: canonical JSON, exactly as it was hashed.
    data        text        NOT NULL,
    -- The private half: ceilings, reserves, user ids.
    private     text,
    hash        bytea       NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (auction_id, seq)
);

-- Which bids were taken back: few, and asked for with every page of bids.
CREATE INDEX events_retracted_idx ON events (auction_id, seq) WHERE kind = 'bid.retracted';

-- The first answer to every request that carried an Idempotency-Key, refusals included.
CREATE TABLE receipts (
    user_id      uuid        NOT NULL,
    key          text        NOT NULL,
    -- Of the request: the same key with another request is refused.
    fingerprint  bytea       NOT NULL,
    accepted     boolean     NOT NULL,
    answer       text        NOT NULL,
    created_at   timestamptz NOT NULL,
    CONSTRAINT receipts_pkey PRIMARY KEY (user_id, key)
);
CREATE INDEX receipts_created_at_idx ON receipts USING brin (created_at);

-- One row for each commit that wrote events: which, of which auctions. Deleted once published.
CREATE TABLE outbox (
    id           bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    auction_ids  uuid[]   NOT NULL,
    first_seqs   bigint[] NOT NULL,
    last_seqs    bigint[] NOT NULL
);

-- The clock: what is due, soonest first.
CREATE INDEX standings_due_at_idx ON standings (due_at) WHERE due_at IS NOT NULL;

-- Lists of auctions: each order with its tie-breaker, for cursors.
CREATE INDEX standings_status_id_idx ON standings (status, auction_id);
CREATE INDEX standings_status_ends_at_idx ON standings (status, ends_at, auction_id);
CREATE INDEX standings_price_class_idx ON standings (price_class);
CREATE INDEX auctions_seller_id_idx ON auctions (seller_id, id);
CREATE INDEX auctions_category_idx ON auctions (category, id);
CREATE INDEX auctions_starts_at_idx ON auctions (starts_at, id);
CREATE INDEX auctions_title_idx ON auctions USING gin (title gin_trgm_ops);
