-- Validates the constraints of the migration before this one.
--
-- Locks: SHARE UPDATE EXCLUSIVE, which blocks neither reads nor writes, while PostgreSQL reads both tables: about 2 seconds
-- for a million users.
ALTER TABLE addresses VALIDATE CONSTRAINT addresses_address_check;
ALTER TABLE addresses VALIDATE CONSTRAINT addresses_mac_octets;
ALTER TABLE users VALIDATE CONSTRAINT users_address_fkey;

-- Ends the connections of processes that ran before, at a moment at which each is idle; their pools open new ones. Their
-- prepared statements return a column whose collation has changed, and PostgreSQL refuses to run such a statement ("cached
-- plan must not change result type").
DO $$
BEGIN
    IF EXISTS (SELECT FROM addresses) THEN
        FOR attempt IN 1 .. 40 LOOP
            PERFORM pg_stat_clear_snapshot();
            EXIT WHEN NOT EXISTS (
                SELECT FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'sixty' AND backend_start < now()
            );
            PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'sixty' AND backend_start < now()
                AND state = 'idle';
            PERFORM pg_sleep(0.05);
        END LOOP;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'the connections of the earlier release belong to a role that this role cannot end; restart its processes';
END
$$;
