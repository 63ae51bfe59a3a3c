//! `/not-me/{token}`: the page behind the link "this was not me" in a code mail.

use std::time::{Duration, SystemTime};

use askama::Template;
use poem::http::{StatusCode, header};
use poem::web::Html;
use poem::{IntoResponse, Request, Response};

use super::not_me_form::{self, NotMeForm, Press};
use super::problem::Problem;
use super::registration_ticket;
use crate::accounts::Accounts;
use crate::accounts::ports::{Codes, Users};
use crate::domain::not_me::NotMeToken;
use crate::domain::ticket::RegistrationTicket;

#[derive(Template)]
#[template(path = "not_me.html")]
struct NotMePage {
    title: &'static str,
    text: &'static [&'static str],
    /// The signed time of the form with the button; `None` if the page has no button.
    form: Option<String>,
    /// The letters of a registration ticket.
    ticket: Option<String>,
}

fn confirm_page(form: String, pressed: bool) -> NotMePage {
    let text = if pressed { &CONFIRM_AGAIN } else { &CONFIRM_AGAIN[1..] };
    NotMePage { title: "Was it not you?", text, form: Some(form), ticket: None }
}

/// The text of the page. The first paragraph is for a press that was too early or too late.
const CONFIRM_AGAIN: [&str; 3] = [
    "Nothing has changed yet. Please press the button again: it works from two seconds to an hour after this page was \
     opened, because programs that check the links in mails press buttons, too.",
    "Somebody registered at Sixty with your address. If that was you, close this page: nothing has happened.",
    "If it was not you, the button deletes that registration. Its code is worthless then, and you get a ticket with \
         which you can register your address at once. An account that you have already stays as it is.",
];

fn deleted_page(ticket: &RegistrationTicket) -> NotMePage {
    NotMePage {
        title: "The registration is deleted",
        text: &["Its code is worthless. If you do not want an account, you need do nothing else."],
        form: None,
        ticket: Some(ticket.letters()),
    }
}

/// The same page for every reason: it must not reveal whether a registration exists.
const LINK_EXPIRED: NotMePage = NotMePage {
    title: "This link works no more",
    text: &[
        "It works once, for a day, and only as long as the registration waits for its code. Nothing has changed.",
        "If you got another mail after the one with this link, use the link in that one.",
    ],
    form: None,
    ticket: None,
};

const LINK_INCOMPLETE: NotMePage = NotMePage {
    title: "This link is not complete",
    text: &["Open the link in the mail again, or copy the whole of it, up to the last letter."],
    form: None,
    ticket: None,
};

fn try_again_page(form: String) -> NotMePage {
    NotMePage {
        title: "That could not be done just now",
        text: &["The registration may still be there. Wait for a moment, and press the button again."],
        form: Some(form),
        ticket: None,
    }
}

impl NotMePage {
    fn with_status(&self, status: StatusCode) -> Response {
        match self.render() {
            Ok(page) => Html(page).with_status(status).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into(),
        }
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
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// `GET /not-me/{token}`: shows the button and changes nothing, because mail scanners follow links. It does not read the
/// store either.
pub fn get(request: &Request, form: &NotMeForm) -> Response {
    match token(request) {
        Some(token) => confirm_page(form.field(&token, now()), false).with_status(StatusCode::OK),
        None => LINK_INCOMPLETE.with_status(StatusCode::NOT_FOUND),
    }
}

/// `POST /not-me/{token}`: the button was pressed. If the page was loaded a few seconds before, this deletes the pending
/// registration, and responds with a ticket for the owner of the address: in the page for people, in a header for programs.
/// Otherwise it shows the page again and changes nothing, because mail scanners press buttons.
pub async fn post<U: Users, C: Codes>(request: &mut Request, form: &NotMeForm, accounts: &Accounts<U, C>) -> Response {
    let Some(token) = token(request) else {
        return LINK_INCOMPLETE.with_status(StatusCode::NOT_FOUND);
    };
    let body = request.take_body().into_bytes().await.unwrap_or_default();
    let now = now();
    match form.check(&token, &body, now) {
        Press::Accepted => {}
        Press::TooEarly { shown } => return confirm_page(form.field(&token, shown), true).with_status(StatusCode::OK),
        Press::WithoutPage => return confirm_page(form.field(&token, now), true).with_status(StatusCode::OK),
    }
    match accounts.report_not_me(&token).await {
        Ok(Some(ticket)) => {
            let page = deleted_page(&ticket).with_status(StatusCode::OK);
            page.with_header(registration_ticket::NAME, ticket.letters()).into_response()
        }
        Ok(None) => LINK_EXPIRED.with_status(StatusCode::GONE),
        Err(error) => {
            let problem = Problem::from(error).into_response();
            // The page was shown long enough ago, so the next press may come at once.
            let field = form.field(&token, now.saturating_sub(not_me_form::EARLIEST));
            let mut response = try_again_page(field).with_status(problem.status());
            if let Some(seconds) = problem.headers().get(header::RETRY_AFTER) {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.clone());
            }
            response
        }
    }
}
