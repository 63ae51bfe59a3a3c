ALTER TABLE addresses DROP COLUMN ticket_hash, DROP COLUMN ticket_expires_at;
