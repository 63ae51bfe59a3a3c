-- An operator may choose codes of more digits than four (CODE_DIGITS).
ALTER TABLE outbox
    DROP CONSTRAINT outbox_digits_check,
    ADD CONSTRAINT outbox_digits_check CHECK (digits BETWEEN 4 AND 10);
