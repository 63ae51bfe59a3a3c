-- The language of a user's mails, as a language tag (BCP 47) such as 'de'. NULL: the default language of the service. A
-- release that does not know a language uses the default, so no constraint lists the languages.
--
-- Locks: ACCESS EXCLUSIVE on users, for milliseconds: a nullable column changes no row, and NOT VALID reads none. An earlier
-- release neither reads nor writes the column, and queues mails as before.
SET LOCAL lock_timeout = '5s';

ALTER TABLE users ADD COLUMN locale text COLLATE "C";
ALTER TABLE users ADD CONSTRAINT users_locale CHECK (octet_length(locale) BETWEEN 2 AND 35) NOT VALID;
