DROP INDEX users_admins;
DROP INDEX users_newest_of_status;
DROP INDEX users_newest;
DROP INDEX outbox_one_notice;
DELETE FROM outbox WHERE kind <> 'code';
ALTER TABLE outbox
    DROP CONSTRAINT outbox_kind_check,
    ADD CONSTRAINT outbox_kind_check CHECK (kind IN ('code'));
