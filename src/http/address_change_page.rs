//! `/address-change/{token}`: the page behind the link in the notice to the old address of an account.

use poem::http::StatusCode;
use poem::{Request, Response};

use super::link_page::{Link, LinkPage, incomplete, letters};
use super::not_me_form::NotMeForm;
use super::pages::Pages;
use crate::accounts::Accounts;
use crate::accounts::ports::{Codes, RestoredAddress, Users};
use crate::domain::address_change::RestoreToken;
use crate::telemetry::trace::TraceContext;

/// The text of the page. The first paragraph is for a press that was too early or too late.
const QUESTION: [&str; 3] = ["not-me-again", "address-change-what-page", "address-change-button-does"];

const RESTORED: LinkPage = LinkPage::new("address-change-restored", &["address-change-restored-what"]);
/// The same page for every reason.
const EXPIRED: LinkPage = LinkPage::new("not-me-expired", &["address-change-expired-what"]);
const TAKEN: LinkPage = LinkPage::new("address-change-taken", &["address-change-taken-what"]);

fn question_page(field: String, pressed: bool) -> LinkPage {
    let paragraphs = if pressed { &QUESTION } else { &QUESTION[1..] };
    LinkPage::new("address-change-question", paragraphs).with_button("address-change-link", field)
}

fn try_again_page(field: String) -> LinkPage {
    LinkPage::new("not-me-failed", &["address-change-failed-what"]).with_button("address-change-link", field)
}

/// Returns the token of a request, and its link; `None` if the link is cut off.
fn link<'a>(request: &Request, form: &'a NotMeForm, pages: &'a Pages) -> Option<(RestoreToken, Link<'a>)> {
    let locale = pages.locale(request.headers());
    let token = letters(request).and_then(RestoreToken::parse)?;
    let (question, try_again) = (question_page, try_again_page);
    let link = Link { letters: token.letters(), form, pages, locale, question, try_again };
    Some((token, link))
}

/// `GET /address-change/{token}`: shows the button.
pub fn get(request: &Request, form: &NotMeForm, pages: &Pages) -> Response {
    link(request, form, pages).map_or_else(|| incomplete(request, pages), |(_, link)| link.ask())
}

/// `POST /address-change/{token}`: the button was pressed. The account gets its old address back.
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
    match accounts.restore_address(&token, request.data::<TraceContext>().copied()).await {
        Ok(RestoredAddress::Restored(_)) => RESTORED.response(pages, link.locale, StatusCode::OK),
        Ok(RestoredAddress::NoLink) => EXPIRED.response(pages, link.locale, StatusCode::GONE),
        Ok(RestoredAddress::Taken) => TAKEN.response(pages, link.locale, StatusCode::CONFLICT),
        Err(error) => link.failure(error),
    }
}

/// The pages that `get` does not show.
#[cfg(test)]
pub(super) fn samples(pages: &Pages, locale: crate::domain::locale::Locale) -> [Response; 5] {
    let field = || "1.00".to_owned();
    [question_page(field(), true), RESTORED, EXPIRED, TAKEN, try_again_page(field())]
        .map(|page| page.response(pages, locale, StatusCode::OK))
}
