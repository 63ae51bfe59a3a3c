//! `/not-me/{token}`: the page behind the link "this was not me" in a code mail.

use poem::http::StatusCode;
use poem::{IntoResponse, Request, Response};

use super::link_page::{Link, LinkPage, incomplete, letters};
use super::not_me_form::NotMeForm;
use super::pages::Pages;
use super::registration_ticket;
use crate::accounts::Accounts;
use crate::accounts::ports::{Codes, Users};
use crate::domain::not_me::NotMeToken;
use crate::domain::ticket::RegistrationTicket;

/// The text of the page. The first paragraph is for a press that was too early or too late.
const CONFIRM_AGAIN: [&str; 3] = ["not-me-again", "not-me-what", "not-me-button-does"];

fn confirm_page(field: String, pressed: bool) -> LinkPage {
    let paragraphs = if pressed { &CONFIRM_AGAIN } else { &CONFIRM_AGAIN[1..] };
    LinkPage::new("not-me-question", paragraphs).with_button("not-me-button", field)
}

fn deleted_page(ticket: &RegistrationTicket) -> LinkPage {
    LinkPage { ticket: Some(ticket.letters()), ..LinkPage::new("not-me-deleted", &["not-me-deleted-what"]) }
}

/// The same page for every reason: it must not reveal whether a registration exists.
const LINK_EXPIRED: LinkPage = LinkPage::new("not-me-expired", &["not-me-expired-what", "not-me-expired-newer"]);

fn try_again_page(field: String) -> LinkPage {
    LinkPage::new("not-me-failed", &["not-me-failed-what"]).with_button("not-me-button", field)
}

/// Returns the token of a request, and its link; `None` if the link is cut off.
fn link<'a>(request: &Request, form: &'a NotMeForm, pages: &'a Pages) -> Option<(NotMeToken, Link<'a>)> {
    let locale = pages.locale(request.headers());
    let token = letters(request).and_then(NotMeToken::parse)?;
    let (question, try_again) = (confirm_page, try_again_page);
    let link = Link { letters: token.letters(), form, pages, locale, question, try_again };
    Some((token, link))
}

/// `GET /not-me/{token}`: shows the button.
pub fn get(request: &Request, form: &NotMeForm, pages: &Pages) -> Response {
    link(request, form, pages).map_or_else(|| incomplete(request, pages), |(_, link)| link.ask())
}

/// `POST /not-me/{token}`: the button was pressed. Deletes the pending registration, and responds with a ticket for the owner
/// of the address: in the page for people, in a header for programs.
pub async fn post<U: Users, C: Codes>(
    request: &mut Request,
    form: &NotMeForm,
    accounts: &Accounts<U, C>,
    pages: &Pages,
) -> Response {
    let Some((token, link)) = link(request, form, pages) else {
        return incomplete(request, pages);
    };
    if let Err(question) = link.check_press(request).await {
        return question;
    }
    match accounts.report_not_me(&token).await {
        Ok(Some(ticket)) => {
            let page = deleted_page(&ticket).response(pages, link.locale, StatusCode::OK);
            page.with_header(registration_ticket::NAME, ticket.letters()).into_response()
        }
        Ok(None) => LINK_EXPIRED.response(pages, link.locale, StatusCode::GONE),
        Err(error) => link.failure(error),
    }
}

/// The pages that `get` does not show.
#[cfg(test)]
pub(super) fn samples(pages: &Pages, locale: crate::domain::locale::Locale) -> [Response; 4] {
    let field = || "1.00".to_owned();
    [
        confirm_page(field(), true),
        deleted_page(&RegistrationTicket::new([0x1f; 16])),
        LINK_EXPIRED,
        try_again_page(field()),
    ]
    .map(|page| page.response(pages, locale, StatusCode::OK))
}
