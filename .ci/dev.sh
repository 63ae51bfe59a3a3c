# shellcheck shell=bash
# Starts and stops a `sixty dev` on free ports, for scripts that source this file.

dev_pid=
# start_dev <program> <folder> [<flag> …]: returns once the whole stack is ready; <folder>/env then holds every URL.
start_dev() {
    local folder=$2 deadline=$((SECONDS + 120))
    dev_log=$folder/dev.log
    rm -rf "$folder" && mkdir -p "$folder" || return 1
    "$1" dev --dev-folder "$folder" --api-addr 127.0.0.1:0 --mail-mock-addr 127.0.0.1:0 --ops-addr 127.0.0.1:0 \
        "${@:3}" >"$dev_log" 2>&1 &
    dev_pid=$!
    until [[ -s $folder/env ]]; do
        if ! kill -0 "$dev_pid" 2>/dev/null || ((SECONDS >= deadline)); then
            cat "$dev_log" >&2
            return 1
        fi
        sleep 0.1
    done
}

# Stops it with SIGTERM, and with SIGKILL after 30 seconds. Fails if its exit status is not 0.
stop_dev() {
    [[ -n $dev_pid ]] || return 0
    local pid=$dev_pid deadline=$((SECONDS + 30))
    dev_pid=
    kill "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do
        if ((SECONDS >= deadline)); then
            echo "sixty dev (pid $pid) ignored SIGTERM for 30 seconds; killing it." >&2
            kill -KILL "$pid"
        fi
        sleep 0.1
    done
    wait "$pid" || { cat "$dev_log" >&2; return 1; }
}
