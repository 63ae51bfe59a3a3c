-- What happened to users, for other programs: written by the statement that made it happen (a transactional outbox), and
-- deleted when it was appended to a Redis Stream. It refers to no user, for it outlives whoever was deleted.
CREATE TABLE events (
    -- Drawn while the change holds the user's row: of two events of a user the later has the greater number. Those of
    -- different users may be committed in another order, so nobody may ask for what is greater than the last one seen.
    sequence   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- A UUIDv7 (RFC 9562): milliseconds in place of the first 48 bits of a version 4, of whose version 0100 two bits are
    -- set to make it 0111.
    id         uuid NOT NULL DEFAULT encode(set_bit(set_bit(
                   overlay(uuid_send(gen_random_uuid())
                       PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                       FROM 1 FOR 6),
                   52, 1), 53, 1), 'hex')::uuid,
    type       text NOT NULL CHECK (type IN ('user.registered', 'user.activated', 'user.password_changed',
                   'user.disabled', 'user.enabled', 'user.role_changed', 'user.deleted')),
    user_id    uuid NOT NULL,
    -- As typed; not of a user who was deleted.
    email      text CHECK ((email IS NULL) = (type = 'user.deleted')),
    -- After the change; of a user who was deleted, before it.
    status     text NOT NULL,
    role       text NOT NULL,
    -- Not now(), which is when the transaction began: it may have waited for an earlier change of the user.
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
