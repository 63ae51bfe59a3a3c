-- When code mails were sent to a mailbox: an address without its +tag. ada+1@ and ada+2@ are two addresses and one mailbox,
-- so the pacing of addresses does not protect the mailbox. Bounded by MAILBOX_CODES_PER_HOUR and MAILBOX_CODES_PER_DAY.
CREATE TABLE mailboxes (
    -- A MAC of the mailbox under CODE_SECRET: this table alone reveals no address.
    mac            bytea PRIMARY KEY CHECK (octet_length(mac) = 32),
    -- The code mails of the last 24 hours.
    mailed_at      timestamptz[] NOT NULL,
    last_mailed_at timestamptz NOT NULL
);

-- A row is deleted 24 hours after its last mail.
CREATE INDEX mailboxes_last_mailed ON mailboxes (last_mailed_at);

-- Whether the mail is counted in its mailbox. A retry, also of another process after a crash, does not count it again.
ALTER TABLE outbox ADD COLUMN charged boolean NOT NULL DEFAULT false;
