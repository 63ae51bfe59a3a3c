# Short names for common tasks. Each recipe is one or two commands that also work without just.

env_file := env("DEV_FOLDER", "target/dev") / "env"
# Loads the addresses that the running `just dev` has written.
from_dev := 'if [ -f "' + env_file + '" ]; then . "' + env_file + '"; else echo "No development stack is running; start it with: just dev" >&2; exit 1; fi'

set positional-arguments

# List the recipes
[private]
default:
    @just --list --unsorted

# Run the service, its stores and the mail mock on this machine until Ctrl-C
dev *args:
    cargo run -- dev "$@"

# Play the README's tour in the terminal; starts `dev` for its duration if `dev` does not run
demo *args:
    bash docs/demo.sh "$@"

# Run everything in containers until Ctrl-C
up *args:
    docker compose up --build "$@"

# Remove the containers; keeps the users, except with `just down -v`
down *args:
    docker compose down "$@"

# Run all tests
test *args:
    cargo test --locked "$@"

# Run the unit tests
test-unit *args:
    cargo test --lib "$@"

# Run the tests of the running service, with real servers
test-integration *args:
    cargo test --test api "$@"

# Run the browser tests, in Chromium
test-browser *args:
    cargo test --test api browser:: -- --include-ignored "$@"

# Run the benchmarks: all, or some of registration round-trips credentials mail peers start fairness secrecy growth scaling. Use an idle machine
bench *args:
    cargo bench --locked -- "$@"

# Check formatting and lints, without changing files
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings

# Format the code
fmt:
    cargo fmt

# Run all checks that a change must pass
ci:
    bash .ci/run

# Watch the codes of `just dev` count down in Redis
codes:
    #!/usr/bin/env bash
    set -euo pipefail
    {{from_dev}}
    trap 'exit 0' INT
    ask() { redis-cli --no-auth-warning -u "$REDIS_URL" "$@"; }
    ask PING >/dev/null
    if [[ -t 1 ]]; then clear=$'\e[H\e[J'; else clear=; fi
    while keys=$(ask --scan --pattern "$REDIS_PREFIX:code:*" 2>&1) && [[ $keys != *refused* ]]; do
        shown=$(date +%T)$'  live codes; Ctrl-C ends\n'
        for key in $keys; do
            ttl=$(ask TTL "$key")
            # Skips a code that has expired since the scan.
            [[ $ttl -ge 0 ]] || continue
            fields=$(ask HGETALL "$key" | paste -d ' ' - - | sed 's/^/  /' | tr -d '\n')
            misses=$(ask HGET "${key/:code:/:tries:}" misses)
            shown+=$(printf '\n%s  TTL %2d%s  misses %s' "$key" "$ttl" "$fields" "$misses")
        done
        printf '%s%s\n' "$clear" "$shown"
        sleep 1
    done
    echo "Redis has stopped."

# Open psql on the database of `just dev`
psql *args:
    @{{from_dev}}; exec psql "$DATABASE_URL" "$@"

# Open redis-cli on the Redis of `just dev`
redis-cli *args:
    @{{from_dev}}; exec redis-cli --no-auth-warning -u "$REDIS_URL" "$@"

# Update docs/openapi.json, and list the changes that break clients of the committed version
openapi:
    cargo run --quiet -- openapi > docs/openapi.json.new
    mv docs/openapi.json.new docs/openapi.json
    -bash tests/clients/run breaking

# Generate clients, lint and test the API: all, or some of breaking lint python typescript rust go consumer schemathesis
clients *args:
    bash tests/clients/run "$@"

# Run schemathesis with many examples and a random seed
schemathesis examples="1000":
    EXAMPLES={{examples}} SEED=$RANDOM bash tests/clients/run schemathesis

# Update docs/settings.md and .env.example from the settings
settings:
    UPDATE_SETTINGS=1 cargo test --quiet --lib settings

# Update .sqlx from the queries, with the database of `just dev`
prepare:
    @{{from_dev}}; export DATABASE_URL; cargo sqlx migrate run --source sql --ignore-missing && cargo sqlx prepare -- --all-targets

# Update the output of the README's tour; takes a minute
readme:
    UPDATE_README=1 cargo test --test api readme::

# Take the screenshots docs/demo.png and docs/inbox.png
screenshots:
    bash docs/screenshots.sh

# Draw architecture.png from docs/architecture.dot
diagram:
    dot -Tpng docs/architecture.dot -o architecture.png
