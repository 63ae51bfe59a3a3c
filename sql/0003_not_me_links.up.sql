-- Links by which whoever got a mail says "this was not me". One for each mail, written before the mail goes out.
CREATE TABLE not_me_links (
    -- SHA-256 of the link's token, which is an HMAC of the mail's nonce: this database alone reveals no link.
    token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    -- The registration that the link deletes. Its links go with it, so each works once.
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);

CREATE INDEX not_me_links_user ON not_me_links (user_id);
CREATE INDEX not_me_links_expired ON not_me_links (expires_at);
