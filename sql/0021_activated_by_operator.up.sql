-- A mail that tells a person that an admin or an operator has activated the registration.
--
-- Locks: ACCESS EXCLUSIVE on outbox, for milliseconds: the table has only unfinished mails. An earlier release leaves mails
-- of a kind that it does not know in the table, and a later release sends them.
SET LOCAL lock_timeout = '5s';

ALTER TABLE outbox
    DROP CONSTRAINT outbox_kind_check,
    ADD CONSTRAINT outbox_kind_check
        CHECK (kind IN ('code', 'password_changed', 'activated', 'reset_code', 'password_reset',
            'activated_by_operator'));
