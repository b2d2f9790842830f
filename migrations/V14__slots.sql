-- Slots: the 256 parts into which logs fall by the last byte of their id, and who may write them.
--
-- The column is computed for the rows that are there, which rewrites `standings`: seconds for a
-- million auctions. Nothing is served meanwhile.

-- Numbers of owners: whoever takes the slots over gets the next one.
CREATE SEQUENCE owners_id_seq;

CREATE TABLE slots (
    slot   smallint PRIMARY KEY CHECK (slot BETWEEN 0 AND 255),
    owner  bigint   NOT NULL
);

-- A lane writes only while the row of its owner and its own number stands here, which it locks for the
-- time of its transaction: deleting the row waits for what is under way and ends whatever comes later.
CREATE TABLE fences (
    owner  bigint   NOT NULL,
    lane   smallint NOT NULL,
    CONSTRAINT fences_pkey PRIMARY KEY (owner, lane)
);

ALTER TABLE standings
    ADD COLUMN slot smallint NOT NULL GENERATED ALWAYS AS (get_byte(uuid_send(auction_id), 15)) STORED;
