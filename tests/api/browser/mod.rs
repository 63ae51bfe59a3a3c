//! The pages, in a browser: headless Chromium, steered by its chromedriver. Both must be installed, so these tests are
//! ignored unless they are asked for: `cargo test -- --include-ignored`.

mod docs;
mod faults;
mod inbox;
mod looks;
mod pages;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use thirtyfour::prelude::*;
use thirtyfour::{ChromeCapabilities, LoggingPrefsLogLevel};
use tokio::process::{Child, Command};

use crate::support::{eventually, unique_name};

const MISSING: &str = "the tests of the pages need Chromium and its chromedriver: \
    apt-get install chromium chromium-driver (Debian), dnf install chromium chromedriver (Fedora), \
    brew install --cask chromium chromedriver (macOS)";

/// A laptop's and a phone's window, in CSS's pixels.
const LAPTOP: (u32, u32) = (1280, 800);
const PHONE: (u32, u32) = (390, 844);

/// A browser with one page, which knows nothing of other tests' browsers. It ends when it is dropped.
struct Browser {
    driver: WebDriver,
    /// Where the page comes from.
    origin: String,
    _chromedriver: Child,
}

impl Browser {
    /// Opens a page at a laptop's size.
    async fn open(url: &str) -> Self {
        let (chromedriver, folder, port) = listening_chromedriver().await;
        let session = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities(&folder)).await;
        let driver = session.unwrap_or_else(|error| panic!("{error}\n{MISSING}"));
        // It ends with its chromedriver, without being asked to.
        driver.clone().leak().unwrap();
        let browser = Self { driver, origin: origin(url).to_owned(), _chromedriver: chromedriver };
        browser.window(LAPTOP).await;
        browser.goto(url).await;
        browser
    }

    async fn goto(&self, url: &str) {
        self.driver.goto(url).await.unwrap();
    }

    async fn window(&self, (width, height): (u32, u32)) {
        let phone = width == PHONE.0;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// What people choose in their system: `light` or `dark`.
    async fn scheme(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    async fn devtools(&self, method: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(method, parameters).await.unwrap()
    }

    /// The element, as soon as it can be seen.
    async fn see(&self, css: &str) -> WebElement {
        eventually(&format!("{css} to be seen"), async || {
            let element = self.driver.find(By::Css(css)).await.ok()?;
            element.is_displayed().await.ok()?.then_some(element)
        })
        .await
    }

    async fn is_seen(&self, css: &str) -> bool {
        match self.driver.find(By::Css(css)).await {
            Ok(element) => element.is_displayed().await.unwrap_or(false),
            Err(_) => false,
        }
    }

    /// Waits until the text of the element is as wanted, and returns it.
    async fn text(&self, css: &str, wanted: impl Fn(&str) -> bool) -> String {
        eventually(&format!("the text of {css}"), async || {
            let text = self.driver.find(By::Css(css)).await.ok()?.text().await.ok()?;
            wanted(&text).then_some(text)
        })
        .await
    }

    /// Clicks it as soon as it can be clicked.
    async fn click(&self, css: &str) {
        eventually(&format!("{css} to be clicked"), async || self.see(css).await.click().await.ok()).await;
    }

    /// Writes in a field instead of what stands there.
    async fn write(&self, css: &str, text: &str) {
        let field = self.see(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Presses a key, wherever the focus is.
    async fn press(&self, key: Key) {
        self.driver.action_chain().send_keys(char::from(key)).perform().await.unwrap();
    }

    /// What a script returns.
    async fn js(&self, script: &str) -> Value {
        self.driver.execute(script, vec![]).await.unwrap_or_else(|error| panic!("{script}: {error}")).json().clone()
    }

    /// What the page has asked for since it was opened, or since the last call.
    async fn requests(&self) -> Vec<String> {
        let events = self.driver.get_log("performance").await.unwrap();
        let event = |text: &str| serde_json::from_str::<Value>(text).unwrap()["message"].take();
        let events = events.iter().map(|entry| event(&entry.message));
        let requests = events.filter(|event| event["method"] == "Network.requestWillBeSent");
        requests.map(|event| event["params"]["request"]["url"].as_str().unwrap().to_owned()).collect()
    }

    /// It has asked nobody but its own server.
    async fn stayed_at_home(&self) {
        let requests = self.requests().await;
        assert!(!requests.is_empty(), "nothing was noted");
        // `chrome:` is what Chromium shows before any page.
        let here = |url: &str| url.starts_with("data:") || url.starts_with("chrome:") || origin(url) == self.origin;
        assert_eq!(requests.iter().filter(|url| !here(url)).collect::<Vec<_>>(), Vec::<&String>::new());
    }

    /// What the console has complained of since the last call.
    async fn complaints(&self) -> Vec<String> {
        let log = self.driver.browser_log().await.unwrap();
        log.into_iter()
            .filter(|entry| ["WARNING", "SEVERE"].contains(&&*entry.level))
            .map(|entry| entry.message)
            .collect()
    }

    /// How wide the page is, which on a phone must not be wider than its window.
    async fn width(&self) -> u64 {
        self.js("return document.documentElement.scrollWidth").await.as_u64().unwrap()
    }
}

/// Scheme, host and port.
fn origin(url: &str) -> &str {
    let path = url.match_indices('/').nth(2).map_or(url.len(), |(at, _)| at);
    &url[..path]
}

/// A chromedriver, its folder and its port.
async fn listening_chromedriver() -> (Child, PathBuf, u16) {
    for _ in 0..5 {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("browser-{}", unique_name()));
        // It chooses none itself where there is no IPv6, as in a container.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let chromedriver = chromedriver(&folder, port);
        let said = eventually("a word of chromedriver", async || {
            let log = std::fs::read_to_string(folder.join("log")).ok()?;
            ["successfully", "Exiting"].iter().any(|word| log.contains(word) && log.ends_with('\n')).then_some(log)
        })
        .await;
        if said.contains("successfully") {
            return (chromedriver, folder, port);
        }
        // Somebody else has taken the port meanwhile.
        eprintln!("{said}");
    }
    panic!("chromedriver does not start");
}

/// It ends when its input does, and so with this process, however that ends; then its folder goes, too. Chromium hangs on
/// a pipe of its, and ends with it.
fn chromedriver(folder: &Path, port: u16) -> Child {
    let script = r#"chromedriver --port="$2" >"$1/log" 2>&1 &
        while read -r _; do :; done
        kill -9 $! 2>/dev/null
        # Chromium takes a moment to notice, and writes until then.
        while sleep 1; do rm -rf "$1" && break; done"#;
    let there = std::process::Command::new("sh").args(["-c", "command -v chromedriver"]).output().unwrap();
    assert!(there.status.success(), "{MISSING}");
    std::fs::create_dir_all(folder).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(folder).arg(port.to_string()).stdin(Stdio::piped());
    // Ctrl-C ends this process, which is enough.
    command.process_group(0).spawn().unwrap()
}

fn capabilities(folder: &Path) -> ChromeCapabilities {
    let mut chrome = DesiredCapabilities::chrome();
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    for argument in [
        "--headless",
        // As root, as in a container, Chromium has no sandbox; it sees nothing but our own pages.
        "--no-sandbox",
        // A container has little of it.
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-proxy-server",
        "--remote-debugging-pipe",
        &profile,
    ] {
        chrome.add_arg(argument).unwrap();
    }
    chrome.set_logging_prefs("browser", LoggingPrefsLogLevel::All).unwrap();
    chrome.set_logging_prefs("performance", LoggingPrefsLogLevel::All).unwrap();
    chrome
}

/// Whether a color, as CSS computes it, is a dark one.
fn is_dark(color: &str) -> bool {
    let numbers: Vec<f64> =
        color.split(|c: char| !c.is_ascii_digit() && c != '.').filter_map(|number| number.parse().ok()).collect();
    assert!(numbers.len() >= 3 && numbers.get(3) != Some(&0.0), "{color} is no color to be seen");
    numbers[..3].iter().sum::<f64>() < 3.0 * 64.0
}

/// Longer than anything in a page takes by itself.
const MOMENT: Duration = Duration::from_secs(1);
