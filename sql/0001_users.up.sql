-- What an address was granted. Rows come with the first registration of an address and outlive its users, so that
-- neither registering again nor purging nor a restart shortens a wait.
CREATE TABLE addresses (
    -- The canonical form: NFC, lower case, the domain in ASCII. At most 254 octets (RFC 5321).
    address          text PRIMARY KEY CHECK (octet_length(address) BETWEEN 3 AND 254),
    -- Salt and cost are shared by the hashes of all rows of the address: one evaluation is compared with each of them, so
    -- that the time of an authentication does not tell how many there are.
    salt             bytea NOT NULL CHECK (octet_length(salt) = 16),
    -- As in a PHC string: m=19456,t=2,p=1
    hash_cost        text NOT NULL,
    -- The last grant of a mail, and the wait from it to the next.
    granted_at       timestamptz NOT NULL,
    wait             interval NOT NULL,
    -- When codes of four digits were granted within the last 365 days: bounded by the setting SHORT_CODES_PER_YEAR.
    short_granted_at timestamptz[] NOT NULL
);

CREATE TABLE users (
    -- A UUIDv7, new with every registration: what was meant for an earlier one never fits a later one.
    id            uuid PRIMARY KEY,
    address       text NOT NULL REFERENCES addresses,
    -- As typed, for showing.
    email         text NOT NULL,
    -- A PHC string of argon2id.
    password_hash text NOT NULL,
    status        text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'active', 'disabled')),
    role          text NOT NULL DEFAULT 'user' CHECK (role IN ('user', 'admin')),
    created_at    timestamptz NOT NULL DEFAULT now(),
    activated_at  timestamptz,
    CHECK ((status = 'pending') = (activated_at IS NULL))
);

-- An address has at most one account. A pending row may stand beside it: registering must not tell whether there is
-- an account, so it neither reads nor minds it.
CREATE UNIQUE INDEX users_one_account ON users (address) WHERE status <> 'pending';
CREATE UNIQUE INDEX users_one_pending ON users (address) WHERE status = 'pending';
