//! `docs/demo.sh`, the script of `just demo`, without a terminal: no pauses and no colours.

use super::dev::{Dev, command};
use super::process::{Folder, output, shell};

/// Codes live for eight seconds, because the last part of the demo waits until a code expires.
#[tokio::test]
async fn the_demo_shows_all_steps_on_a_running_dev() {
    let folder = Folder::new("demo");
    let mut short_lived_codes = command(&folder);
    short_lived_codes.args(["--code-ttl=8s", "--code-wait=8s", "--mail-timeout=7s"]);
    let mut dev = Dev::run(&mut short_lived_codes, folder.join("env")).await;

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/demo.sh");
    let played = output(shell(r#"exec bash "$1""#).arg(script).env("DEV_FOLDER", &folder.0)).await;
    let shown = String::from_utf8(played.stdout).unwrap();
    assert!(played.status.success() && played.stderr.is_empty(), "{shown}{}", String::from_utf8_lossy(&played.stderr));
    assert!(!shown.contains('\x1b'), "{shown}");

    let mut rest = shown.as_str();
    for event in [
        "HTTP/1.1 201 Created",
        "Your Sixty code is ",
        "$ redis-cli --no-auth-warning -u $REDIS_URL HGETALL $KEY\n",
        "/problems/incorrect-code",
        r#""status":"active""#,
        "/problems/already-active",
        r#""status":"pending""#,
        "/problems/too-many-codes",
        "\n-2\n",
        "/problems/code-expired",
        r#"{"retry_after":16}"#,
    ] {
        rest = rest
            .split_once(event)
            .unwrap_or_else(|| panic!("expected {event:?} after the events before it:\n{shown}"))
            .1;
    }
    // The demo did not start this stack, so it must not stop the stack.
    dev.stop().await;
}
