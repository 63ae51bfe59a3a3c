//! A mail provider whose behavior a test sets: the mock provider behind a middleware.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mail_mock::{MailMock, MockOptions};
use poem::http::StatusCode;
use poem::{Body, Endpoint, EndpointExt, IntoResponse, Request, Response};
use serde_json::Value;
use sixty::http::server::{self, Port, ServerLimits};
use sixty::http::trusted_proxies::TrustedProxies;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{code_in, eventually_within};

/// What the provider does with a request to send a mail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Behavior {
    /// Accepts the mail and answers 200.
    Accept,
    /// Accepts the mail and answers 200 after this time.
    AcceptAfter(Duration),
    /// Answers with this status and perhaps `Retry-After` (seconds), and does not accept the mail.
    Refuse(u16, Option<u64>),
    /// Answers 422 to a mail to exactly this address, and accepts other mails.
    RefuseRecipient(&'static str),
    /// Answers 200 with a body that is not an acceptance.
    AnswerGarbage,
    /// Accepts the mail and closes the connection without a response.
    AcceptAndCut,
    /// Does not answer until the test sets another behavior, and then answers 503.
    Hang,
    /// Accepts the mail, and answers 200 when the test sets another behavior.
    AcceptAndHold,
}

/// A mail that the provider accepted, whatever it answered.
#[derive(Debug, Clone)]
pub struct AcceptedMail {
    pub at: Instant,
    pub to: String,
    pub code: String,
}

/// A mail provider without idempotency keys, like many real ones: it delivers a mail twice if it gets the mail twice.
/// Tests read its mails by the API of the mock provider.
pub struct Provider {
    pub url: String,
    behavior: watch::Sender<Behavior>,
    attempts: Arc<Mutex<Vec<Instant>>>,
    accepted: Arc<Mutex<Vec<AcceptedMail>>>,
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

    /// Reserves a port without listening on it, so that connections are refused until [`Provider::listen`].
    pub fn reserve() -> (Provider, TcpSocket) {
        let port = TcpSocket::new_v4().unwrap();
        port.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let stop = CancellationToken::new();
        let provider = Provider {
            url: format!("http://{}", port.local_addr().unwrap()),
            behavior: watch::Sender::new(Behavior::Accept),
            attempts: Arc::default(),
            accepted: Arc::default(),
            mock: MailMock::new(MockOptions::default(), 60),
            _stop: stop.clone().drop_guard(),
            stop,
        };
        (provider, port)
    }

    pub fn listen(&self, port: TcpSocket) {
        let listener: TcpListener = port.listen(1024).unwrap();
        let behavior = self.behavior.clone();
        let (attempts, accepted) = (Arc::clone(&self.attempts), Arc::clone(&self.accepted));
        let endpoint = self.mock.endpoint().around(move |mock, request| {
            let behavior = behavior.subscribe();
            let (attempts, accepted) = (Arc::clone(&attempts), Arc::clone(&accepted));
            async move {
                if request.uri().path() != "/api/v1/send" {
                    return mock.call(request).await;
                }
                attempts.lock().unwrap().push(Instant::now());
                let inbox = Inbox { mock: &*mock, accepted: &accepted };
                handle_send(&inbox, request, behavior).await
            }
        });
        let endpoint = endpoint.map_to_response();
        let (stall_timeout, idle_timeout) = (Duration::from_secs(10), Duration::from_secs(10));
        let limits = ServerLimits { max_connections: 256, stall_timeout, idle_timeout };
        let port = Port { name: "provider", limits, proxies: TrustedProxies::default() };
        tokio::spawn(server::serve(listener, endpoint, port, self.stop.clone(), self.stop.clone()));
    }

    pub fn set_behavior(&self, behavior: Behavior) {
        self.behavior.send_replace(behavior);
    }

    /// Returns the times of all requests to send a mail, earliest first.
    pub fn attempts(&self) -> Vec<Instant> {
        self.attempts.lock().unwrap().clone()
    }

    /// Returns the accepted mails, earliest first.
    pub fn accepted_mails(&self) -> Vec<AcceptedMail> {
        self.accepted.lock().unwrap().clone()
    }

    /// Returns the arrival time and the code of the first mail to an address.
    pub fn first_to(&self, email: &str) -> Option<(Instant, String)> {
        let accepted = self.accepted.lock().unwrap();
        accepted.iter().find(|mail| mail.to == email).map(|mail| (mail.at, mail.code.clone()))
    }

    /// Waits until the provider has received `n` requests to send a mail.
    pub async fn wait_for_attempts(&self, n: usize) {
        let enough = async || (self.attempts().len() >= n).then_some(());
        eventually_within(Duration::from_secs(60), "attempt to send a mail", enough).await;
    }
}

struct Inbox<'a, E> {
    mock: &'a E,
    accepted: &'a Mutex<Vec<AcceptedMail>>,
}

impl<E: Endpoint<Output = Response>> Inbox<'_, E> {
    /// Delivers the mail to the mock provider and records it.
    async fn accept(&self, mut request: Request) -> poem::Result<Response> {
        request.headers_mut().remove("Idempotency-Key");
        let mail = request.take_body().into_bytes().await?;
        request.set_body(mail.clone());
        let answer = self.mock.call(request).await?;
        if answer.status().is_success() {
            let at = Instant::now();
            let mail: Value = serde_json::from_slice(&mail).unwrap();
            let to = mail["To"][0]["Email"].as_str().unwrap().to_owned();
            let code = code_in(mail["Text"].as_str().unwrap()).unwrap_or_default();
            self.accepted.lock().unwrap().push(AcceptedMail { at, to, code });
        }
        Ok(answer)
    }
}

async fn handle_send(
    inbox: &Inbox<'_, impl Endpoint<Output = Response>>,
    request: Request,
    mut behavior: watch::Receiver<Behavior>,
) -> poem::Result<Response> {
    let current = *behavior.borrow_and_update();
    match current {
        Behavior::Accept => inbox.accept(request).await,
        Behavior::AcceptAfter(time) => {
            tokio::time::sleep(time).await;
            inbox.accept(request).await
        }
        Behavior::Refuse(status, after) => {
            let refusal = StatusCode::from_u16(status).unwrap().into_response();
            Ok(match after {
                Some(after) => refusal.with_header("Retry-After", after).into_response(),
                None => refusal,
            })
        }
        Behavior::RefuseRecipient(refused) => {
            let mut request = request;
            let mail = request.take_body().into_bytes().await?;
            let is_refused = String::from_utf8_lossy(&mail).contains(&format!("\"{refused}\""));
            request.set_body(mail);
            if is_refused { Ok(StatusCode::UNPROCESSABLE_ENTITY.into_response()) } else { inbox.accept(request).await }
        }
        Behavior::AnswerGarbage => Ok("<html>Welcome to nginx!</html>".into_response()),
        Behavior::AcceptAndCut => {
            inbox.accept(request).await?;
            // hyper closes the connection if the body fails before the head is flushed.
            let broken = async { Err::<Bytes, _>(std::io::Error::other("cut by the test")) };
            Ok(Response::builder().body(Body::from_bytes_stream(futures_util::stream::once(broken))))
        }
        Behavior::Hang => {
            let _ = behavior.changed().await;
            Ok(StatusCode::SERVICE_UNAVAILABLE.into_response())
        }
        Behavior::AcceptAndHold => {
            let answer = inbox.accept(request).await;
            let _ = behavior.changed().await;
            answer
        }
    }
}
