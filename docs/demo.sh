#!/usr/bin/env bash
# Plays the README's tour in a terminal, in about two minutes: bash docs/demo.sh [--no-pause]
#
# The script shows each command and runs exactly that command. Viewers can type the commands too, in this folder, after
# `. target/dev/env`. The script uses a running `sixty dev`; if none runs, it starts one and stops it at the end. On a
# terminal the script waits for Enter before each command, unless --no-pause is given.
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

# --- helper functions --------------------------------------------------------------------------------------------------------

folder=${DEV_FOLDER:-target/dev}
dev=
clean_up() {
    # Shows the cursor again, which the countdown hides.
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
    command -v cargo >/dev/null || fail "no \`sixty dev\` runs in this folder, and cargo is not installed to start one"
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

# Prints the remaining seconds of the current code. Prints nothing if there is no current code.
key=
seconds_left() {
    [[ -z $key ]] || redis-cli --no-auth-warning -u "$REDIS_URL" TTL "$key"
}

# Sets `urgency` to the colour for the remaining seconds.
urgency() {
    if (($1 > 30)); then urgency=$green; elif (($1 > 10)); then urgency=$yellow; else urgency=$red; fi
}

# Waits for Enter. Meanwhile it shows the remaining seconds of the code beside the command, for the presenter.
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

# Reads a command, shows it, waits for Enter unless the command only sets a variable, and runs the command.
run() {
    local command
    command=$(</dev/stdin)
    printf '\n%s$ %s%s' "$bold" "$command" "$plain"
    [[ $command == [A-Z]*=* ]] || pause
    echo
    case $command in
        # Other commands run without a pipe, because they print less into a pipe than to a terminal.
        "curl "*) eval "$command" </dev/null | paint ;;
        *) eval "$command" </dev/null ;;
    esac
}

# Highlights the important parts of a response or a mail.
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

# A typing user never waits for a mail, but a script must.
mail=
await_mail() {
    local deadline=$((SECONDS + 20)) before=$mail id
    until mail=$(curl -s "$MAIL_URL/api/v1/message/latest") && [[ $mail != "$before" && $mail == *"\"$1\""* ]]; do
        ((SECONDS < deadline)) || fail "no mail arrived for $1"
        sleep 0.1
    done
    id=$(curl -s -u "$1:$PASSWORD" "$API_URL/v1/users/me" | grep -o '[0-9a-f-]\{36\}')
    key="$REDIS_PREFIX:code:{$id}"
}

# Reads a command that prints the remaining seconds, shows the command, and runs it until the time is over.
count_down() {
    local command left before= urgency bar
    command=$(</dev/stdin)
    printf '\n%s$ %s%s   # once a second%s' "$bold" "$command" "$plain$dim" "$plain"
    pause
    echo
    [[ ! $terminal ]] || printf '\e[?25l'
    # Polls more often than once a second, because the time of a poll would otherwise skip seconds.
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

# --- the tour --------------------------------------------------------------------------------------------------------

runs_here || start_dev
# New users for each run, because `dev` keeps the accounts of earlier runs.
printf -v new '%04x' "$RANDOM"

if [[ $pausing ]]; then
    printf '%s' "$dim"
    say "Enter continues, Ctrl-C ends the demo. The seconds beside a command are the remaining life of the code."
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
say "The response did not wait for the mail: a worker sends the mail a moment later."
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

act "What Redis stores"
run <<'END'
redis-cli --no-auth-warning -u $REDIS_URL --scan --pattern 'sixty:code:*'
END
run <<'END'
ID=$(curl -s -u $ADA:$PASSWORD $API_URL/v1/users/me |
    grep -o '[0-9a-f-]\{36\}'); KEY="sixty:code:{$ID}"
END
run <<'END'
redis-cli --no-auth-warning -u $REDIS_URL HGETALL $KEY
END
run <<'END'
redis-cli --no-auth-warning -u $REDIS_URL -r 3 -i 1 TTL $KEY
END

act "A wrong code, the right one, and the right one again"
if (($(seconds_left) < 0)); then
    say "The minute of her code is over. Ada asks for another code:"
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
redis-cli --no-auth-warning -u $REDIS_URL EXISTS $KEY
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
say "While this code lives, Bob cannot get another:"
run <<'END'
curl -s -u $BOB:$PASSWORD -X POST $API_URL/v1/users/me/verification-code
END
run <<'END'
ID=$(curl -s -u $BOB:$PASSWORD $API_URL/v1/users/me |
    grep -o '[0-9a-f-]\{36\}'); KEY="sixty:code:{$ID}"
END
count_down <<'END'
redis-cli --no-auth-warning -u $REDIS_URL TTL $KEY
END
say "Redis expired the code by itself. Bob sends the right code, too late:"
run <<'END'
curl -s -u $BOB:$PASSWORD $API_URL/v1/users/me/activation \
    -H "$JSON" -d '{"code":"'$CODE'"}'
END
say "Bob asks for another code:"
run <<'END'
curl -s -u $BOB:$PASSWORD -X POST $API_URL/v1/users/me/verification-code
END
run <<END
psql \$DATABASE_URL \\
    -c "SELECT email, status FROM users WHERE email LIKE '%.$new@%'"
END
say "The inbox: $MAIL_URL   the API's documentation: $API_URL/docs"
