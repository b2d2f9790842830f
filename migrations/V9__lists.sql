-- Lists of auctions: an index for each order that GET /v1/auctions offers, over all auctions, those of
-- a category and those of a seller.
--
-- On a big table: `standings` and `auctions` are locked against everybody until the transaction ends.
-- `standings` is written anew once, and fifteen b-trees and one GIN index are built: reckon with a
-- minute for each million of auctions, and with twice the present size of both tables on the disk
-- for that time. Nothing is served meanwhile, for an exchange migrates before it starts; where that
-- is too long, run `hoga migrate` beforehand while the exchange stands still.

-- What lists are filtered and ordered by stands in one table: no index spans two.
ALTER TABLE standings
    ADD COLUMN category  text,
    ADD COLUMN seller_id uuid,
    ADD COLUMN starts_at timestamptz;
UPDATE standings s SET category = a.category, seller_id = a.seller_id, starts_at = a.starts_at
FROM auctions a WHERE a.id = s.auction_id;

-- A bid changes the price, and an index on it would cost every bid an entry in each index of the
-- table (no heap-only update). So where bids come in, prices are in the order of their class: two for
-- each first digit, such as 10,000 to 14,999. Few bids change it; the auctions of a class that are
-- live and have bids are sorted when they are listed. Everything else has its price to the unit.
ALTER TABLE standings
    ALTER COLUMN seller_id SET NOT NULL,
    ALTER COLUMN starts_at SET NOT NULL,
    DROP COLUMN price_class,
    ADD COLUMN price_class integer NOT NULL GENERATED ALWAYS AS
        (length(price::text) * 20 + left(price::text, 2)::integer / 5) STORED,
    ADD COLUMN quiet_price bigint GENERATED ALWAYS AS
        (CASE WHEN status <> 'live' OR bid_count = 0 THEN price END) STORED;

DROP INDEX standings_status_id_idx, standings_status_ends_at_idx;
DROP INDEX auctions_category_idx, auctions_starts_at_idx, auctions_title_idx;

-- Each begins with the state: whoever asks for all states gets the first of each, merged.
CREATE INDEX standings_newest_idx ON standings (status, auction_id);
CREATE INDEX standings_newest_category_idx ON standings (status, category, auction_id);
CREATE INDEX standings_newest_seller_idx ON standings (status, seller_id, auction_id);
CREATE INDEX standings_ends_idx ON standings (status, ends_at, auction_id);
CREATE INDEX standings_ends_category_idx ON standings (status, category, ends_at, auction_id);
CREATE INDEX standings_ends_seller_idx ON standings (status, seller_id, ends_at, auction_id);
CREATE INDEX standings_starts_idx ON standings (status, starts_at, auction_id);
CREATE INDEX standings_starts_category_idx ON standings (status, category, starts_at, auction_id);
CREATE INDEX standings_starts_seller_idx ON standings (status, seller_id, starts_at, auction_id);
CREATE INDEX standings_price_idx ON standings (status, quiet_price, auction_id)
    WHERE quiet_price IS NOT NULL;
CREATE INDEX standings_price_category_idx ON standings (status, category, quiet_price, auction_id)
    WHERE quiet_price IS NOT NULL;
CREATE INDEX standings_price_seller_idx ON standings (status, seller_id, quiet_price, auction_id)
    WHERE quiet_price IS NOT NULL;
CREATE INDEX standings_class_idx ON standings (price_class) WHERE quiet_price IS NULL;
CREATE INDEX standings_class_category_idx ON standings (category, price_class)
    WHERE quiet_price IS NULL;
CREATE INDEX standings_class_seller_idx ON standings (seller_id, price_class)
    WHERE quiet_price IS NULL;

-- Words in titles. Decomposed, so that two syllables of Hangul are four letters at least and have
-- trigrams; with a blank before, so that the first word begins like every other.
CREATE INDEX auctions_words_idx ON auctions USING gin ((' ' || normalize(title, NFD)) gin_trgm_ops);
