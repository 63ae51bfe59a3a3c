#!/usr/bin/env bash
# Takes the README's picture, docs/demo.png: the demo in its last act, and Bob's mail in the inbox beside it.
#
#   apt-get install aha chromium curl pngquant tmux && bash docs/screenshots.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "screenshots: $1" >&2
    exit 1
}

for needed in aha chromium curl pngquant tmux; do
    command -v "$needed" >/dev/null || fail "$needed is missing: apt-get install $needed"
done

folder=$(mktemp -d)
terminal="tmux -L sixty-screenshots-$$"
clean_up() {
    # The demo ends with its terminal.
    $terminal kill-server 2>/dev/null || true
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT

# photograph <file> <width,height> <URL>, with two pixels for one, so that it is sharp on a good screen.
photograph() {
    # As root, as in a container, Chromium has no sandbox; it sees nothing but our own pages.
    chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --user-data-dir="$folder/profile" --hide-scrollbars \
        --force-device-scale-factor=2 --default-background-color=00000000 --blink-settings=preferredColorScheme=1 \
        --virtual-time-budget=3000 --window-size="$2" --screenshot="$1" "$3" >"$folder/chromium.log" 2>&1 ||
        { cat "$folder/chromium.log" >&2; fail "chromium failed"; }
}

screen() { $terminal capture-pane -e -p; }

$terminal new-session -d -x 80 -y 27 "bash docs/demo.sh --no-pause 2>$folder/demo.log"
# The second countdown is Bob's: the first one has no bar.
until [[ $(screen) == *"(integer) 4"[0-9]*█* ]]; do
    $terminal has-session 2>/dev/null || { cat "$folder/demo.log" >&2; fail "the demo ended too early"; }
    sleep 0.2
done
screen >"$folder/screen"
# shellcheck disable=SC1090,SC1091
. "${DEV_FOLDER:-target/dev}/env"
mail=$(curl -s "$MAIL_URL/api/v1/message/latest" | sed 's/^{"ID":"\([^"]*\)".*/\1/')
photograph "$folder/inbox.png" 390,660 "$MAIL_URL/#$mail"

cat >"$folder/page.html" <<END
<!doctype html>
<meta charset="utf-8">
<style>
body { margin: 0; padding: 6px; display: flex; gap: 16px; align-items: center; }
pre, img { border-radius: 10px; border: 1px solid #8886; }
pre { margin: 0; padding: 16px 18px; background: #17181c; color: #e8e8ec; font: 13px/1.45 "DejaVu Sans Mono", monospace; }
img { width: 340px; }
.bold { font-weight: bold; }
.red { color: #ff7b72; } .green { color: #6fd389; } .yellow { color: #f0c56b; } .cyan { color: #7cc7ff; }
</style>
<pre>$(sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' "$folder/screen" | aha --no-header --stylesheet)</pre>
<img src="inbox.png" alt="">
END
photograph "$folder/demo.png" 1050,590 "file://$folder/page.html"
pngquant --strip --force --output docs/demo.png "$folder/demo.png"
