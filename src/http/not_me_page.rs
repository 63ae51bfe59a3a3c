//! `/not-me/{token}`: the page behind the link "this was not me" in a code mail.

use askama::Template;
use poem::http::{StatusCode, header};
use poem::web::Html;
use poem::{IntoResponse, Request, Response};

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
    button: bool,
    /// The letters of a registration ticket.
    ticket: Option<String>,
}

const CONFIRM: NotMePage = NotMePage {
    title: "Was it not you?",
    text: &[
        "Somebody registered at Sixty with your address. If that was you, close this page: nothing has happened.",
        "If it was not you, the button deletes that registration. Its code is worthless then, and you get a ticket with \
         which you can register your address at once. An account that you have already stays as it is.",
    ],
    button: true,
    ticket: None,
};

fn deleted_page(ticket: &RegistrationTicket) -> NotMePage {
    NotMePage {
        title: "The registration is deleted",
        text: &["Its code is worthless. If you do not want an account, you need do nothing else."],
        button: false,
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
    button: false,
    ticket: None,
};

const LINK_INCOMPLETE: NotMePage = NotMePage {
    title: "This link is not complete",
    text: &["Open the link in the mail again, or copy the whole of it, up to the last letter."],
    button: false,
    ticket: None,
};

const TRY_AGAIN: NotMePage = NotMePage {
    title: "That could not be done just now",
    text: &["The registration may still be there. Wait for a moment, and press the button again."],
    button: true,
    ticket: None,
};

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

/// `GET /not-me/{token}`: shows the button and changes nothing, because mail scanners follow links. It does not read the
/// store either.
pub fn get(request: &Request) -> Response {
    match token(request) {
        Some(_) => CONFIRM.with_status(StatusCode::OK),
        None => LINK_INCOMPLETE.with_status(StatusCode::NOT_FOUND),
    }
}

/// `POST /not-me/{token}`: the user pressed the button. Deletes the pending registration, and responds with a ticket for the
/// owner of the address: in the page for people, in a header for programs.
pub async fn post<U: Users, C: Codes>(request: &Request, accounts: &Accounts<U, C>) -> Response {
    let Some(token) = token(request) else {
        return LINK_INCOMPLETE.with_status(StatusCode::NOT_FOUND);
    };
    match accounts.report_not_me(&token).await {
        Ok(Some(ticket)) => {
            let page = deleted_page(&ticket).with_status(StatusCode::OK);
            page.with_header(registration_ticket::NAME, ticket.letters()).into_response()
        }
        Ok(None) => LINK_EXPIRED.with_status(StatusCode::GONE),
        Err(error) => {
            let problem = Problem::from(error).into_response();
            let mut response = TRY_AGAIN.with_status(problem.status());
            if let Some(seconds) = problem.headers().get(header::RETRY_AFTER) {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.clone());
            }
            response
        }
    }
}
