-- The hash of an imported account, as another system has made it (bcrypt, PBKDF2, argon2 with another salt), until the next
-- login with the right password replaces it. password_hash is then the hash of a random digest, with the salt and cost of the
-- address as in all rows, and no password matches it. So an earlier release still reads every row, and knows no password
-- of such an account.
--
-- Locks: ACCESS EXCLUSIVE on users, for milliseconds: the column has no default, and no row is read.
SET LOCAL lock_timeout = '5s';

ALTER TABLE users ADD COLUMN foreign_hash text;

-- A new password_hash ends the foreign one, whichever statement and release writes it: an old password must not stay valid
-- beside a new one.
CREATE FUNCTION forget_foreign_hash() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.foreign_hash := NULL;
    RETURN NEW;
END
$$;

CREATE TRIGGER users_forget_foreign_hash BEFORE UPDATE OF password_hash ON users
    FOR EACH ROW WHEN (OLD.foreign_hash IS NOT NULL AND NEW.password_hash <> OLD.password_hash)
    EXECUTE FUNCTION forget_foreign_hash();
