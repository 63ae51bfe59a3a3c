-- Searches for users by the beginning and the domain of their address: a page is a range of one of these, for each status,
-- however many users there are. A prefix is a range only if the keys compare by octets, as addresses do (COLLATE "C").
--
-- `sixty migrate` and `sixty serve` first build these indexes in a database with users CONCURRENTLY
-- (store/postgres/concurrent_indexes.rs). The IF NOT EXISTS are for other tools, and for an empty database.
--
-- Locks: SHARE on users, for milliseconds. An earlier release does not use the indexes.
SET LOCAL lock_timeout = '5s';

CREATE INDEX IF NOT EXISTS users_status_address ON users (status COLLATE "C", address, id);
CREATE INDEX IF NOT EXISTS users_domain_newest ON users (split_part(address, '@', 2), status COLLATE "C", created_at, id);
CREATE INDEX IF NOT EXISTS users_domain_address ON users (split_part(address, '@', 2), status COLLATE "C", address, id);
