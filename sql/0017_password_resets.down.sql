-- Unsent mails of resets are lost. An event of a changed password takes the place of an event of a reset, so that consumers
-- learn that the password is another.
UPDATE events SET type = 'user.password_changed' WHERE type = 'user.password_reset';
ALTER TABLE events
    DROP CONSTRAINT events_type_check,
    ADD CONSTRAINT events_type_check CHECK (type IN ('user.registered', 'user.activated', 'user.password_changed',
        'user.disabled', 'user.enabled', 'user.role_changed', 'user.deleted'));

DELETE FROM outbox WHERE kind IN ('reset_code', 'password_reset');
DROP INDEX outbox_one_reset_code;
ALTER TABLE outbox
    DROP CONSTRAINT outbox_recipient,
    DROP COLUMN address,
    ALTER COLUMN user_id SET NOT NULL,
    DROP CONSTRAINT outbox_kind_check,
    ADD CONSTRAINT outbox_kind_check CHECK (kind IN ('code', 'password_changed', 'activated'));
DROP TABLE password_resets;
