-- Mails to be sent, written in the transaction that owes them (a transactional outbox). A row is deleted when its mail
-- was accepted by the provider, or given up.
CREATE TABLE outbox (
    -- Also the order of grants: of two mails to one user the later has the greater id.
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id         uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    kind            text NOT NULL CHECK (kind IN ('code')),
    -- The code is HMAC(CODE_SECRET, nonce): any worker can say it again, and this table alone reveals nothing.
    nonce           bytea NOT NULL CHECK (octet_length(nonce) = 16),
    digits          smallint NOT NULL CHECK (digits IN (4, 10)),
    -- One key for all attempts, so that the provider can tell a retry from a second mail.
    idempotency_key uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at      timestamptz NOT NULL DEFAULT now(),
    attempts        integer NOT NULL DEFAULT 0,
    -- Whether no attempt can have reached the provider. A claim clears it and a refused attempt restores it, so that of a
    -- worker that died it is assumed that its mail is out.
    unsent          boolean NOT NULL DEFAULT true,
    -- When the next attempt may begin. A claim moves it to the end of the lease, so the row of a worker that died comes
    -- up again by itself.
    due_at          timestamptz NOT NULL DEFAULT now(),
    -- The claim that holds the row: who no longer holds it cannot finish it.
    lease           uuid
);

-- At most one unfinished code mail for a user, and a pending user for an address: one for an address.
CREATE UNIQUE INDEX outbox_one_code_mail ON outbox (user_id) WHERE kind = 'code';
CREATE INDEX outbox_due ON outbox (due_at);
