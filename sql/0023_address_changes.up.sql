-- Another address for an account. The person proves it with a mailed code, and the old address can take the change back.
--
-- Locks: ACCESS EXCLUSIVE on outbox and events, for milliseconds: both are short. An earlier release neither reads nor writes
-- the new tables, and claims no mail of a kind that it does not know.
SET LOCAL lock_timeout = '5s';

-- The address that a user has asked for last and not yet confirmed. A row is deleted a day later.
CREATE TABLE address_changes (
    user_id      uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    -- The canonical form, and as typed. No foreign key: an address without a user may be replaced by its MAC.
    address      text COLLATE "C" NOT NULL CHECK (octet_length(address) BETWEEN 3 AND 254),
    email        text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now()
);

-- The links in the mails to the old addresses.
CREATE TABLE address_links (
    -- SHA-256 of the token in the link.
    token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    -- The address that the link restores.
    address    text COLLATE "C" NOT NULL CHECK (octet_length(address) BETWEEN 3 AND 254),
    email      text NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX address_links_of_user ON address_links (user_id);

-- The notice to the old address carries that address, since the user may have the new one when it is sent.
ALTER TABLE outbox
    DROP CONSTRAINT outbox_recipient,
    ADD CONSTRAINT outbox_recipient CHECK (
        (user_id IS NULL) = (kind = 'reset_code') AND (address IS NOT NULL) = (kind IN ('reset_code', 'address_change'))),
    DROP CONSTRAINT outbox_kind_check,
    ADD CONSTRAINT outbox_kind_check
        CHECK (kind IN ('code', 'password_changed', 'activated', 'reset_code', 'password_reset',
            'activated_by_operator', 'address_code', 'address_change', 'address_restored'));

ALTER TABLE events
    DROP CONSTRAINT events_type_check,
    ADD CONSTRAINT events_type_check CHECK (type IN ('user.registered', 'user.activated', 'user.password_changed',
        'user.password_reset', 'user.email_changed', 'user.email_restored', 'user.disabled', 'user.enabled',
        'user.role_changed', 'user.deleted'));
