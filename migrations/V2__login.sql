-- Login: clients, logins under way, codes, refresh tokens; accounts, addresses, sellers, leaving.
-- Secrets, codes and tokens are kept as SHA-256 of what was handed out: all of them carry at least
-- 128 bits of randomness, so that no slower hash is needed.

-- Registered frontends. `id` is publishable.
CREATE TABLE clients (
    id                   text        PRIMARY KEY,
    name                 text        NOT NULL,
    -- Of a server-side client; null where the code runs in a browser or an app.
    secret_hash          bytea,
    redirect_uris        text[]      NOT NULL,
    allowed_origins      text[]      NOT NULL,
    -- Of all its users together; null for no budget of its own.
    requests_per_second  integer     CHECK (requests_per_second > 0),
    bids_per_second      integer     CHECK (bids_per_second > 0),
    created_at           timestamptz NOT NULL,
    disabled_at          timestamptz,
    -- Grows with every change, and rows are never deleted: the sum over all rows tells whether any
    -- has changed.
    version              bigint      NOT NULL DEFAULT 1
);

ALTER TABLE users
    -- How the operator names somebody on the command line; nobody who logs in has one.
    ALTER COLUMN name DROP NOT NULL,
    -- The only link to Kakao; freed when its owner leaves.
    ADD COLUMN kakao_id              bigint CONSTRAINT users_kakao_id_key UNIQUE,
    ADD COLUMN birth_year            smallint,
    ADD COLUMN gender                text CHECK (gender IN ('female', 'male', 'other')),
    -- When its owner agreed that birth year and gender are used for recommendations.
    ADD COLUMN profile_consent_at    timestamptz,
    -- Access tokens issued before count no more: somebody left, or lost a role.
    ADD COLUMN tokens_valid_from     timestamptz,
    ADD COLUMN left_at               timestamptz,
    -- Trade records of who has left are kept until then (E-commerce Act of Korea, decree art. 6).
    ADD COLUMN records_kept_until    timestamptz,
    ADD COLUMN version               bigint NOT NULL DEFAULT 1;
CREATE INDEX users_tokens_valid_from_idx ON users (tokens_valid_from)
    WHERE tokens_valid_from IS NOT NULL;
CREATE INDEX users_records_kept_until_idx ON users (records_kept_until)
    WHERE records_kept_until IS NOT NULL;

-- A login that is at Kakao: taken once, by the browser that began it.
CREATE TABLE logins (
    -- Of the state that Kakao carries.
    state_hash      bytea       PRIMARY KEY,
    -- Of the cookie in the browser.
    browser_hash    bytea       NOT NULL,
    client_id       text        NOT NULL CONSTRAINT logins_client_id_fkey REFERENCES clients (id) ON DELETE CASCADE,
    redirect_uri    text        NOT NULL,
    -- The frontend's own, returned as it came.
    client_state    text,
    code_challenge  text        NOT NULL,
    -- Of our own exchange with Kakao.
    nonce           text        NOT NULL,
    code_verifier   text        NOT NULL,
    expires_at      timestamptz NOT NULL
);
CREATE INDEX logins_expires_at_idx ON logins (expires_at);
CREATE INDEX logins_browser_hash_idx ON logins (browser_hash);

-- One line for each login that succeeded: the refresh tokens that follow from it live and die together.
CREATE TABLE refresh_families (
    id              uuid        PRIMARY KEY,
    user_id         uuid        NOT NULL CONSTRAINT refresh_families_user_id_fkey REFERENCES users (id),
    client_id       text        NOT NULL CONSTRAINT refresh_families_client_id_fkey REFERENCES clients (id) ON DELETE CASCADE,
    created_at      timestamptz NOT NULL,
    -- Of its code, then of its newest refresh token; moves on with each rotation, up to a limit.
    expires_at      timestamptz NOT NULL,
    revoked_at      timestamptz,
    -- `logout`, `reuse`, `code_reuse`, `misuse`, `left`, `unlinked`, `operator`
    revoked_because text
);
CREATE INDEX refresh_families_user_id_idx ON refresh_families (user_id, id);
CREATE INDEX refresh_families_expires_at_idx ON refresh_families (expires_at);

