-- One bid, decided under the lock of the auction's row, with everything that Hoga writes for it:
-- the event with its hash, the standing, the receipt and the outbox row.
CREATE FUNCTION bench_place_bid(
    p_auction uuid, p_user uuid, p_alias text, p_key bigint, p_fingerprint uuid, p_amount bigint,
    p_salt text, p_received timestamptz, p_request_id text, OUT accepted boolean, OUT answer text
) LANGUAGE plpgsql AS $$
DECLARE
    s record;
    v_now timestamptz;
    v_at text;
    v_ends_at text;
    v_received text;
    v_next bigint;
    v_data text;
    v_hash bytea;
    v_code text;
    c_time constant text := 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"';
BEGIN
    SELECT r.accepted, r.answer INTO accepted, answer
    FROM receipts r WHERE r.user_id = p_user AND r.key_hash = p_key;
    IF FOUND THEN
        RETURN;
    END IF;

    SELECT t.status, t.price, t.minimum_next_bid, t.bid_count, t.leader_alias, t.ends_at, t.seq,
           t.head_hash, a.seller_id, a.cap, (a.increment::json ->> 'step')::bigint AS step
    INTO s
    FROM standings t JOIN auctions a ON a.id = t.auction_id
    WHERE t.auction_id = p_auction FOR UPDATE OF t;

    v_now := date_trunc('milliseconds', clock_timestamp());
    v_ends_at := to_char(s.ends_at AT TIME ZONE 'UTC', c_time);
    v_code := CASE
        WHEN s.status <> 'live' OR p_received >= s.ends_at THEN '{"code":"auction_ended"}'
        WHEN s.seller_id = p_user THEN '{"code":"own_auction"}'
        WHEN p_amount > s.cap THEN format('{"code":"over_cap","cap":%s}', s.cap)
        WHEN s.leader_alias = p_alias THEN '{"code":"already_leading"}'
        WHEN p_amount < s.minimum_next_bid
            THEN format('{"code":"bid_too_low","minimum":%s}', s.minimum_next_bid)
    END;
    accepted := v_code IS NULL;

    IF accepted THEN
        v_at := to_char(v_now AT TIME ZONE 'UTC', c_time);
        v_received := to_char(p_received AT TIME ZONE 'UTC', c_time);
        v_next := p_amount + s.step;
        v_data := format(
            '{"amount":{"amount":%1$s,"currency":"KRW"},"bid_count":%2$s,"bidder":"%3$s",'
            '"ends_at":"%4$s","leader_alias":"%3$s","minimum_next_bid":{"amount":%5$s,'
            '"currency":"KRW"},"outcome":"leading","price":{"amount":%1$s,"currency":"KRW"},'
            '"received_at":"%6$s","reserve_met":true}',
            p_amount, s.bid_count + 1, p_alias, v_ends_at, v_next, v_received);
        v_hash := sha256(convert_to(format(
            '{"at":"%s","auction_id":"%s","data":%s,"prev_hash":"%s","seq":%s,"type":"bid.placed"}',
            v_at, p_auction, v_data, encode(s.head_hash, 'hex'), s.seq + 1), 'UTF8'));
        INSERT INTO events (auction_id, seq, kind, at, data, private, hash)
        VALUES (p_auction, s.seq + 1, 'bid.placed', v_now, v_data,
                format('{"bidder":"%s","leader_ceiling":%s,"salt":"%s"}', p_user, p_amount, p_salt),
                v_hash);
        UPDATE standings SET price = p_amount, minimum_next_bid = v_next,
            bid_count = s.bid_count + 1, leader_alias = p_alias, reserve_met = true,
            seq = s.seq + 1, head_hash = v_hash
        WHERE auction_id = p_auction;
        INSERT INTO outbox (auction_ids, first_seqs, last_seqs)
        VALUES (ARRAY[p_auction], ARRAY[s.seq + 1], ARRAY[s.seq + 1]);
        answer := format(
            '{"auction_id":"%s","seq":%s,"outcome":"leading","price":{"amount":%s,"currency":"KRW"},'
            '"minimum_next_bid":{"amount":%s,"currency":"KRW"},"ends_at":"%s","reserve_met":true,'
            '"received_at":"%s","decided_at":"%s","hash":"%s"}',
            p_auction, s.seq + 1, p_amount, v_next, v_ends_at, v_received, v_at,
            encode(v_hash, 'hex'));
    ELSE
        answer := format(
            '{"rejection":%s,"snapshot":{"seq":%s,"price":{"amount":%s,"currency":"KRW"},'
            '"minimum_next_bid":{"amount":%s,"currency":"KRW"},"ends_at":"%s"},"request_id":%s}',
            v_code, s.seq, s.price, s.minimum_next_bid, v_ends_at,
            coalesce(to_json(p_request_id)::text, 'null'));
    END IF;

    INSERT INTO receipts (user_id, key_hash, fingerprint, accepted, answer, created_at)
    VALUES (p_user, p_key, p_fingerprint, accepted, answer, v_now);
END $$;
