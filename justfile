# Short names for what one does here; none is needed: each is one or two commands that work without just.

env_file := env("DEV_FOLDER", "target/dev") / "env"
# Where the running `just dev` says everything is.
from_dev := 'if [ -f "' + env_file + '" ]; then . "' + env_file + '"; else echo "Nothing runs here: just dev" >&2; exit 1; fi'

set positional-arguments

# List the recipes
[private]
default:
    @just --list --unsorted

# Run everything on this machine until Ctrl-C
dev *args:
    cargo run -- dev "$@"

# Play the whole story in the terminal; starts `dev` for as long if it does not run
demo *args:
    bash docs/demo.sh "$@"

# Run everything in containers until Ctrl-C
up *args:
    docker compose up --build "$@"

# Remove the containers; the users stay, but for `just down -v`
down *args:
    docker compose down "$@"

# Run all tests
test *args:
    cargo test --locked "$@"

# Run the tests inside the crate
test-unit *args:
    cargo test --lib "$@"

# Run the tests from outside, against real servers
test-integration *args:
    cargo test --test api "$@"

# Run the tests of the pages, in Chromium
test-browser *args:
    cargo test --test api browser:: -- --include-ignored "$@"

# Measure what it must reach; all, or `just bench registration mail start secrecy growth`. Best on an idle machine
bench *args:
    cargo bench --locked -- "$@"

# Look for mistakes, without changing anything
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings

# Format the code
fmt:
    cargo fmt

# Run what must hold before a change goes in
ci:
    bash .ci/run

# Watch the codes of `just dev` count down in Redis
codes:
    #!/usr/bin/env bash
    set -euo pipefail
    {{from_dev}}
    trap 'exit 0' INT
    ask() { redis-cli -u "$REDIS_URL" "$@"; }
    ask PING >/dev/null
    if [[ -t 1 ]]; then clear=$'\e[H\e[J'; else clear=; fi
    while keys=$(ask --scan --pattern "$REDIS_PREFIX:code:*" 2>&1) && [[ $keys != *refused* ]]; do
        shown=$(date +%T)$'  codes that live now; Ctrl-C ends\n'
        for key in $keys; do
            ttl=$(ask TTL "$key")
            # Gone since it was listed.
            [[ $ttl -ge 0 ]] || continue
            fields=$(ask HGETALL "$key" | paste -d ' ' - - | sed 's/^/  /' | tr -d '\n')
            misses=$(ask HGET "${key/:code:/:tries:}" misses)
            shown+=$(printf '\n%s  TTL %2d%s  misses %s' "$key" "$ttl" "$fields" "$misses")
        done
        printf '%s%s\n' "$clear" "$shown"
        sleep 1
    done
    echo "Redis is gone."

# Open psql on the database of `just dev`
psql *args:
    @{{from_dev}}; exec psql "$DATABASE_URL" "$@"

# Open redis-cli on the Redis of `just dev`
redis-cli *args:
    @{{from_dev}}; exec redis-cli -u "$REDIS_URL" "$@"

# Accept the OpenAPI document as it is now, and name what of it breaks clients of the committed one
openapi:
    cargo run --quiet -- openapi > docs/openapi.json.new
    mv docs/openapi.json.new docs/openapi.json
    -bash tests/clients/run breaking

# Generate clients, lint and test the API: all, or some of breaking lint python typescript rust go consumer schemathesis
clients *args:
    bash tests/clients/run "$@"

# Let schemathesis try many examples, other ones each time
schemathesis examples="1000":
    EXAMPLES={{examples}} SEED=$RANDOM bash tests/clients/run schemathesis

# Write the settings as they are now into README.md and .env.example
settings:
    UPDATE_SETTINGS=1 cargo test --quiet --lib settings

# Accept the queries as they are now, checked by the database of `just dev`
prepare:
    @{{from_dev}}; export DATABASE_URL; cargo sqlx migrate run --source sql --ignore-missing && cargo sqlx prepare -- --all-targets

# Accept what the README's tour shows as it is now; takes a minute
readme:
    UPDATE_README=1 cargo test --test api readme::

# Take the README's pictures, docs/demo.png and docs/inbox.png
screenshots:
    bash docs/screenshots.sh

# Draw architecture.png
diagram:
    dot -Tpng docs/architecture.dot -o architecture.png
