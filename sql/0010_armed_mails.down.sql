ALTER TABLE outbox DROP COLUMN armed_id;
