DELETE FROM outbox WHERE kind = 'activated_by_operator';
ALTER TABLE outbox
    DROP CONSTRAINT outbox_kind_check,
    ADD CONSTRAINT outbox_kind_check CHECK (kind IN ('code', 'password_changed', 'activated', 'reset_code', 'password_reset'));
