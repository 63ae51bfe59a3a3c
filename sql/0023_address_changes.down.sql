-- Links that take a change back work no more. Unsent mails and unpublished events of changes are lost.
DELETE FROM events WHERE type IN ('user.email_changed', 'user.email_restored');
ALTER TABLE events
    DROP CONSTRAINT events_type_check,
    ADD CONSTRAINT events_type_check CHECK (type IN ('user.registered', 'user.activated', 'user.password_changed',
        'user.password_reset', 'user.disabled', 'user.enabled', 'user.role_changed', 'user.deleted'));

DELETE FROM outbox WHERE kind IN ('address_code', 'address_change', 'address_restored');
ALTER TABLE outbox
    DROP CONSTRAINT outbox_recipient,
    ADD CONSTRAINT outbox_recipient
        CHECK ((user_id IS NULL) = (kind = 'reset_code') AND (address IS NULL) = (kind <> 'reset_code')),
    DROP CONSTRAINT outbox_kind_check,
    ADD CONSTRAINT outbox_kind_check
        CHECK (kind IN ('code', 'password_changed', 'activated', 'reset_code', 'password_reset',
            'activated_by_operator'));
DROP TABLE address_links;
DROP TABLE address_changes;
