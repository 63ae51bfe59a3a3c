//! `/address-change/{token}`: the page behind the link in the notice to the old address of an account.

use std::collections::BTreeMap;

use minijinja::Value;
use poem::http::{StatusCode, header};
use poem::{IntoResponse, Request, Response};

use super::not_me_form::{self, NotMeForm, Press};
use super::not_me_page::now;
use super::pages::Pages;
use super::problem::Problem;
use crate::accounts::Accounts;
use crate::accounts::ports::{Codes, RestoredAddress, Users};
use crate::domain::address_change::RestoreToken;
use crate::domain::locale::Locale;
use crate::language::Catalogue;
use crate::telemetry::trace::TraceContext;

/// A page; its texts are names of messages.
struct Page {
    title: &'static str,
    paragraphs: &'static [&'static str],
    /// The signed time of the form with the button; `None` if the page has no button.
    form: Option<String>,
}

/// The text of the page. The first paragraph is for a press that was too early or too late.
const QUESTION: [&str; 3] = ["not-me-again", "address-change-what-page", "address-change-button-does"];

const RESTORED: Page =
    Page { title: "address-change-restored", paragraphs: &["address-change-restored-what"], form: None };
/// The same page for every reason.
const EXPIRED: Page = Page { title: "not-me-expired", paragraphs: &["address-change-expired-what"], form: None };
const TAKEN: Page = Page { title: "address-change-taken", paragraphs: &["address-change-taken-what"], form: None };
const INCOMPLETE: Page = Page { title: "not-me-incomplete", paragraphs: &["not-me-incomplete-what"], form: None };

fn question(form: String, pressed: bool) -> Page {
    let paragraphs = if pressed { &QUESTION } else { &QUESTION[1..] };
    Page { title: "address-change-question", paragraphs, form: Some(form) }
}

fn try_again(form: String) -> Page {
    Page { title: "not-me-failed", paragraphs: &["address-change-failed-what"], form: Some(form) }
}

impl Page {
    fn response(&self, pages: &Pages, locale: Locale, status: StatusCode) -> Response {
        let title = Catalogue::of(locale).format(self.title, &Default::default());
        let variables = BTreeMap::from([
            ("title", Value::from(title.expect("a title has no variables; a test renders all pages"))),
            ("paragraphs", Value::from_iter(self.paragraphs.iter().copied())),
            ("button", Value::from("address-change-link")),
            ("field", Value::from(not_me_form::FIELD)),
            ("form", Value::from(self.form.clone())),
            ("ticket", Value::from(())),
        ]);
        pages.response(locale, status, "not_me.html", &variables)
    }
}

fn token(request: &Request) -> Option<RestoreToken> {
    RestoreToken::parse(request.uri().path().rsplit('/').next()?)
}

/// `GET /address-change/{token}`: shows the button and changes nothing, because mail scanners follow links.
pub fn get(request: &Request, form: &NotMeForm, pages: &Pages) -> Response {
    let locale = pages.locale(request.headers());
    match token(request) {
        Some(token) => question(form.field(&token.letters(), now()), false).response(pages, locale, StatusCode::OK),
        None => INCOMPLETE.response(pages, locale, StatusCode::NOT_FOUND),
    }
}

/// `POST /address-change/{token}`: the button was pressed. If the page was loaded a few seconds before, the account gets its
/// old address back. Otherwise this shows the page again, because mail scanners press buttons.
pub async fn post<U: Users, C: Codes>(
    request: &mut Request,
    form: &NotMeForm,
    accounts: &Accounts<U, C>,
    pages: &Pages,
) -> Response {
    let locale = pages.locale(request.headers());
    let Some(token) = token(request) else {
        return INCOMPLETE.response(pages, locale, StatusCode::NOT_FOUND);
    };
    let letters = token.letters();
    let body = request.take_body().into_bytes().await.unwrap_or_default();
    let now = now();
    match form.check(&letters, &body, now) {
        Press::Accepted => {}
        Press::TooEarly { shown } => {
            return question(form.field(&letters, shown), true).response(pages, locale, StatusCode::OK);
        }
        Press::WithoutPage => {
            return question(form.field(&letters, now), true).response(pages, locale, StatusCode::OK);
        }
    }
    match accounts.restore_address(&token, request.data::<TraceContext>().copied()).await {
        Ok(RestoredAddress::Restored(_)) => RESTORED.response(pages, locale, StatusCode::OK),
        Ok(RestoredAddress::NoLink) => EXPIRED.response(pages, locale, StatusCode::GONE),
        Ok(RestoredAddress::Taken) => TAKEN.response(pages, locale, StatusCode::CONFLICT),
        Err(error) => {
            let problem = Problem::from(error).into_response();
            // The page was shown long enough ago, so the next press may come at once.
            let field = form.field(&letters, now.saturating_sub(not_me_form::EARLIEST));
            let mut response = try_again(field).response(pages, locale, problem.status());
            if let Some(seconds) = problem.headers().get(header::RETRY_AFTER) {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.clone());
            }
            response
        }
    }
}

/// The pages that `get` does not show.
#[cfg(test)]
pub(super) fn samples(pages: &Pages, locale: Locale) -> [Response; 5] {
    let field = || "1.00".to_owned();
    [question(field(), true), RESTORED, EXPIRED, TAKEN, try_again(field())]
        .map(|page| page.response(pages, locale, StatusCode::OK))
}
