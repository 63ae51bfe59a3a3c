ALTER TABLE users RESET (autovacuum_analyze_scale_factor, autovacuum_vacuum_scale_factor);
ALTER TABLE outbox DROP COLUMN wait_moved;
-- Their addresses are not known.
DELETE FROM addresses WHERE forget_at IS NOT NULL;
ALTER TABLE addresses DROP CONSTRAINT addresses_mac_octets, DROP COLUMN mac, DROP COLUMN forget_at;
