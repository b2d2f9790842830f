-- What is found by time or by user, each by an index that stays as good as it was.
--
-- On a big table: the tables are locked against writers until the transaction ends; reckon with ten
-- seconds for each ten million events and receipts. Nothing is served meanwhile, for an exchange
-- migrates before it starts; where that is too long, run `hoga migrate` beforehand while the
-- exchange stands still.

-- Receipts are deleted in the order of their age, and new rows take the room of old ones: of a BRIN
-- index every range is then of all times. The rows of a batch share their time, so that a b-tree is
-- a few bytes for each.
DROP INDEX receipts_created_at_idx;
CREATE INDEX receipts_created_at_idx ON receipts (created_at);

-- The first ones by their ids are the oldest.
DROP INDEX notifications_created_at_idx;

-- To go on after an event in the order of time. Those of a batch share their time here, too.
DROP INDEX events_at_idx;
CREATE INDEX events_at_idx ON events (at);

-- Which bid was taken back: asked for with every page of bids.
DROP INDEX events_retracted_idx;
CREATE INDEX events_retracted_idx ON events (auction_id, ((data::jsonb ->> 'bid_seq')::bigint))
    WHERE kind = 'bid.retracted';

-- Where somebody has bid.
CREATE INDEX auction_bidders_user_id_idx ON auction_bidders (user_id, auction_id);
