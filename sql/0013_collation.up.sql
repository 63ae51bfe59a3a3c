-- Text keys compare by octets (COLLATE "C"). The order of other collations changes with the version of the C library or of
-- ICU: an index that was built under another order does not find its rows.
--
-- `sixty migrate` and `sixty serve` first build the new indexes of a database with users CONCURRENTLY, without blocking
-- writes (store/postgres/concurrent_indexes.rs). The IF NOT EXISTS below are for other tools, and for an empty database.
--
-- Locks: ACCESS EXCLUSIVE on users, addresses and outbox. PostgreSQL builds the two partial indexes of users again, because
-- it cannot take over an index with a predicate: about 3 seconds for a million users. Everything else takes milliseconds.
SET LOCAL lock_timeout = '5s';

CREATE UNIQUE INDEX IF NOT EXISTS addresses_address_c ON addresses (address COLLATE "C");
-- For the foreign key, when an address is renamed or deleted, and for searches by address in any status. A hash index, so that
-- no plan reads a range of addresses by it.
CREATE INDEX IF NOT EXISTS users_address ON users USING hash (address COLLATE "C");
CREATE INDEX IF NOT EXISTS users_newest_of_status_c ON users (status COLLATE "C", created_at, id);
CREATE UNIQUE INDEX IF NOT EXISTS addresses_mac ON addresses (mac) WHERE mac IS NOT NULL;
CREATE INDEX IF NOT EXISTS addresses_forgotten ON addresses (forget_at) WHERE forget_at IS NOT NULL;

-- The constraints are added again below as NOT VALID, and validated by the next migration: ALTER COLUMN would otherwise
-- read both tables.
ALTER TABLE users DROP CONSTRAINT users_address_fkey;
ALTER TABLE addresses DROP CONSTRAINT addresses_pkey, DROP CONSTRAINT addresses_address_check;
ALTER TABLE addresses ALTER COLUMN address TYPE text COLLATE "C";
ALTER TABLE users ALTER COLUMN address TYPE text COLLATE "C";
ALTER INDEX addresses_address_c RENAME TO addresses_pkey;
ALTER TABLE addresses
    ADD CONSTRAINT addresses_pkey PRIMARY KEY USING INDEX addresses_pkey,
    ADD CONSTRAINT addresses_address_check CHECK (octet_length(address) BETWEEN 3 AND 254) NOT VALID;
ALTER TABLE users ADD CONSTRAINT users_address_fkey FOREIGN KEY (address) REFERENCES addresses NOT VALID;

DROP INDEX users_newest_of_status;
ALTER INDEX users_newest_of_status_c RENAME TO users_newest_of_status;

-- The outbox is small.
DROP INDEX outbox_one_notice;
CREATE UNIQUE INDEX outbox_one_notice ON outbox (user_id, kind COLLATE "C") WHERE kind <> 'code';
