-- The address of a deleted user must not stay here in clear text. The grants of the address must stay: otherwise deleting
-- and registering again would shorten a wait, and give short codes back.
--
-- Locks: ACCESS EXCLUSIVE on addresses, outbox and users, for milliseconds. Nothing is read or rewritten. An earlier release
-- neither reads nor writes the new columns.
SET LOCAL lock_timeout = '5s';

ALTER TABLE addresses
    -- A MAC of the address under CODE_SECRET. Unknown until the next grant of an address that an earlier release has stored.
    ADD COLUMN mac       bytea,
    -- NULL while a user has the address. Otherwise the time at which the row is deleted: 365 days after the last grant. The
    -- column address is then '~' and the MAC in hexadecimal digits. A grant stores the address again.
    ADD COLUMN forget_at timestamptz;

-- NOT VALID: the new columns are NULL in all rows.
ALTER TABLE addresses
    ADD CONSTRAINT addresses_mac_octets
        CHECK (octet_length(mac) = 32 AND (forget_at IS NULL OR mac IS NOT NULL)) NOT VALID;

-- By how much the mail has moved the wait of its address, so that the wait does not end before the code.
ALTER TABLE outbox ADD COLUMN wait_moved interval NOT NULL DEFAULT '0 s';

-- The statistics must soon tell that there are pending users. The default is after a change of every tenth row.
ALTER TABLE users SET (autovacuum_analyze_scale_factor = 0.01, autovacuum_vacuum_scale_factor = 0.05);
