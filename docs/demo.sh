#!/usr/bin/env bash
# The whole story in a terminal, some two minutes long: bash docs/demo.sh [--no-pause]
#
# Every command is shown, and it is that very command that runs: those who watch can type it, in this folder, after
# `. target/dev/env`. It talks to the `sixty dev` that runs here; if there is none, it starts one and stops it in the
# end. On a terminal it waits for Enter before each command, unless told --no-pause.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "demo: $1" >&2
    exit 1
}

[[ -t 1 ]] && terminal=yes || terminal=
[[ -t 0 && $terminal ]] && pausing=yes || pausing=
case "$*" in
    '') ;;
    --no-pause) pausing= ;;
    *) fail "the only argument is --no-pause" ;;
esac
for needed in curl:curl redis-cli:redis-tools psql:postgresql-client; do
    command -v "${needed%:*}" >/dev/null || fail "${needed%:*} is missing: apt-get install ${needed#*:}"
done

bold='' dim='' red='' green='' yellow='' blue='' plain=''
if [[ $terminal && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' blue=$'\e[36m' plain=$'\e[0m'
fi

# --- the stage --------------------------------------------------------------------------------------------------------

folder=${DEV_FOLDER:-target/dev}
dev=
clean_up() {
    # The countdown hides the cursor.
    [[ ! $terminal ]] || printf '\e[?25h'
    [[ -n $dev ]] || return 0
    kill "$dev" 2>/dev/null || true
    wait "$dev" || true
}
trap clean_up EXIT
trap 'echo; exit 130' INT
trap 'exit 143' TERM HUP

runs_here() {
    [[ -f $folder/env ]] || return 1
    # shellcheck disable=SC1091
    . "$folder/env"
    curl -s -o /dev/null "$API_URL/livez"
}

start_dev() {
    command -v cargo >/dev/null || fail "no \`sixty dev\` runs here, and there is no cargo to start one"
    cargo build
    mkdir -p "$folder"
    cargo run --quiet -- dev </dev/null >"$folder/demo.log" 2>&1 &
    dev=$!
    until runs_here; do
        if ! kill -0 "$dev" 2>/dev/null; then
            cat "$folder/demo.log" >&2
            fail "\`sixty dev\` did not start"
        fi
        sleep 0.1
    done
}

act() {
    local line
    printf -v line '%*s' $((72 - ${#1})) ''
    printf '\n\n%s── %s %s%s\n' "$bold$blue" "$1" "${line// /─}" "$plain"
}

say() { printf '\n%s\n' "$1"; }

# How many seconds the code has left that is waiting to be used; nothing while there is none.
key=
seconds_left() {
    [[ -z $key ]] || redis-cli -u "$REDIS_URL" TTL "$key"
}

# The colour of so many seconds out of a minute.
urgency() {
    if (($1 > 30)); then urgency=$green; elif (($1 > 10)); then urgency=$yellow; else urgency=$red; fi
}

# Waits for Enter, and meanwhile shows beside the command how long the code lives, which those who explain must know.
pause() {
    [[ $pausing ]] || return 0
    local left urgency
    printf '\e7'
    while
        left=$(seconds_left)
        if [[ $left ]]; then
            urgency "$left"
            printf '\e8\e[K  %s%s%s' "$urgency" "$((left >= 0 ? left : 0)) s" "$plain"
        fi
        ! read -r -s -t 1 </dev/tty
    do :; done
    printf '\e8\e[K'
}

# Shows the command that it reads, waits for the presenter unless it only sets a variable, and runs it.
run() {
    local command
    command=$(</dev/stdin)
    printf '\n%s$ %s%s' "$bold" "$command" "$plain"
    [[ $command == [A-Z]*=* ]] || pause
    echo
    case $command in
        # The others would write less into a pipe than on a terminal.
        "curl "*) eval "$command" </dev/null | paint ;;
        *) eval "$command" </dev/null ;;
    esac
}

# Colours what to look at in an answer or a mail.
paint() {
    if [[ ! $bold ]]; then
        cat
        return
    fi
    sed -E \
        -e "s/^HTTP.* [23][0-9]{2}.*/$green$bold&$plain/" \
        -e "s/^[a-z-]+: .*/$dim&$plain/" \
        -e "s/(\"status\":)(\"active\")/\1$green$bold\2$plain/" \
        -e "s/(\"status\":)(\"pending\")/\1$yellow$bold\2$plain/" \
        -e "s/(\"status\":)([45][0-9]{2})/\1$red$bold\2$plain/" \
        -e "s/(\"detail\":)(\"[^\"]*\")/\1$yellow\2$plain/" \
        -e "s/(\"(attempts_remaining|retry_after)\":)([0-9]+)/\1$bold\3$plain/" \
        -e "s/(code is )([0-9]+)/\1$blue$bold\2$plain/"
}

# Mails are faster than fingers, but not than a script.
mail=
await_mail() {
    local deadline=$((SECONDS + 20)) before=$mail id
    until mail=$(curl -s "$MAIL_URL/api/v1/message/latest") && [[ $mail != "$before" && $mail == *"\"$1\""* ]]; do
        ((SECONDS < deadline)) || fail "no mail has come to $1"
        sleep 0.1
    done
    id=$(curl -s -u "$1:$PASSWORD" "$API_URL/v1/users/me" | grep -o '[0-9a-f-]\{36\}')
    key="$REDIS_PREFIX:code:{$id}"
}

# Shows the command that it reads, which asks how many seconds are left, and runs it once a second until there is nothing
# left.
count_down() {
    local command left before= urgency bar
    command=$(</dev/stdin)
    printf '\n%s$ %s%s   # once a second%s' "$bold" "$command" "$plain$dim" "$plain"
    pause
    echo
    [[ ! $terminal ]] || printf '\e[?25l'
    # It is looked at more often, or what looking takes would make it skip seconds.
    while left=$(eval "$command"); ((left >= 0)); do
        if [[ $left == "$before" ]]; then
            sleep 0.2
            continue
        fi
        before=$left
        if [[ $terminal ]]; then
            urgency "$left"
            printf -v bar '%*s' "$left" ''
            printf '\r\e[K(integer) %-3d %s%s%s' "$left" "$urgency" "${bar// /█}" "$plain"
        else
            echo "$left"
        fi
    done
    if [[ $terminal ]]; then
        printf '\r\e[K(integer) %d  %sgone%s\e[?25h\n' "$left" "$red$bold" "$plain"
    else
        echo "$left"
    fi
    key=
}

# --- the story --------------------------------------------------------------------------------------------------------

runs_here || start_dev
# People who are new each time: the accounts of earlier demos are still there.
printf -v new '%04x' "$RANDOM"

if [[ $pausing ]]; then
    printf '%s' "$dim"
    say "Enter goes on, Ctrl-C ends. Beside a command stands how long the code lives."
    printf 'To type along, in this folder: . %s/env%s\n' "$folder" "$plain"
fi

act "Ada registers"
run <<END
ADA=ada.$new@example.com PASSWORD=correct-horse-battery
END
run <<'END'
JSON='Content-Type: application/json'
END
run <<'END'
curl -si $API_URL/v1/users -H "$JSON" \
    -d '{"email":"'$ADA'","password":"'$PASSWORD'"}'
END
say "The answer did not wait for her mail: a worker sends it, a moment later."
await_mail "$ADA"
run <<'END'
curl -s $MAIL_URL/view/latest.txt
END
run <<'END'
CODE=$(curl -s $MAIL_URL/view/latest.txt | sed -n 's/.*code is //p')
END
run <<'END'
echo $CODE
END

act "What Redis knows"
run <<'END'
redis-cli -u $REDIS_URL --scan --pattern 'sixty:code:*'
END
run <<'END'
ID=$(curl -s -u $ADA:$PASSWORD $API_URL/v1/users/me |
    grep -o '[0-9a-f-]\{36\}'); KEY="sixty:code:{$ID}"
END
run <<'END'
redis-cli -u $REDIS_URL HGETALL $KEY
END
run <<'END'
redis-cli -u $REDIS_URL -r 3 -i 1 TTL $KEY
END

act "A wrong code, the right one, and the right one again"
if (($(seconds_left) < 0)); then
    say "Her minute has passed while we looked at it. She asks for another code:"
    run <<'END'
curl -s -u $ADA:$PASSWORD -X POST $API_URL/v1/users/me/verification-code
END
    await_mail "$ADA"
    run <<'END'
CODE=$(curl -s $MAIL_URL/view/latest.txt | sed -n 's/.*code is //p')
END
    run <<'END'
echo $CODE
END
fi
run <<'END'
WRONG=$(tr 0-9 1-90 <<<$CODE); echo $WRONG
END
run <<'END'
curl -s -u $ADA:$PASSWORD $API_URL/v1/users/me/activation \
    -H "$JSON" -d '{"code":"'$WRONG'"}'
END
run <<'END'
curl -s -u $ADA:$PASSWORD $API_URL/v1/users/me/activation \
    -H "$JSON" -d '{"code":"'$CODE'"}'
END
run <<'END'
curl -s -u $ADA:$PASSWORD $API_URL/v1/users/me/activation \
    -H "$JSON" -d '{"code":"'$CODE'"}'
END
key=
run <<'END'
redis-cli -u $REDIS_URL EXISTS $KEY
END

act "Bob is too slow"
run <<END
BOB=bob.$new@example.com
END
run <<'END'
curl -s $API_URL/v1/users -H "$JSON" \
    -d '{"email":"'$BOB'","password":"'$PASSWORD'"}'
END
await_mail "$BOB"
run <<'END'
CODE=$(curl -s $MAIL_URL/view/latest.txt | sed -n 's/.*code is //p')
END
run <<'END'
echo $CODE
END
say "While this one lives he cannot have another:"
run <<'END'
curl -s -u $BOB:$PASSWORD -X POST $API_URL/v1/users/me/verification-code
END
run <<'END'
ID=$(curl -s -u $BOB:$PASSWORD $API_URL/v1/users/me |
    grep -o '[0-9a-f-]\{36\}'); KEY="sixty:code:{$ID}"
END
count_down <<'END'
redis-cli -u $REDIS_URL TTL $KEY
END
say "Nobody has deleted it: Redis let it die. The right code, too late:"
run <<'END'
curl -s -u $BOB:$PASSWORD $API_URL/v1/users/me/activation \
    -H "$JSON" -d '{"code":"'$CODE'"}'
END
say "And another one:"
run <<'END'
curl -s -u $BOB:$PASSWORD -X POST $API_URL/v1/users/me/verification-code
END
run <<END
psql \$DATABASE_URL \\
    -c "SELECT email, status FROM users WHERE email LIKE '%.$new@%'"
END
say "The inbox: $MAIL_URL   the API's documentation: $API_URL/docs"
