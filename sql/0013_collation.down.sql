DROP INDEX outbox_one_notice;
CREATE UNIQUE INDEX outbox_one_notice ON outbox (user_id, kind) WHERE kind <> 'code';
DROP INDEX users_newest_of_status;
CREATE INDEX users_newest_of_status ON users (status, created_at, id);
DROP INDEX addresses_forgotten;
DROP INDEX addresses_mac;
DROP INDEX users_address;
ALTER TABLE users ALTER COLUMN address TYPE text COLLATE "default";
ALTER TABLE addresses ALTER COLUMN address TYPE text COLLATE "default";
