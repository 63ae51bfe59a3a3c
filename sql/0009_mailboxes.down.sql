ALTER TABLE outbox DROP COLUMN charged;
DROP TABLE mailboxes;
