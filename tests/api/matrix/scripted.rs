//! A provider that does as it is told: the mock, with somebody at its door.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mail_mock::{MailMock, MockOptions};
use poem::http::StatusCode;
use poem::{Body, Endpoint, EndpointExt, IntoResponse, Request, Response};
use serde_json::Value;
use sixty::http::server::{self, ServerLimits};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{code_in, eventually_within};

/// What becomes of a mail that is handed over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Does {
    /// Takes it and says so.
    Work,
    /// Takes it and says so, after a while.
    WorkSlowly(Duration),
    /// Answers this, perhaps with `Retry-After`, and takes nothing.
    Refuse(u16, Option<u64>),
    /// Answers 200, and something that is no acceptance.
    Babble,
    /// Takes it and closes the connection without a word.
    TakeAndCut,
    /// Takes nothing and says nothing, until it does something else; then it refuses what it held.
    Hang,
    /// Takes it, and says so once it does something else.
    TakeAndHold,
}

/// A mail that was taken, whatever its sender was told of it.
#[derive(Debug, Clone)]
pub struct Taken {
    pub at: Instant,
    pub to: String,
    pub code: String,
}

/// Its mails are read as the mock's are. It knows no idempotency keys, as many do not: a mail that it was handed twice is
/// there twice.
pub struct Provider {
    pub url: String,
    does: watch::Sender<Does>,
    attempts: Arc<Mutex<Vec<Instant>>>,
    taken: Arc<Mutex<Vec<Taken>>>,
    mock: MailMock,
    _stop: DropGuard,
    stop: CancellationToken,
}

impl Provider {
    pub async fn start() -> Provider {
        let (provider, port) = Provider::reserve();
        provider.listen(port);
        provider
    }

    /// One that refuses connections: its port is taken, and nobody listens.
    pub fn reserve() -> (Provider, TcpSocket) {
        let port = TcpSocket::new_v4().unwrap();
        port.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let stop = CancellationToken::new();
        let provider = Provider {
            url: format!("http://{}", port.local_addr().unwrap()),
            does: watch::Sender::new(Does::Work),
            attempts: Arc::default(),
            taken: Arc::default(),
            mock: MailMock::new(MockOptions::default(), 60),
            _stop: stop.clone().drop_guard(),
            stop,
        };
        (provider, port)
    }

    pub fn listen(&self, port: TcpSocket) {
        let listener: TcpListener = port.listen(1024).unwrap();
        let (does, attempts, taken) = (self.does.clone(), Arc::clone(&self.attempts), Arc::clone(&self.taken));
        let endpoint = self.mock.endpoint().around(move |mock, request| {
            let (does, attempts, taken) = (does.subscribe(), Arc::clone(&attempts), Arc::clone(&taken));
            async move {
                if request.uri().path() != "/api/v1/send" {
                    return mock.call(request).await;
                }
                attempts.lock().unwrap().push(Instant::now());
                let inbox = Inbox { mock: &*mock, taken: &taken };
                handed_over(&inbox, request, does).await
            }
        });
        let endpoint = endpoint.map_to_response();
        let limits = ServerLimits { max_connections: 256, stall_timeout: Duration::from_secs(10) };
        tokio::spawn(server::serve(listener, endpoint, limits, self.stop.clone()));
    }

    pub fn does(&self, what: Does) {
        self.does.send_replace(what);
    }

    /// When mails were handed over, the first first.
    pub fn attempts(&self) -> Vec<Instant> {
        self.attempts.lock().unwrap().clone()
    }

    /// The mails that it took, the first first.
    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    /// When the first mail to this address came, and its code.
    pub fn first_to(&self, email: &str) -> Option<(Instant, String)> {
        let taken = self.taken.lock().unwrap();
        taken.iter().find(|mail| mail.to == email).map(|mail| (mail.at, mail.code.clone()))
    }

    /// Waits until so many attempts were made.
    pub async fn attempted(&self, n: usize) {
        let enough = async || (self.attempts().len() >= n).then_some(());
        eventually_within(Duration::from_secs(60), "attempts to send a mail", enough).await;
    }
}

struct Inbox<'a, E> {
    mock: &'a E,
    taken: &'a Mutex<Vec<Taken>>,
}

impl<E: Endpoint<Output = Response>> Inbox<'_, E> {
    async fn take(&self, mut request: Request) -> poem::Result<Response> {
        request.headers_mut().remove("Idempotency-Key");
        let mail = request.take_body().into_bytes().await?;
        request.set_body(mail.clone());
        let answer = self.mock.call(request).await?;
        if answer.status().is_success() {
            let at = Instant::now();
            let mail: Value = serde_json::from_slice(&mail).unwrap();
            let to = mail["To"][0]["Email"].as_str().unwrap().to_owned();
            let code = code_in(mail["Text"].as_str().unwrap()).unwrap_or_default();
            self.taken.lock().unwrap().push(Taken { at, to, code });
        }
        Ok(answer)
    }
}

async fn handed_over(
    inbox: &Inbox<'_, impl Endpoint<Output = Response>>,
    request: Request,
    mut does: watch::Receiver<Does>,
) -> poem::Result<Response> {
    let now = *does.borrow_and_update();
    match now {
        Does::Work => inbox.take(request).await,
        Does::WorkSlowly(time) => {
            tokio::time::sleep(time).await;
            inbox.take(request).await
        }
        Does::Refuse(status, after) => {
            let refusal = StatusCode::from_u16(status).unwrap().into_response();
            Ok(match after {
                Some(after) => refusal.with_header("Retry-After", after).into_response(),
                None => refusal,
            })
        }
        Does::Babble => Ok("<html>Welcome to nginx!</html>".into_response()),
        Does::TakeAndCut => {
            inbox.take(request).await?;
            // hyper gives a connection up whose body fails before its head was flushed.
            let broken = async { Err::<Bytes, _>(std::io::Error::other("cut by the test")) };
            Ok(Response::builder().body(Body::from_bytes_stream(futures_util::stream::once(broken))))
        }
        Does::Hang => {
            let _ = does.changed().await;
            Ok(StatusCode::SERVICE_UNAVAILABLE.into_response())
        }
        Does::TakeAndHold => {
            let answer = inbox.take(request).await;
            let _ = does.changed().await;
            answer
        }
    }
}
