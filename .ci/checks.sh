# shellcheck shell=bash
# The stages of .ci/run that take more than one command. .ci/run sources this file.
#
# It reads variables of .ci/run: $folder (scratch files), $sixty (the program), $needed_second_try (a file).
# shellcheck disable=SC2154

check_alerts() {
    promtool check rules docs/operations/alerts.yml && promtool test rules docs/operations/alerts_test.yml || return 1
    # promtool checks the syntax of rules only, so each query of the dashboard becomes one.
    python3 - docs/operations/dashboard.json >"$folder/dashboard_queries.yml" <<'PYTHON' || return 1
import json, sys
queries = [target["expr"] for panel in json.load(open(sys.argv[1]))["panels"] for target in panel.get("targets", [])]
rules = [{"record": f"query:{n}", "expr": query.replace("$__rate_interval", "5m")} for n, query in enumerate(queries)]
print(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
PYTHON
    promtool check rules "$folder/dashboard_queries.yml"
}

# A test runs it beside this release.
build_previous_release() {
    PREVIOUS_SIXTY=$(bash .ci/previous-release) || return 1
    export PREVIOUS_SIXTY
    echo "$PREVIOUS_SIXTY"
}

# Runs all tests. Many tests wait for real processes, and a busy machine can be too slow for one of them. So failed
# tests run a second time, without the others. A test that passes then is listed at the end of the run; a test that
# fails twice fails the stage.
run_tests() {
    local name failed
    cargo test --locked --workspace --no-fail-fast -- --include-ignored 2>&1 | tee "$folder/tests.log" && return
    mapfile -t failed < <(sed -n 's/^test \([a-z0-9_:]*\) \.\.\. FAILED$/\1/p' "$folder/tests.log" | sort -u)
    # The build failed, or a doc test, which cannot be selected by name.
    [[ ${#failed[@]} -gt 0 ]] || return 1
    printf '\nSecond try, without the other tests: %s\n' "${failed[*]}"
    cargo test --locked --workspace -- --include-ignored --exact "${failed[@]}" 2>&1 |
        tee "$folder/second-try.log" || return 1
    for name in "${failed[@]}"; do
        # `cargo test` succeeds, too, when no test has the name.
        grep -qx "test $name \.\.\. ok" "$folder/second-try.log" || { echo "did not run again: $name" >&2; return 1; }
    done
    printf '%s\n' "${failed[@]}" >"$needed_second_try"
}

# Runs a short round of the chaos test, with a fixed seed: a failure can be repeated. A busy machine may miss a bar of
# seconds once.
check_chaos() {
    local round=(env SIXTY="$sixty" bash tests/cluster/run --short --seed 60)
    [[ $EUID -eq 0 ]] || round=(sudo -n "${round[@]}")
    PYTHONDONTWRITEBYTECODE=1 python3 -m unittest discover tests/cluster || return 1
    "${round[@]}" && return
    printf '\nSecond try\n'
    "${round[@]}" || return 1
    echo "the chaos test" >>"$needed_second_try"
}

# Checks the rules of deny.toml. The advisories need a database from the internet; the rest of the rules does not.
check_dependencies() {
    cargo deny --locked check bans licenses sources || return 1
    if cargo deny --locked fetch db 2>"$folder/advisories.log"; then
        cargo deny --locked check advisories
    else
        cat "$folder/advisories.log" >&2
        echo "NOT CHECKED: vulnerable, yanked and unmaintained crates. The advisory database cannot be fetched." >&2
    fi
}

check_openapi_document() {
    "$sixty" openapi >"$folder/openapi.json" || return 1
    diff -u docs/openapi.json "$folder/openapi.json" && return
    SIXTY=$sixty bash tests/clients/run breaking ||
        echo "The change breaks existing clients: give the reason in CHANGELOG.md." >&2
    echo "The program's OpenAPI document differs from docs/openapi.json. To accept the change: just openapi" >&2
    return 1
}

# Compares .sqlx with what the database of `sixty dev` says about the queries.
check_queries() {
    local url
    url=$(sed -n 's/^DATABASE_URL=//p' "$folder/dev/env")
    DATABASE_URL=$url cargo sqlx prepare --check -- --locked --all-targets && return
    echo "The queries differ from .sqlx. To accept the change: just prepare" >&2
    return 1
}

check_metrics() {
    local url
    url=$(sed -n 's/^OPS_URL=//p' "$folder/dev/env")
    curl -sf "$url/metrics" | promtool check metrics
}
