//! A service under load, with a mail provider that hands the codes of its mails to whoever waits for them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use poem::http::StatusCode;
use poem::{Request, Response, endpoint};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::cpu::CpuTime;
use crate::service::{Bench, PASSWORD, Service, fresh_address, read_body};
use crate::statistics::millis;

/// The load runs for so long before the first sample, so that its first requests are not measured.
pub const SETTLE_TIME: Duration = Duration::from_secs(1);
pub const LOAD_TIME: Duration = Duration::from_secs(3);
/// A pause after each load, in which its last mails are sent.
const PAUSE: Duration = Duration::from_millis(300);
const MAIL_TIMEOUT: Duration = Duration::from_secs(10);

/// A service with a database and a mail provider of its own.
pub struct Contender {
    pub name: &'static str,
    pub service: Service,
    pub provider: Arc<MailProvider>,
}

impl Contender {
    /// Starts Sixty on the service's core, with a database of this name.
    pub fn start_sixty(bench: &Bench, name: &str, flags: &[&str]) -> Self {
        let database = bench.runtime.block_on(bench.create_database(name));
        let (provider, mail_url) = MailProvider::start(bench);
        let service = bench.cores.on_service_core(|| bench.serve(name, &database, &mail_url, flags));
        bench.runtime.block_on(service.wait_until_ready());
        Self { name: "Sixty", service, provider }
    }

    /// Registers users. A client registers the next one when the mail of the last one has arrived: otherwise a service
    /// that puts its mails off would have the higher rate.
    pub async fn registrations(&self, clients: usize, time: Duration) -> Window {
        let done = AtomicUsize::new(0);
        let register = async |_| {
            self.register(&fresh_address()).await;
            done.fetch_add(1, Ordering::Relaxed);
        };
        self.load(clients, time, &done, register).await
    }

    pub async fn flows(&self, clients: usize) -> Window {
        let done = AtomicUsize::new(0);
        let flow = async |_| {
            self.flow().await;
            done.fetch_add(1, Ordering::Relaxed);
        };
        self.load(clients, LOAD_TIME, &done, flow).await
    }

    /// Registers and waits for the mail. Returns its code.
    async fn register(&self, address: &str) -> String {
        let code = self.provider.code_for(address);
        assert_eq!(self.service.register(address, PASSWORD).await.status(), 201);
        tokio::time::timeout(MAIL_TIMEOUT, code).await.unwrap().unwrap()
    }

    /// Registers, reads the code in the mail and activates. Returns the address of the account.
    pub async fn flow(&self) -> String {
        let address = fresh_address();
        let code = self.register(&address).await;
        let request = self.service.http.post(self.service.url_of("/v1/users/me/activation"));
        let request = request.basic_auth(&address, Some(PASSWORD)).json(&json!({ "code": code }));
        assert_eq!(read_body(request.send().await.unwrap()).await.status(), 200);
        address
    }

    pub async fn reads(&self, clients: usize, accounts: &[String]) -> Window {
        let done = AtomicUsize::new(0);
        let read = async |client: usize| {
            let request = self.service.http.get(self.service.url_of("/v1/users/me"));
            let request = request.basic_auth(&accounts[client % accounts.len()], Some(PASSWORD));
            assert_eq!(read_body(request.send().await.unwrap()).await.status(), 200);
            done.fetch_add(1, Ordering::Relaxed);
        };
        self.load(clients, LOAD_TIME, &done, read).await
    }

    /// Returns the latencies of `/livez` while users register, in milliseconds.
    pub async fn livez(&self, clients: usize) -> Vec<f64> {
        let livez = async {
            let mut times = Vec::new();
            tokio::time::sleep(SETTLE_TIME).await;
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            let end = Instant::now() + LOAD_TIME;
            while Instant::now() < end {
                ticks.tick().await;
                let started = Instant::now();
                let answer = self.service.http.get(self.service.url_of("/livez")).send().await.unwrap();
                assert_eq!(read_body(answer).await.status(), 200);
                times.push(millis(started.elapsed()));
            }
            times
        };
        tokio::join!(livez, self.registrations(clients, LOAD_TIME)).0
    }

