-- A receipt points at its event instead of repeating it, under a key of fixed length: half the cost of
-- an accepted bid in Postgres was the text of its receipt and an index on the text of its key.
--
-- The receipts that are there, of the last two days, are taken over as they are.

CREATE TABLE receipts_2 (
    user_id      uuid        NOT NULL,
    -- The first eight bytes of the SHA-256 of the Idempotency-Key.
    key_hash     bigint      NOT NULL,
    -- The first sixteen bytes of the SHA-256 of the key and the fingerprint of the request. So two keys
    -- that share a hash never hear each other's answer.
    fingerprint  uuid        NOT NULL,
    -- Whose log the request was about; none where it made a new one.
    log_id       uuid,
    -- The event that was asked for, and how many followed from the request from it on: the answer is
    -- made of these. None where the answer is kept as text.
    seq          bigint,
    events       smallint,
    accepted     boolean     NOT NULL,
    answer       text,
    created_at   timestamptz NOT NULL,
    CONSTRAINT receipts_kept_check CHECK ((answer IS NULL) = (seq IS NOT NULL))
);

INSERT INTO receipts_2 (user_id, key_hash, fingerprint, log_id, accepted, answer, created_at)
SELECT user_id,
       ('x' || encode(substr(sha256(convert_to(key, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint,
       encode(substr(sha256(convert_to(key, 'UTF8') || fingerprint), 1, 16), 'hex')::uuid,
       CASE WHEN accepted AND answer LIKE '{%' THEN (answer::jsonb ->> 'auction_id')::uuid END,
       accepted, answer, created_at
FROM receipts;

DROP TABLE receipts;
ALTER TABLE receipts_2 RENAME TO receipts;
ALTER TABLE receipts ADD CONSTRAINT receipts_pkey PRIMARY KEY (user_id, key_hash);
CREATE INDEX receipts_created_at_idx ON receipts (created_at);
