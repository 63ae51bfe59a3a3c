-- Codes with which somebody who has forgotten a password sets a new one.
--
-- Locks: ACCESS EXCLUSIVE on outbox and events, for milliseconds: both are short. An earlier release neither reads nor writes
-- the new table, and claims no mail of a kind that it does not know.
SET LOCAL lock_timeout = '5s';

-- What an address was granted: a row for every address that somebody has asked a reset for, with or without an account. A
-- row is deleted when its wait and a quiet day are over.
CREATE TABLE password_resets (
    -- The beginning of a MAC of the address under CODE_SECRET: this table alone reveals no address.
    id              bytea PRIMARY KEY CHECK (octet_length(id) = 16),
    -- The last grant of a mail, and the wait from it to the next.
    granted_at      timestamptz NOT NULL,
    wait            interval NOT NULL,
    -- The mail whose code is the latest, the account that the code was made for, and SHA-256 of that account's password hash
    -- then. NULL until the mail worker has found an account, and after the code was used. No foreign keys: the mail and the
    -- account may be deleted before.
    outbox_id       bigint,
    user_id         uuid,
    password_digest bytea CHECK (octet_length(password_digest) = 32),
    CHECK ((user_id IS NULL) = (password_digest IS NULL))
);
CREATE INDEX password_resets_granted ON password_resets (granted_at);
CREATE INDEX password_resets_of_user ON password_resets (user_id) WHERE user_id IS NOT NULL;

-- A reset mail is queued for an address, since only the mail worker may find out whether the address has an account.
ALTER TABLE outbox
    ALTER COLUMN user_id DROP NOT NULL,
    ADD COLUMN address text COLLATE "C" CHECK (octet_length(address) BETWEEN 3 AND 254),
    ADD CONSTRAINT outbox_recipient CHECK ((user_id IS NULL) = (kind = 'reset_code') AND (address IS NULL) = (kind <> 'reset_code')),
    DROP CONSTRAINT outbox_kind_check,
    ADD CONSTRAINT outbox_kind_check
        CHECK (kind IN ('code', 'password_changed', 'activated', 'reset_code', 'password_reset'));
CREATE UNIQUE INDEX outbox_one_reset_code ON outbox (address) WHERE kind = 'reset_code';

ALTER TABLE events
    DROP CONSTRAINT events_type_check,
    ADD CONSTRAINT events_type_check CHECK (type IN ('user.registered', 'user.activated', 'user.password_changed',
        'user.password_reset', 'user.disabled', 'user.enabled', 'user.role_changed', 'user.deleted'));