    /// Runs clients that repeat a request without a pause. Returns by how much `done` rose, and the CPU time.
    async fn load(&self, clients: usize, time: Duration, done: &AtomicUsize, request: impl AsyncFn(usize)) -> Window {
        let settled = Instant::now() + SETTLE_TIME;
        let end = settled + time;
        let client = async |client| {
            while Instant::now() < end {
                request(client).await;
            }
        };
        let samples = async {
            tokio::time::sleep_until(settled).await;
            let first = self.sample(done);
            tokio::time::sleep_until(end).await;
            (first, self.sample(done))
        };
        let ((first, last), _) = tokio::join!(samples, join_all((0..clients).map(client)));
        tokio::time::sleep(PAUSE).await;
        Window { first, last }
    }

    fn sample(&self, done: &AtomicUsize) -> Sample {
        let service = CpuTime::of_process(self.service.pid());
        let load = CpuTime::of_process(std::process::id());
        Sample { time: Instant::now(), done: done.load(Ordering::Relaxed), service, load }
    }
}

/// What has been done and used up to a moment.
pub struct Sample {
    time: Instant,
    done: usize,
    pub service: Option<CpuTime>,
    pub load: Option<CpuTime>,
}

/// The time between two samples.
pub struct Window {
    first: Sample,
    last: Sample,
}

impl Window {
    pub fn rate(&self) -> f64 {
        self.done() / self.seconds()
    }

    pub fn seconds(&self) -> f64 {
        (self.last.time - self.first.time).as_secs_f64()
    }

    pub fn done(&self) -> f64 {
        (self.last.done - self.first.done) as f64
    }

    /// Returns the CPU time within the window, in milliseconds.
    pub fn cpu(&self, process: fn(&Sample) -> Option<CpuTime>, threads: fn(CpuTime) -> u64) -> Option<f64> {
        let (first, last) = process(&self.first).zip(process(&self.last))?;
        Some((threads(last) as f64 - threads(first) as f64) / 1e6)
    }
}

/// A mail provider that hands the codes of its mails to the flows that wait for them. It keeps no mails, so that it costs
/// little beside the load.
#[derive(Default)]
pub struct MailProvider {
    waiting: Mutex<HashMap<String, oneshot::Sender<String>>>,
}

/// The part of a mail that the provider reads.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mail {
    to: [Recipient; 1],
    text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Recipient {
    email: String,
}

impl MailProvider {
    /// Serves Mailpit's API. Returns the provider and its URL.
    pub fn start(bench: &Bench) -> (Arc<Self>, String) {
        let provider = Arc::new(Self::default());
        let shared = Arc::clone(&provider);
        let endpoint = endpoint::make(move |mut request: Request| {
            let provider = Arc::clone(&shared);
            async move {
                // Sixty also asks whether the provider accepts its account.
                if request.uri().path() == "/api/v1/send" {
                    provider.accept(&request.take_body().into_bytes().await?);
                }
                let answer = Response::builder().status(StatusCode::OK).content_type("application/json");
                Ok::<_, poem::Error>(answer.body(r#"{"ID":"1"}"#))
            }
        });
        let url = bench.serve_mail_api(endpoint);
        (provider, url)
    }

    fn accept(&self, body: &[u8]) {
        let Mail { to: [to], text } = serde_json::from_slice(body).unwrap();
        let is_code = |word: &&str| word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_digit());
        // Sixty also sends a mail without a code after an activation.
        if let Some(code) = text.split_whitespace().find(is_code)
            && let Some(flow) = self.waiting.lock().unwrap().remove(&to.email)
        {
            // The flow may have ended.
            let _ = flow.send(code.to_owned());
        }
    }

    /// Returns the code of the next mail to an address.
    fn code_for(&self, address: &str) -> oneshot::Receiver<String> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap().insert(address.to_owned(), sender);
        receiver
    }
}
