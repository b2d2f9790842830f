-- Snapshots: what an auction's log adds up to, up to one of its events, so that a long log need not
-- be read from its beginning. A cache: any row may be deleted at any time.

CREATE TABLE snapshots (
    auction_id  uuid        PRIMARY KEY,
    -- The event up to which the log was applied, its hash, and when it was decided.
    seq         bigint      NOT NULL,
    hash        bytea       NOT NULL,
    at          timestamptz NOT NULL,
    -- Of the encoding; another version's is ignored.
    format      smallint    NOT NULL,
    -- Private: it holds ceilings, reserves and user ids.
    state       bytea       NOT NULL
);
-- Written often and read rarely, and packed as it is: no time is spent on compressing it.
ALTER TABLE snapshots ALTER COLUMN state SET STORAGE EXTERNAL;
