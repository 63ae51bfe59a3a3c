# shellcheck shell=bash
# Runs once, when postgres-a creates the database. Standbys copy the result.
#
# The image's entrypoint sources this file, and has set -e. `set` here would change the entrypoint.
: "${REPLICATION_PASSWORD:?}" "${CHECK_FROM:?}" "${PGDATA:?}"

# ALTER SYSTEM is the last statement and takes effect at the next start: until a standby exists, no commit would return.
psql -v ON_ERROR_STOP=1 -v password="$REPLICATION_PASSWORD" --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
CREATE ROLE replicator LOGIN REPLICATION PASSWORD :'password';
CREATE ROLE haproxy_check LOGIN CONNECTION LIMIT 8;
ALTER ROLE haproxy_check SET statement_timeout = '1s';
ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (postgres_a, postgres_b)';
SQL

# The first matching line decides. HAProxy's checks need no password, and reach one database from one address.
rules=$(
    cat <<RULES
host  postgres     haproxy_check  $CHECK_FROM  trust
host  all          haproxy_check  all          reject
host  replication  replicator     samenet      scram-sha-256
RULES
    cat "$PGDATA/pg_hba.conf"
)
printf '%s\n' "$rules" >"$PGDATA/pg_hba.conf"
