//! Mailpit's dialect: its send route, and the routes that show what was taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Body, Request, Response, handler};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::faults::Outcome;
use super::inbox::{Key, Letter, Mail, Mailbox};
use super::query::Query;
use super::wire::{self, Person, null_is_default};
use super::{MailMock, idempotency_key, traceparent};

/// Mailpit's page size.
pub(super) const DEFAULT_LIMIT: usize = 50;

/// Characters of a text that a list shows.
const SNIPPET: usize = 200;

/// Headers that a sender sets by their fields only.
const RESTRICTED_HEADERS: [&str; 9] =
    ["to", "from", "cc", "bcc", "reply-to", "date", "subject", "content-type", "mime-version"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendRequest {
    #[serde(default, deserialize_with = "null_is_default")]
    from: Person,
    #[serde(default, deserialize_with = "null_is_default")]
    to: Vec<Person>,
    #[serde(default, deserialize_with = "null_is_default")]
    subject: String,
    #[serde(default, deserialize_with = "null_is_default")]
    text: String,
    #[serde(default, rename = "HTML", deserialize_with = "null_is_default")]
    html: String,
    #[serde(default, deserialize_with = "null_is_default")]
    headers: BTreeMap<String, String>,
}

impl TryFrom<SendRequest> for Letter {
    type Error = String;

    fn try_from(request: SendRequest) -> Result<Letter, String> {
        if !request.from.has_valid_email() {
            return Err(format!("invalid From address: {}", request.from.email));
        }
        if request.to.is_empty() {
            return Err("no To address".into());
        }
        if let Some(person) = request.to.iter().find(|person| !person.has_valid_email()) {
            return Err(format!("invalid To address: {}", person.email));
        }
        let restricted = |name: &&String| RESTRICTED_HEADERS.contains(&name.to_lowercase().as_str());
        if let Some(name) = request.headers.keys().find(restricted) {
            return Err(format!("cannot overwrite header: \"{name}\""));
        }
        Ok(Letter {
            from: request.from.into(),
            to: request.to.into_iter().map(Mailbox::from).collect(),
            subject: request.subject,
            text: request.text,
            html: request.html,
            headers: request.headers,
        })
    }
}

/// `POST /api/v1/send`
#[handler]
pub(super) async fn send(request: &Request, body: Body, mock: Data<&MailMock>) -> Response {
    let body = match wire::read(body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let key = idempotency_key(request).map(|value| Key { dialect: "mailpit", value, position: 0 });
    let traceparent = traceparent(request);
    mock.under_faults(|| {
        let letter = serde_json::from_slice::<SendRequest>(&body).map_err(|error| error.to_string());
        match letter.and_then(Letter::try_from) {
            Ok(letter) => {
                let mail = mock.take(letter, key, traceparent);
                Outcome { response: wire::json(StatusCode::OK, &serde_json::json!({ "ID": mail.id })), taken: true }
            }
            Err(message) => Outcome { response: wire::bad_request(&message), taken: false },
        }
    })
    .await
}

#[derive(Serialize)]
struct List<'a> {
    /// How many mails there are, in the inbox or found, on whatever page.
    total: usize,
    /// Mailpit's name for the mails found; its `total` counts the inbox even in a search.
    messages_count: usize,
    start: usize,
    messages: Vec<Summary<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Summary<'a> {
    #[serde(rename = "ID")]
    id: Uuid,
    from: &'a Mailbox,
    to: &'a [Mailbox],
    subject: &'a str,
    created: &'a str,
    snippet: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Full<'a> {
    #[serde(rename = "ID")]
    id: Uuid,
    from: &'a Mailbox,
    to: &'a [Mailbox],
    subject: &'a str,
    date: &'a str,
    text: &'a str,
    #[serde(rename = "HTML")]
    html: &'a str,
    headers: &'a BTreeMap<String, String>,
    /// Ours, not Mailpit's.
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ListParams {
    start: String,
    limit: String,
    query: String,
}

impl ListParams {
    fn of(request: &Request) -> ListParams {
        request.params().unwrap_or_default()
    }

    /// The page asked for. Mailpit ignores what is not a number, or no positive limit.
    fn page(&self, mails: &[Arc<Mail>]) -> Response {
        let start = self.start.parse().unwrap_or(0);
        let limit = self.limit.parse().ok().filter(|limit| *limit > 0).unwrap_or(DEFAULT_LIMIT);
        let messages = mails.iter().skip(start).take(limit).map(|mail| summary(mail)).collect();
        wire::json(StatusCode::OK, &List { total: mails.len(), messages_count: mails.len(), start, messages })
    }
}

pub(super) fn summary(mail: &Mail) -> Summary<'_> {
    let Letter { from, to, subject, text, .. } = &mail.letter;
    Summary { id: mail.id, from, to, subject, created: &mail.created, snippet: snippet(text) }
}

/// The beginning of a text, white space folded.
fn snippet(text: &str) -> String {
    let mut snippet = String::new();
    let mut room = SNIPPET;
    for word in text.split_whitespace() {
        if !snippet.is_empty() && room > 0 {
            snippet.push(' ');
            room -= 1;
        }
        for character in word.chars().take(room) {
            snippet.push(character);
            room -= 1;
        }
        if room == 0 {
            break;
        }
    }
    snippet
}

/// `GET /api/v1/messages?start&limit`
#[handler]
pub(super) fn list(request: &Request, mock: Data<&MailMock>) -> Response {
    let mails = mock.state().inbox.mails();
    ListParams::of(request).page(&mails)
}

/// `GET /api/v1/search?query&start&limit`
#[handler]
pub(super) fn search(request: &Request, mock: Data<&MailMock>) -> Response {
    let params = ListParams::of(request);
    let Some(query) = Query::parse(&params.query) else {
        return wire::bad_request("no search query");
    };
    let mut mails = mock.state().inbox.mails();
    mails.retain(|mail| query.matches(mail));
    params.page(&mails)
}

/// `GET /api/v1/message/{ID}`; the ID `latest` is the newest mail's, as in Mailpit.
#[handler]
pub(super) fn show(Path(id): Path<String>, mock: Data<&MailMock>) -> Response {
    match mock.find(&id) {
        Some(mail) => {
            let Letter { from, to, subject, text, html, headers } = &mail.letter;
            let (date, traceparent) = (&mail.created, mail.traceparent.as_deref());
            let full = Full { id: mail.id, from, to, subject, date, text, html, headers, traceparent };
            wire::json(StatusCode::OK, &full)
        }
        None => wire::error(StatusCode::NOT_FOUND, "no such message"),
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteRequest {
    #[serde(default, rename = "IDs", deserialize_with = "null_is_default")]
    ids: Vec<String>,
}

/// `DELETE /api/v1/messages`: empties the inbox, or takes out the `IDs` that the body names.
#[handler]
pub(super) async fn delete(body: Body, mock: Data<&MailMock>) -> Response {
    let body = match wire::read(body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    // Mailpit takes every body that names no IDs, even one that is not JSON, as "all of them".
    let DeleteRequest { ids } = serde_json::from_slice(&body).unwrap_or_default();
    if ids.is_empty() {
        mock.change(|state| state.inbox.clear());
    } else {
        let ids: Vec<Uuid> = ids.iter().filter_map(|id| Uuid::try_parse(id).ok()).collect();
        mock.change(|state| state.inbox.remove(&ids));
    }
    Response::builder().content_type("text/plain").body("ok")
}
