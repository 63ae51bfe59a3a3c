-- A mail that tells an account's owner that it is active. As with the mails of 0005, a worker of an earlier release drops
-- those that it claims, so while both run a few people are not told.
ALTER TABLE outbox
    DROP CONSTRAINT outbox_kind_check,
    ADD CONSTRAINT outbox_kind_check CHECK (kind IN ('code', 'password_changed', 'activated'));
