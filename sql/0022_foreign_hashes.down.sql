DROP TRIGGER users_forget_foreign_hash ON users;
DROP FUNCTION forget_foreign_hash();
ALTER TABLE users DROP COLUMN foreign_hash;
