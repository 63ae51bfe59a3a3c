-- Registrations that the owner of the address has deleted by the link "this was not me". For a day, their credentials are
-- answered with what happened, instead of as wrong ones.
--
-- Locks: none. An earlier release neither reads nor writes the table.
CREATE TABLE disowned (
    -- A MAC of the address under CODE_SECRET, as in addresses: the address of a deleted user must not stay in clear text. An
    -- address has at most one row, that of the latest deletion.
    address_mac   bytea PRIMARY KEY CHECK (octet_length(address_mac) = 32),
    -- The password of the registration, hashed with the parameters of the address.
    password_hash text NOT NULL,
    expires_at    timestamptz NOT NULL
);
