-- A mail whose code has another length is not sent any more; another can be asked for.
DELETE FROM outbox WHERE digits NOT IN (4, 10);
ALTER TABLE outbox
    DROP CONSTRAINT outbox_digits_check,
    ADD CONSTRAINT outbox_digits_check CHECK (digits IN (4, 10));
