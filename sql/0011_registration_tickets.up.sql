-- The ticket that a "this was not me" page shows to the owner of an address. It lets one registration pass the wait. An
-- address has at most one: in the row that a registration locks, so that of two simultaneous uses one succeeds.
ALTER TABLE addresses
    -- SHA-256 of the ticket: this database alone reveals no ticket. NULL if there is none, or after its use.
    ADD COLUMN ticket_hash       bytea,
    -- The end of the ticket's lifetime; after its use, the time of the use.
    ADD COLUMN ticket_expires_at timestamptz;

-- NOT VALID: new columns are NULL in all rows, so nobody needs to wait while PostgreSQL reads a large table.
ALTER TABLE addresses
    ADD CONSTRAINT addresses_ticket
        CHECK (ticket_hash IS NULL OR (octet_length(ticket_hash) = 32 AND ticket_expires_at IS NOT NULL)) NOT VALID;
