//! `/not-me/{token}`: the page behind the link "this was not me" in a code mail.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use minijinja::Value;
use poem::http::{StatusCode, header};
use poem::{IntoResponse, Request, Response};

use super::not_me_form::{self, NotMeForm, Press};
use super::pages::Pages;
use super::problem::Problem;
use super::registration_ticket;
use crate::accounts::Accounts;
use crate::accounts::ports::{Codes, Users};
use crate::domain::locale::Locale;
use crate::domain::not_me::NotMeToken;
use crate::domain::ticket::RegistrationTicket;
use crate::language::Catalogue;

/// A page; its texts are names of messages.
struct NotMePage {
    title: &'static str,
    paragraphs: &'static [&'static str],
    /// The signed time of the form with the button; `None` if the page has no button.
    form: Option<String>,
    /// The letters of a registration ticket.
    ticket: Option<String>,
}

fn confirm_page(form: String, pressed: bool) -> NotMePage {
    let paragraphs = if pressed { &CONFIRM_AGAIN } else { &CONFIRM_AGAIN[1..] };
    NotMePage { title: "not-me-question", paragraphs, form: Some(form), ticket: None }
}

/// The text of the page. The first paragraph is for a press that was too early or too late.
const CONFIRM_AGAIN: [&str; 3] = ["not-me-again", "not-me-what", "not-me-button-does"];

fn deleted_page(ticket: &RegistrationTicket) -> NotMePage {
    NotMePage {
        title: "not-me-deleted",
        paragraphs: &["not-me-deleted-what"],
        form: None,
        ticket: Some(ticket.letters()),
    }
}

/// The same page for every reason: it must not reveal whether a registration exists.
const LINK_EXPIRED: NotMePage = NotMePage {
    title: "not-me-expired",
    paragraphs: &["not-me-expired-what", "not-me-expired-newer"],
    form: None,
    ticket: None,
};

const LINK_INCOMPLETE: NotMePage =
    NotMePage { title: "not-me-incomplete", paragraphs: &["not-me-incomplete-what"], form: None, ticket: None };

fn try_again_page(form: String) -> NotMePage {
    NotMePage { title: "not-me-failed", paragraphs: &["not-me-failed-what"], form: Some(form), ticket: None }
}

impl NotMePage {
    fn response(&self, pages: &Pages, locale: Locale, status: StatusCode) -> Response {
        let title = Catalogue::of(locale).format(self.title, &Default::default());
        let variables = BTreeMap::from([
            ("title", Value::from(title.expect("a title has no variables; a test renders all pages"))),
            ("paragraphs", Value::from_iter(self.paragraphs.iter().copied())),
            ("field", Value::from(not_me_form::FIELD)),
            ("form", Value::from(self.form.clone())),
            ("button", Value::from("not-me-button")),
            ("ticket", Value::from(self.ticket.clone())),
        ]);
        pages.response(locale, status, "not_me.html", &variables)
    }
}

fn token(request: &Request) -> Option<NotMeToken> {
    NotMeToken::parse(request.uri().path().rsplit('/').next()?)
}

/// The time after the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "the page must work without the stores; no rule of accounts depends on it"
)]
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// `GET /not-me/{token}`: shows the button and changes nothing, because mail scanners follow links. It does not read the
/// store either.
pub fn get(request: &Request, form: &NotMeForm, pages: &Pages) -> Response {
    let locale = pages.locale(request.headers());
    match token(request) {
        Some(token) => confirm_page(form.field(&token.letters(), now()), false).response(pages, locale, StatusCode::OK),
        None => LINK_INCOMPLETE.response(pages, locale, StatusCode::NOT_FOUND),
    }
}

/// `POST /not-me/{token}`: the button was pressed. If the page was loaded a few seconds before, this deletes the pending
/// registration, and responds with a ticket for the owner of the address: in the page for people, in a header for programs.
/// Otherwise it shows the page again and changes nothing, because mail scanners press buttons.
pub async fn post<U: Users, C: Codes>(
    request: &mut Request,
    form: &NotMeForm,
    accounts: &Accounts<U, C>,
    pages: &Pages,
) -> Response {
    let locale = pages.locale(request.headers());
    let Some(token) = token(request) else {
        return LINK_INCOMPLETE.response(pages, locale, StatusCode::NOT_FOUND);
    };
    let body = request.take_body().into_bytes().await.unwrap_or_default();
    let now = now();
    match form.check(&token.letters(), &body, now) {
        Press::Accepted => {}
        Press::TooEarly { shown } => {
            return confirm_page(form.field(&token.letters(), shown), true).response(pages, locale, StatusCode::OK);
        }
        Press::WithoutPage => {
            return confirm_page(form.field(&token.letters(), now), true).response(pages, locale, StatusCode::OK);
        }
    }
    match accounts.report_not_me(&token).await {
        Ok(Some(ticket)) => {
            let page = deleted_page(&ticket).response(pages, locale, StatusCode::OK);
            page.with_header(registration_ticket::NAME, ticket.letters()).into_response()
        }
        Ok(None) => LINK_EXPIRED.response(pages, locale, StatusCode::GONE),
        Err(error) => {
            let problem = Problem::from(error).into_response();
            // The page was shown long enough ago, so the next press may come at once.
            let field = form.field(&token.letters(), now.saturating_sub(not_me_form::EARLIEST));
            let mut response = try_again_page(field).response(pages, locale, problem.status());
            if let Some(seconds) = problem.headers().get(header::RETRY_AFTER) {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.clone());
            }
            response
        }
    }
}

/// The pages that `get` does not show.
#[cfg(test)]
pub(super) fn samples(pages: &Pages, locale: Locale) -> [Response; 4] {
    let field = || "1.00".to_owned();
    [
        confirm_page(field(), true),
        deleted_page(&RegistrationTicket::new([0x1f; 16])),
        LINK_EXPIRED,
        try_again_page(field()),
    ]
    .map(|page| page.response(pages, locale, StatusCode::OK))
}
