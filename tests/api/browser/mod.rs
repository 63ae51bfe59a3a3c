//! Tests of the web pages in headless Chromium, controlled by chromedriver. They are ignored by default, because both
//! programs must be installed: `cargo test -- --include-ignored`.

mod accessibility;
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

const MISSING: &str = "browser tests need Chromium and its chromedriver: \
    apt-get install chromium chromium-driver (Debian), dnf install chromium chromedriver (Fedora), \
    brew install --cask chromium chromedriver (macOS)";

/// Window sizes of a laptop and a phone, in CSS pixels.
const LAPTOP: (u32, u32) = (1280, 800);
const PHONE: (u32, u32) = (390, 844);

/// A Chromium with one page and a profile of its own. Dropping it ends the browser.
struct Browser {
    driver: WebDriver,
    /// Scheme, host and port of the first page.
    origin: String,
    _chromedriver: Child,
}

impl Browser {
    /// Starts a browser and opens a page in a laptop's window size.
    async fn open(url: &str) -> Self {
        let (chromedriver, folder, port) = listening_chromedriver().await;
        let session = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities(&folder)).await;
        let driver = session.unwrap_or_else(|error| panic!("{error}\n{MISSING}"));
        // The browser ends with its chromedriver, so the driver need not close the session.
        driver.clone().leak().unwrap();
        let browser = Self { driver, origin: origin(url).to_owned(), _chromedriver: chromedriver };
        browser.set_window_size(LAPTOP).await;
        browser.goto(url).await;
        browser
    }

    async fn goto(&self, url: &str) {
        self.driver.goto(url).await.unwrap();
    }

    async fn set_window_size(&self, (width, height): (u32, u32)) {
        let phone = width == PHONE.0;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Sets the user's preferred color scheme: `light` or `dark`.
    async fn set_color_scheme(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    async fn devtools(&self, method: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(method, parameters).await.unwrap()
    }

    /// Waits until the element is visible, and returns it.
    async fn wait_for_visible(&self, css: &str) -> WebElement {
        eventually(&format!("visible element {css}"), async || {
            let element = self.driver.find(By::Css(css)).await.ok()?;
            element.is_displayed().await.ok()?.then_some(element)
        })
        .await
    }

    async fn is_visible(&self, css: &str) -> bool {
        match self.driver.find(By::Css(css)).await {
            Ok(element) => element.is_displayed().await.unwrap_or(false),
            Err(_) => false,
        }
    }

    /// Waits until `wanted` accepts the element's text, and returns the text.
    async fn wait_for_text(&self, css: &str, wanted: impl Fn(&str) -> bool) -> String {
        eventually(&format!("wanted text of {css}"), async || {
            let text = self.driver.find(By::Css(css)).await.ok()?.text().await.ok()?;
            wanted(&text).then_some(text)
        })
        .await
    }

    /// Waits until the element can be clicked, and clicks it.
    async fn click(&self, css: &str) {
        eventually(&format!("click on {css}"), async || self.wait_for_visible(css).await.click().await.ok()).await;
    }

    /// Replaces the text of an input field.
    async fn type_into(&self, css: &str, text: &str) {
        let field = self.wait_for_visible(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Presses a key in the focused element.
    async fn press(&self, key: Key) {
        self.driver.action_chain().send_keys(char::from(key)).perform().await.unwrap();
    }

    /// Runs a script in the page and returns its result.
    async fn js(&self, script: &str) -> Value {
        self.driver.execute(script, vec![]).await.unwrap_or_else(|error| panic!("{script}: {error}")).json().clone()
    }

    /// Returns the URLs that the browser has requested since the last call.
    async fn requests(&self) -> Vec<String> {
        let events = self.driver.get_log("performance").await.unwrap();
        let event = |text: &str| serde_json::from_str::<Value>(text).unwrap()["message"].take();
        let events = events.iter().map(|entry| event(&entry.message));
        let requests = events.filter(|event| event["method"] == "Network.requestWillBeSent");
        requests.map(|event| event["params"]["request"]["url"].as_str().unwrap().to_owned()).collect()
    }

    /// Asserts that the browser has sent requests only to the first page's server.
    async fn assert_no_foreign_requests(&self) {
        let requests = self.requests().await;
        assert!(!requests.is_empty(), "the performance log contains no request");
        // Chromium shows a `chrome:` page before the first page.
        let is_local = |url: &str| url.starts_with("data:") || url.starts_with("chrome:") || origin(url) == self.origin;
        assert_eq!(requests.iter().filter(|url| !is_local(url)).collect::<Vec<_>>(), Vec::<&String>::new());
    }

    /// Returns the warnings and errors in the browser's console since the last call.
    async fn console_warnings(&self) -> Vec<String> {
        let log = self.driver.browser_log().await.unwrap();
        log.into_iter()
            .filter(|entry| ["WARNING", "SEVERE"].contains(&&*entry.level))
            .map(|entry| entry.message)
            .collect()
    }

    /// Returns the width of the page's content in CSS pixels. On a phone it must not exceed the window's width.
    async fn page_width(&self) -> u64 {
        self.js("return document.documentElement.scrollWidth").await.as_u64().unwrap()
    }
}

/// Returns scheme, host and port of a URL.
fn origin(url: &str) -> &str {
    let path = url.match_indices('/').nth(2).map_or(url.len(), |(at, _)| at);
    &url[..path]
}

/// Starts a chromedriver and waits until it listens. Returns the process, its folder and its port.
async fn listening_chromedriver() -> (Child, PathBuf, u16) {
    for _ in 0..5 {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("browser-{}", unique_name()));
        // The test chooses the port, because chromedriver cannot choose one without IPv6, as in a container.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let chromedriver = chromedriver(&folder, port);
        let log = eventually("log line of chromedriver", async || {
            let log = std::fs::read_to_string(folder.join("log")).ok()?;
            ["successfully", "Exiting"].iter().any(|word| log.contains(word) && log.ends_with('\n')).then_some(log)
        })
        .await;
        if log.contains("successfully") {
            return (chromedriver, folder, port);
        }
        // Another program has taken the port meanwhile.
        eprintln!("{log}");
    }
    panic!("chromedriver did not start in five attempts");
}

/// Starts a chromedriver that ends when this process ends, however this process ends: a shell script waits for the end
/// of its standard input, kills chromedriver and removes the folder. Chromium ends when its pipe to chromedriver
/// closes.
fn chromedriver(folder: &Path, port: u16) -> Child {
    let script = r#"chromedriver --port="$2" >"$1/log" 2>&1 &
        while read -r _; do :; done
        kill -9 $! 2>/dev/null
        # Chromium writes to the folder until it notices the end of chromedriver.
        while sleep 1; do rm -rf "$1" && break; done"#;
    let found = std::process::Command::new("sh").args(["-c", "command -v chromedriver"]).output().unwrap();
    assert!(found.status.success(), "{MISSING}");
    std::fs::create_dir_all(folder).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(folder).arg(port.to_string()).stdin(Stdio::piped());
    // A process group of its own: Ctrl-C must reach only this process, whose end then ends chromedriver.
    command.process_group(0).spawn().unwrap()
}

fn capabilities(folder: &Path) -> ChromeCapabilities {
    let mut chrome = DesiredCapabilities::chrome();
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    for argument in [
        "--headless",
        // The sandbox does not work for root, as in a container. The browser opens only pages of this project.
        "--no-sandbox",
        // A container has little shared memory.
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

/// Returns whether a computed CSS color is dark. Panics if the color is transparent.
fn is_dark(color: &str) -> bool {
    let numbers: Vec<f64> =
        color.split(|c: char| !c.is_ascii_digit() && c != '.').filter_map(|number| number.parse().ok()).collect();
    assert!(numbers.len() >= 3 && numbers.get(3) != Some(&0.0), "{color} is not a visible color");
    numbers[..3].iter().sum::<f64>() < 3.0 * 64.0
}

/// Longer than any script or timer in a page needs.
const MOMENT: Duration = Duration::from_secs(1);
