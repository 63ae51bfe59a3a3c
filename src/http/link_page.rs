//! The pages behind the links in mails: a question with a button, and what became of the press.
//!
//! `GET` changes nothing and reads no store, because mail scanners follow links. A press counts only from a few seconds after
//! the page was loaded, because mail scanners press buttons, too.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use minijinja::Value;
use poem::http::{StatusCode, header};
use poem::{IntoResponse, Request, Response};

use super::not_me_form::{self, NotMeForm, Press};
use super::pages::Pages;
use super::problem::Problem;
use crate::accounts::ports::StoreError;
use crate::domain::locale::Locale;
use crate::language::Catalogue;

/// A page; its texts are names of messages.
pub(super) struct LinkPage {
    pub title: &'static str,
    pub paragraphs: &'static [&'static str],
    pub button: Option<Button>,
    /// The letters of a registration ticket.
    pub ticket: Option<String>,
}

pub(super) struct Button {
    pub name: &'static str,
    /// The signed time of the form.
    pub field: String,
}

/// Returns the page of a link that is cut off.
pub(super) fn incomplete(request: &Request, pages: &Pages) -> Response {
    let page = LinkPage::new("not-me-incomplete", &["not-me-incomplete-what"]);
    page.response(pages, pages.locale(request.headers()), StatusCode::NOT_FOUND)
}

impl LinkPage {
    /// Returns a page without a button.
    pub const fn new(title: &'static str, paragraphs: &'static [&'static str]) -> Self {
        Self { title, paragraphs, button: None, ticket: None }
    }

    pub fn with_button(self, name: &'static str, field: String) -> Self {
        Self { button: Some(Button { name, field }), ..self }
    }

    pub fn response(&self, pages: &Pages, locale: Locale, status: StatusCode) -> Response {
        let title = Catalogue::of(locale).format(self.title, &Default::default());
        let variables = BTreeMap::from([
            ("title", Value::from(title.expect("a title has no variables; a test renders all pages"))),
            ("paragraphs", Value::from_iter(self.paragraphs.iter().copied())),
            ("field", Value::from(not_me_form::FIELD)),
            ("button", Value::from(self.button.as_ref().map(|button| button.name))),
            ("form", Value::from(self.button.as_ref().map(|button| &*button.field))),
            ("ticket", Value::from(self.ticket.clone())),
        ]);
        pages.response(locale, status, "not_me.html", &variables)
    }
}

/// A link in a request, and what its pages need.
pub(super) struct Link<'a> {
    /// The letters of the link.
    pub letters: String,
    pub form: &'a NotMeForm,
    pub pages: &'a Pages,
    pub locale: Locale,
    /// The page with the button. `bool`: after a press that was too early or too late.
    pub question: fn(String, bool) -> LinkPage,
    /// The page after a press that a store could not serve.
    pub try_again: fn(String) -> LinkPage,
}

/// Returns the last segment of the path.
pub(super) fn letters(request: &Request) -> Option<&str> {
    request.uri().path().rsplit('/').next()
}

impl Link<'_> {
    /// Returns the page with the button.
    pub fn ask(&self) -> Response {
        self.question_of(now(), false)
    }

    /// Checks that the button was pressed some seconds after the page was loaded.
    ///
    /// # Errors
    /// The page with the button again. Nothing may be changed then.
    pub async fn check_press(&self, request: &mut Request) -> Result<(), Response> {
        let body = request.take_body().into_bytes().await.unwrap_or_default();
        let now = now();
        match self.form.check(&self.letters, &body, now) {
            Press::Accepted => Ok(()),
            Press::TooEarly { shown } => Err(self.question_of(shown, true)),
            Press::WithoutPage => Err(self.question_of(now, true)),
        }
    }

    /// Returns the page after an accepted press that a store could not serve.
    pub fn failure(&self, error: StoreError) -> Response {
        let problem = Problem::from(error).into_response();
        // The page was shown long enough ago, so the next press may come at once.
        let field = self.form.field(&self.letters, now().saturating_sub(not_me_form::EARLIEST));
        let mut response = (self.try_again)(field).response(self.pages, self.locale, problem.status());
        if let Some(seconds) = problem.headers().get(header::RETRY_AFTER) {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.clone());
        }
        response
    }

    fn question_of(&self, shown: Duration, pressed: bool) -> Response {
        let field = self.form.field(&self.letters, shown);
        (self.question)(field, pressed).response(self.pages, self.locale, StatusCode::OK)
    }
}

/// The time after the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "the page must work without the stores; no rule of accounts depends on it"
)]
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
