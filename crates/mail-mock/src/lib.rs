//! A mail provider that delivers nothing: it keeps what it takes, shows it, and fails on order.
//!
//! It speaks Mailpit's API and Mailjet's Send API v3.1, so it stands in for either; a real Mailpit can take its place.
//! It depends on no other crate of this workspace and is reached by HTTP alone.

pub mod cli;
mod code;
mod faults;
mod inbox;
mod live;
mod mailjet;
mod mailpit;
mod page;
mod query;
mod serve;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{EndpointExt, IntoEndpoint, Request, Response, Route, RouteMethod, get, handler, post};
use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng, TryRng as _};
use time::OffsetDateTime;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, Iso8601, TimePrecision};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use code::Code;
use faults::Hits;
pub use faults::{Faults, FaultsError};
use inbox::{Inbox, Key, Letter, Mail};
pub use mailjet::Credentials;
pub use serve::serve;

/// How a mock behaves from its start.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The faults in force until `PUT /api/faults` replaces them.
    pub faults: Faults,
    /// What `POST /v3.1/send` asks for; without it, any key and secret that are not empty will do.
    pub mailjet: Option<Credentials>,
    /// Where the API is that sends by this mock: an empty inbox says how to register there.
    pub api_url: Option<String>,
}

/// The mock provider; clones share one inbox.
#[derive(Clone)]
pub struct MailMock {
    shared: Arc<Shared>,
}

struct Shared {
    mailjet: Option<Credentials>,
    api_url: Option<String>,
    /// Tells this mock from one that was here before.
    run: Uuid,
    /// How often something changed that the page shows.
    changes: watch::Sender<u64>,
    state: Mutex<State>,
}

/// Everything that changes. Locked for moments only: never while waiting, nor while an answer is formatted.
struct State {
    inbox: Inbox,
    faults: Faults,
    hits: Hits,
    rng: StdRng,
}

impl MailMock {
    /// An empty inbox. The seed decides every ID and which requests are hit by a fault, so a test can repeat a run.
    ///
    /// Faults out of their limits do no harm here; [`Faults::check`] is for those who would rather tell a user.
    #[must_use]
    pub fn new(options: Options, seed: u64) -> MailMock {
        let Options { faults, mailjet, api_url } = options;
        let mut rng = StdRng::seed_from_u64(seed);
        let run = random_id(&mut rng);
        let state = Mutex::new(State { inbox: Inbox::default(), faults, hits: Hits::default(), rng });
        MailMock { shared: Arc::new(Shared { mailjet, api_url, run, changes: watch::Sender::new(0), state }) }
    }

    /// All routes. Every error, a wrong path or method too, is answered as JSON `{"Error"}`.
    ///
    /// A dropped answer surfaces as an error of its connection: whoever serves this must expect one, and go on.
    pub fn endpoint(&self) -> BoxEndpoint<'static, Response> {
        let route = Route::new()
            .at("/", methods("GET, HEAD", get(page::inbox)))
            .at("/inbox.css", methods("GET, HEAD", get(page::style)))
            .at("/inbox.js", methods("GET, HEAD", get(page::script)))
            .at("/faults.js", methods("GET, HEAD", get(page::faults_script)))
            .at("/api/inbox", methods("GET, HEAD", get(live::inbox)))
            .at("/view/:name", methods("GET, HEAD", get(page::part)))
            .at("/livez", methods("GET, HEAD", get(livez)))
            .at("/api/faults", methods("GET, HEAD, PUT", get(faults::show).put(faults::replace)))
            .at("/api/v1/send", methods("POST", post(mailpit::send)))
            .at("/api/v1/messages", methods("DELETE, GET, HEAD", get(mailpit::list).delete(mailpit::delete)))
            .at("/api/v1/search", methods("GET, HEAD", get(mailpit::search)))
            .at("/api/v1/message/:id", methods("GET, HEAD", get(mailpit::show)))
            .at("/v3.1/send", methods("POST", post(mailjet::send)));
        route.data(self.clone()).catch_all_error(as_json).boxed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves at worst a mail missing; the mock is more useful alive.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something that the page shows.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.shared.changes.send_modify(|count| *count += 1);
        changed
    }

    /// What the page shows after so many changes.
    fn version(&self, changes: u64) -> String {
        format!("{}-{changes}", self.shared.run.simple())
    }

    fn mailjet(&self) -> Option<&Credentials> {
        self.shared.mailjet.as_ref()
    }

    /// Stores a mail, unless it was already taken under its key: then that one, which is accepted anew. Its sender may
    /// know only now that it was, and lets its code live from now.
    fn take(&self, letter: Letter, key: Option<Key>, traceparent: Option<String>) -> Arc<Mail> {
        let (created, accepted) = (now(), Instant::now());
        self.change(|state| {
            if let Some(mail) = key.as_ref().and_then(|key| state.inbox.taken_under(key)) {
                *mail.accepted.lock().unwrap_or_else(PoisonError::into_inner) = accepted;
                return mail;
            }
            let (id, code) = (random_id(&mut state.rng), Code::of(&letter));
            state.inbox.add(Mail { id, created, accepted: Mutex::new(accepted), code, letter, key, traceparent })
        })
    }

    /// The mail with this ID; `latest` is the newest one.
    fn find(&self, id: &str) -> Option<Arc<Mail>> {
        match id {
            "latest" => self.state().inbox.newest(),
            id => self.state().inbox.find(Uuid::try_parse(id).ok()?),
        }
    }

    fn draw_id(&self) -> Uuid {
        random_id(&mut self.state().rng)
    }

    /// True in this share of the calls. Never for 0, always for 1, and no panic for what is neither.
    fn chance(&self, share: f64) -> bool {
        self.state().rng.random::<f64>() < share
    }
}

/// Returns a seed that no other run has.
///
/// # Panics
/// When the operating system has no randomness.
#[must_use]
pub fn random_seed() -> u64 {
    SysRng.try_next_u64().expect("the operating system gives randomness")
}

fn random_id(rng: &mut StdRng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}

/// The time of day, RFC 3339 in UTC, always to the millisecond so that clients with picky parsers read it.
#[expect(
    clippy::disallowed_methods,
    reason = "the mock is another party with a clock of its own; no rule depends on it"
)]
fn now() -> String {
    const FORMAT: EncodedConfig = Config::DEFAULT
        .set_time_precision(TimePrecision::Second { decimal_digits: std::num::NonZeroU8::new(3) })
        .encode();
    OffsetDateTime::now_utc().format(&Iso8601::<FORMAT>).expect("the present has a year of four digits")
}

fn idempotency_key(request: &Request) -> Option<String> {
    request.header("Idempotency-Key").filter(|key| !key.is_empty()).map(str::to_owned)
}

fn traceparent(request: &Request) -> Option<String> {
    request.header("traceparent").filter(|trace| trace.len() <= 128).map(str::to_owned)
}

#[handler]
fn livez() -> &'static str {
    "ok"
}

/// The methods of one path; any other is answered with 405 and the list of those allowed.
fn methods(allow: &'static str, methods: RouteMethod) -> impl IntoEndpoint<Endpoint: 'static> {
    methods.into_endpoint().after(move |result| async move {
        match result {
            Err(error) if error.status() == StatusCode::METHOD_NOT_ALLOWED => {
                let mut response = wire::error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
                Ok(response)
            }
            other => other,
        }
    })
}

async fn as_json(error: poem::Error) -> Response {
    let status = error.status();
    wire::error(status, status.canonical_reason().unwrap_or("error"))
}
