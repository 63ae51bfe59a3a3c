//! `docs/demo.sh`, as `just demo` plays it, but where nobody watches: without pauses and colours.

use super::dev::{Dev, command};
use super::process::{Folder, output, shell};

/// On a stack whose codes live for some seconds only, since the last act waits for the end of one.
#[tokio::test]
async fn the_demo_tells_the_whole_story_on_the_stack_that_runs() {
    let folder = Folder::new("demo");
    let mut brief = command(&folder);
    brief.args(["--code-ttl=8s", "--code-wait=8s", "--mail-timeout=7s"]);
    let mut dev = Dev::run(&mut brief, folder.join("env")).await;

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/demo.sh");
    let played = output(shell(r#"exec bash "$1""#).arg(script).env("DEV_FOLDER", &folder.0)).await;
    let shown = String::from_utf8(played.stdout).unwrap();
    assert!(played.status.success() && played.stderr.is_empty(), "{shown}{}", String::from_utf8_lossy(&played.stderr));
    assert!(!shown.contains('\x1b'), "{shown}");

    let mut rest = shown.as_str();
    for event in [
        "HTTP/1.1 201 Created",
        "Your Sixty code is ",
        "$ redis-cli -u $REDIS_URL HGETALL $KEY\n",
        "/problems/incorrect-code",
        r#""status":"active""#,
        "/problems/already-active",
        r#""status":"pending""#,
        "/problems/too-many-codes",
        "\n-2\n",
        "/problems/code-expired",
        r#"{"retry_after":16}"#,
    ] {
        rest = rest.split_once(event).unwrap_or_else(|| panic!("{event} is missing in its place:\n{shown}")).1;
    }
    // What it did not start it does not stop.
    dev.stop().await;
}
