//! Mailpit's API: the send route, and the routes that list, show and delete mails.

use std::collections::BTreeMap;
use std::sync::Arc;

use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Body, Request, Response, handler};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::content::{MailContent, Mailbox};
use super::fault_injection::SendOutcome;
use super::inbox::{Mail, MailKey};
use super::mock::MailMock;
use super::query::Query;
use super::wire::{self, RequestMailbox, null_is_default};

/// Default page size, as in Mailpit.
pub(super) const DEFAULT_LIMIT: usize = 50;

/// Maximum characters of a snippet in a list.
const SNIPPET_LENGTH: usize = 200;

/// Headers that `Headers` must not contain, because the request has other fields for them.
const RESTRICTED_HEADERS: [&str; 9] =
    ["to", "from", "cc", "bcc", "reply-to", "date", "subject", "content-type", "mime-version"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendRequest {
    #[serde(default, deserialize_with = "null_is_default")]
    from: RequestMailbox,
    #[serde(default, deserialize_with = "null_is_default")]
    to: Vec<RequestMailbox>,
    #[serde(default, deserialize_with = "null_is_default")]
    subject: String,
    #[serde(default, deserialize_with = "null_is_default")]
    text: String,
    #[serde(default, rename = "HTML", deserialize_with = "null_is_default")]
    html: String,
    #[serde(default, deserialize_with = "null_is_default")]
    headers: BTreeMap<String, String>,
}

impl TryFrom<SendRequest> for MailContent {
    type Error = String;

    fn try_from(request: SendRequest) -> Result<MailContent, String> {
        if !request.from.has_valid_email() {
            return Err(format!("invalid From address: {}", request.from.email));
        }
        if request.to.is_empty() {
            return Err("no To address".into());
        }
        if let Some(mailbox) = request.to.iter().find(|mailbox| !mailbox.has_valid_email()) {
            return Err(format!("invalid To address: {}", mailbox.email));
        }
        let restricted = |name: &&String| RESTRICTED_HEADERS.contains(&name.to_lowercase().as_str());
        if let Some(name) = request.headers.keys().find(restricted) {
            return Err(format!("cannot overwrite header: \"{name}\""));
        }
        Ok(MailContent {
            from: request.from.into(),
            to: request.to.into_iter().map(Mailbox::from).collect(),
            subject: request.subject,
            text: request.text,
            html: request.html,
            headers: request.headers,
        })
    }
}

/// `GET /api/v1/info`
#[handler]
pub(super) fn info() -> Response {
    wire::json(StatusCode::OK, &serde_json::json!({ "Version": concat!("mock ", env!("CARGO_PKG_VERSION")) }))
}

/// `POST /api/v1/send`
#[handler]
pub(super) async fn send(request: &Request, body: Body, mock: Data<&MailMock>) -> Response {
    let body = match wire::read(body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let key = wire::idempotency_key(request).map(|value| MailKey { dialect: "mailpit", value, position: 0 });
    let traceparent = wire::traceparent(request);
    mock.with_faults(|| {
        let content = serde_json::from_slice::<SendRequest>(&body).map_err(|error| error.to_string());
        match content.and_then(MailContent::try_from) {
            Ok(content) => {
                let mail = mock.accept(content, key, traceparent);
                SendOutcome {
                    response: wire::json(StatusCode::OK, &serde_json::json!({ "ID": mail.id })),
                    accepted: true,
                }
            }
            Err(message) => SendOutcome { response: wire::bad_request(&message), accepted: false },
        }
    })
    .await
}

#[derive(Serialize)]
struct MailList<'a> {
    /// Number of all mails in the inbox, or of all search results, independent of the page.
    total: usize,
    /// Number of search results. In Mailpit, `total` counts the whole inbox even in a search.
    messages_count: usize,
    start: usize,
    messages: Vec<MailSummary<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MailSummary<'a> {
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
struct FullMail<'a> {
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
    /// An addition of the mock; Mailpit has no such field.
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
    fn parse(request: &Request) -> ListParams {
        request.params().unwrap_or_default()
    }

    /// Returns the requested page. Like Mailpit, ignores parameters that are not numbers, and a limit of zero.
    fn page(&self, mails: &[Arc<Mail>]) -> Response {
        let start = self.start.parse().unwrap_or(0);
        let limit = self.limit.parse().ok().filter(|limit| *limit > 0).unwrap_or(DEFAULT_LIMIT);
        let messages = mails.iter().skip(start).take(limit).map(|mail| summary(mail)).collect();
        wire::json(StatusCode::OK, &MailList { total: mails.len(), messages_count: mails.len(), start, messages })
    }
}

pub(super) fn summary(mail: &Mail) -> MailSummary<'_> {
    let MailContent { from, to, subject, text, .. } = &mail.content;
    MailSummary { id: mail.id, from, to, subject, created: &mail.created, snippet: snippet(text) }
}

/// Returns the beginning of a text with each run of white space replaced by one space.
fn snippet(text: &str) -> String {
    let mut snippet = String::new();
    let mut remaining = SNIPPET_LENGTH;
    for word in text.split_whitespace() {
        if !snippet.is_empty() && remaining > 0 {
            snippet.push(' ');
            remaining -= 1;
        }
        for character in word.chars().take(remaining) {
            snippet.push(character);
            remaining -= 1;
        }
        if remaining == 0 {
            break;
        }
    }
    snippet
}

/// `GET /api/v1/messages?start&limit`
#[handler]
pub(super) fn list(request: &Request, mock: Data<&MailMock>) -> Response {
    let mails = mock.state().inbox.mails();
    ListParams::parse(request).page(&mails)
}

/// `GET /api/v1/search?query&start&limit`
#[handler]
pub(super) fn search(request: &Request, mock: Data<&MailMock>) -> Response {
    let params = ListParams::parse(request);
    let Some(query) = Query::parse(&params.query) else {
        return wire::bad_request("no search query");
    };
    let mut mails = mock.state().inbox.mails();
    mails.retain(|mail| query.matches(mail));
    params.page(&mails)
}

/// `GET /api/v1/message/{ID}`. As in Mailpit, the ID `latest` means the newest mail.
#[handler]
pub(super) fn show(Path(id): Path<String>, mock: Data<&MailMock>) -> Response {
    match mock.find(&id) {
        Some(mail) => {
            let MailContent { from, to, subject, text, html, headers } = &mail.content;
            let (date, traceparent) = (&mail.created, mail.traceparent.as_deref());
            let full = FullMail { id: mail.id, from, to, subject, date, text, html, headers, traceparent };
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

/// `DELETE /api/v1/messages`: deletes the mails with the `IDs` in the body, or all mails if it contains none.
#[handler]
pub(super) async fn delete(body: Body, mock: Data<&MailMock>) -> Response {
    let body = match wire::read(body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    // Like Mailpit, treat every body without IDs as "all mails", even if it is not JSON.
    let DeleteRequest { ids } = serde_json::from_slice(&body).unwrap_or_default();
    if ids.is_empty() {
        mock.change(|state| state.inbox.clear());
    } else {
        let ids: Vec<Uuid> = ids.iter().filter_map(|id| Uuid::try_parse(id).ok()).collect();
        mock.change(|state| state.inbox.remove(&ids));
    }
    Response::builder().content_type("text/plain").body("ok")
}