CREATE TABLE authorization_codes (
    code_hash       bytea       PRIMARY KEY,
    family_id       uuid        NOT NULL CONSTRAINT authorization_codes_family_id_fkey REFERENCES refresh_families (id) ON DELETE CASCADE,
    redirect_uri    text        NOT NULL,
    code_challenge  text        NOT NULL,
    used_at         timestamptz
);

CREATE TABLE refresh_tokens (
    token_hash      bytea       PRIMARY KEY,
    family_id       uuid        NOT NULL CONSTRAINT refresh_tokens_family_id_fkey REFERENCES refresh_families (id) ON DELETE CASCADE,
    created_at      timestamptz NOT NULL,
    -- Replaced by the next one then.
    used_at         timestamptz
);
CREATE INDEX refresh_tokens_family_id_idx ON refresh_tokens (family_id, created_at);
CREATE INDEX authorization_codes_family_id_idx ON authorization_codes (family_id);

-- What must be told to Kakao, and what Kakao told us: worked off once, after the answer.
CREATE TABLE kakao_unlinks (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kakao_id        bigint      NOT NULL,
    -- `ours`: we unlink at Kakao; `theirs`: Kakao has unlinked.
    direction       text        NOT NULL CHECK (direction IN ('ours', 'theirs')),
    referrer_type   text,
    noted_at        timestamptz NOT NULL,
    attempts        integer     NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    done_at         timestamptz
);
-- A repeated webhook adds nothing while the first is still to do.
CREATE UNIQUE INDEX kakao_unlinks_pending_key ON kakao_unlinks (kakao_id, direction) WHERE done_at IS NULL;
CREATE INDEX kakao_unlinks_due_idx ON kakao_unlinks (next_attempt_at) WHERE done_at IS NULL;

CREATE TABLE addresses (
    id           uuid        PRIMARY KEY,
    user_id      uuid        NOT NULL CONSTRAINT addresses_user_id_fkey REFERENCES users (id),
    label        text,
    recipient    text        NOT NULL,
    phone        text        NOT NULL,
    postal_code  text        NOT NULL,
    line1        text        NOT NULL,
    line2        text,
    is_default   boolean     NOT NULL,
    created_at   timestamptz NOT NULL
);
CREATE INDEX addresses_user_id_idx ON addresses (user_id, id);
CREATE UNIQUE INDEX addresses_default_key ON addresses (user_id) WHERE is_default;

CREATE TABLE seller_applications (
    id              uuid        PRIMARY KEY,
    user_id         uuid        NOT NULL CONSTRAINT seller_applications_user_id_fkey REFERENCES users (id),
    company_name    text        NOT NULL,
    -- Ten digits, without hyphens.
    business_number text        NOT NULL,
    representative  text        NOT NULL,
    contact_email   text        NOT NULL,
    contact_phone   text        NOT NULL,
    -- `replaced`: approved once, until newer details were.
    status          text        NOT NULL CHECK (status IN ('pending', 'approved', 'refused', 'replaced')),
    -- Why it was refused.
    reason          text,
    decided_by      uuid        CONSTRAINT seller_applications_decided_by_fkey REFERENCES users (id),
    decided_at      timestamptz,
    created_at      timestamptz NOT NULL
);
CREATE INDEX seller_applications_status_idx ON seller_applications (status, id);
CREATE INDEX seller_applications_user_id_idx ON seller_applications (user_id, id);
-- One that waits and one that counts, at most.
CREATE UNIQUE INDEX seller_applications_pending_key ON seller_applications (user_id) WHERE status = 'pending';
CREATE UNIQUE INDEX seller_applications_approved_key ON seller_applications (user_id) WHERE status = 'approved';

-- Who leads, private: asked when somebody wants to leave. Without an index, for it would be
-- rewritten with every bid; the few auctions that are live are read for it.
ALTER TABLE standings ADD COLUMN leader_id uuid;
UPDATE standings s SET leader_id = (
    SELECT (e.private::jsonb ->> 'bidder')::uuid FROM events e
    WHERE e.auction_id = s.auction_id AND e.kind = 'bid.placed'
      AND e.data::jsonb ->> 'bidder' = s.leader_alias
    LIMIT 1)
WHERE leader_alias IS NOT NULL;
CREATE INDEX standings_winner_id_idx ON standings (winner_id) WHERE winner_id IS NOT NULL;
