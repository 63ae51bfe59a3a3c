-- Mails that tell of what happened to an account, beside those with codes. They use neither nonce nor digits, which stay
-- NOT NULL all the same: a worker of an earlier release, for which every mail has a code, then drops them as mails to
-- somebody who is not pending, instead of stumbling over them.
ALTER TABLE outbox
    DROP CONSTRAINT outbox_kind_check,
    ADD CONSTRAINT outbox_kind_check CHECK (kind IN ('code', 'password_changed'));

-- At most one unfinished of a kind for a user: who changes a password often is not written to as often.
CREATE UNIQUE INDEX outbox_one_notice ON outbox (user_id, kind) WHERE kind <> 'code';

-- Lists, newest first: a page is a range of one of these, however many users there are.
CREATE INDEX users_newest ON users (created_at, id);
CREATE INDEX users_newest_of_status ON users (status, created_at, id);

-- Those of whom one must be left.
CREATE INDEX users_admins ON users (id) WHERE role = 'admin' AND status = 'active';
