#!/usr/bin/env bash
# Takes two screenshots for the documentation:
#
# - docs/demo.png: the terminal in the last part of docs/demo.sh, beside the inbox page with the mail of that part.
# - docs/inbox.png: the same inbox page in the size of a laptop's screen.
#
#   apt-get install aha chromium chromium-driver curl pngquant tmux && bash docs/screenshots.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "screenshots: $1" >&2
    exit 1
}

for needed in aha chromium chromedriver curl pngquant tmux; do
    command -v "$needed" >/dev/null || fail "$needed is missing: apt-get install ${needed/chromedriver/chromium-driver}"
done

folder=$(mktemp -d)
terminal="tmux -L sixty-screenshots-$$"
driver_pid=
clean_up() {
    # Ending tmux ends the demo; ending chromedriver ends Chromium.
    $terminal kill-server 2>/dev/null || true
    [[ -z $driver_pid ]] || kill -KILL "$driver_pid" 2>/dev/null || true
    rm -rf "$folder" 2>/dev/null || true
}
trap clean_up EXIT
trap 'exit 130' INT

# browser <command> [<JSON>]: sends a WebDriver command to the session.
browser() {
    curl -sf --noproxy '*' "$driver/$1" -H 'Content-Type: application/json' ${2:+-d "$2"} ||
        { cat "$folder/driver.log" >&2; fail "the browser failed: $1"; }
}
devtools() { browser goog/cdp/execute '{"cmd":"'"$1"'","params":'"$2"'}' >"$folder/devtools.json"; }

open_browser() {
    chromedriver --port=0 >"$folder/driver.log" 2>&1 &
    driver_pid=$!
    disown
    local port arguments
    until port=$(sed -n 's/.*successfully on port \([0-9]*\).*/\1/p' "$folder/driver.log") && [[ -n $port ]]; do
        kill -0 "$driver_pid" 2>/dev/null || { cat "$folder/driver.log" >&2; fail "chromedriver failed"; }
        sleep 0.1
    done
    driver=http://127.0.0.1:$port
    # Chromium blurs a frame that has its own process. As root, as in a container, Chromium runs only without a sandbox;
    # it opens only our own pages.
    arguments='"--headless","--no-sandbox","--disable-gpu","--disable-dev-shm-usage","--hide-scrollbars","--no-proxy-server"'
    arguments+=',"--remote-debugging-pipe","--disable-features=IsolateSandboxedIframes","--user-data-dir='$folder/profile'"'
    driver=$driver/session/$(browser session \
        '{"capabilities":{"alwaysMatch":{"goog:chromeOptions":{"args":['"$arguments"']}}}}' |
        sed 's/.*"sessionId":"\([^"]*\)".*/\1/')
}

# photograph <file> <width> <height> <URL> <CSS selector that must be visible>. The scale factor 2 keeps the picture sharp
# on high-resolution screens.
photograph() {
    devtools Emulation.setDeviceMetricsOverride \
        '{"width":'"$2"',"height":'"$3"',"deviceScaleFactor":2,"mobile":false}'
    devtools Emulation.setEmulatedMedia '{"features":[{"name":"prefers-color-scheme","value":"light"}]}'
    devtools Emulation.setDefaultBackgroundColorOverride '{"color":{"r":0,"g":0,"b":0,"a":0}}'
    # Leaves the page first: in an open page, a new URL would count as a mail that the user selected.
    browser url '{"url":"about:blank"}' >/dev/null
    browser url '{"url":"'"$4"'"}' >/dev/null
    local seen='{"script":"return document.querySelector(arguments[0])?.checkVisibility() ?? false","args":["'"$5"'"]}'
    until [[ $(browser execute/sync "$seen") == *true* ]]; do sleep 0.1; done
    # Frames are painted a little later than the page.
    sleep 1
    browser screenshot | sed 's/.*"value":"\([^"]*\)".*/\1/' | base64 -d >"$1"
}

screen() { $terminal capture-pane -e -p; }

open_browser
$terminal new-session -d -x 80 -y 27 "bash docs/demo.sh --no-pause 2>$folder/demo.log"
# Waits for the last part of the demo: only its countdown of a code's lifetime has a bar.
until [[ $(screen) == *"(integer) 4"[0-9]*█* ]]; do
    $terminal has-session 2>/dev/null || { cat "$folder/demo.log" >&2; fail "the demo ended too early"; }
    sleep 0.2
done
screen >"$folder/screen"
# shellcheck disable=SC1090,SC1091
. "${DEV_FOLDER:-target/dev}/env"
mail=$(curl -s "$MAIL_URL/api/v1/message/latest" | sed 's/^{"ID":"\([^"]*\)".*/\1/')
photograph "$folder/laptop.png" 1180 740 "$MAIL_URL" '#digits'
photograph "$folder/inbox.png" 390 700 "$MAIL_URL/#$mail" '#digits'

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
photograph "$folder/demo.png" 1050 620 "file://$folder/page.html" img
pngquant --strip --force --output docs/demo.png "$folder/demo.png"
pngquant --strip --force --output docs/inbox.png "$folder/laptop.png"
