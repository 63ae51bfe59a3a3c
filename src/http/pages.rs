//! Pages for people, in the language of their browser.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use minijinja::Value;
use poem::http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::web::Html;
use poem::{IntoResponse, Response};
use tracing::error;
use url::Url;

use super::accept_language;
use super::response_headers::PAGE_POLICY;
use crate::domain::locale::Locale;
use crate::language::{Brand, Source, Templates};

/// The templates, with the files that they include.
const SOURCES: [(&str, &str); 4] = [
    ("page.html", include_str!("templates/page.html")),
    ("not_me.html", include_str!("templates/not_me.html")),
    ("problem.html", include_str!("templates/problem.html")),
    ("theme.css", include_str!("templates/theme.css")),
];

/// Renders pages. Cloning is cheap.
#[derive(Clone)]
pub struct Pages {
    default: Locale,
    brand: Brand,
    /// Parsed when the language is used first.
    languages: Arc<[(Locale, OnceLock<Templates>)]>,
    /// `None`: the policy of all pages.
    policy: Option<HeaderValue>,
}

impl Pages {
    pub fn new(brand: &Brand, default: Locale) -> Self {
        let languages = Locale::ALL.map(|locale| (locale, OnceLock::new()));
        // The only resource that a page loads.
        let policy = brand.logo.as_ref().map(Url::origin).map(|origin| {
            let policy = format!("{PAGE_POLICY}; img-src {}", origin.ascii_serialization());
            HeaderValue::try_from(policy).expect("an origin is visible ASCII")
        });
        Self { default, brand: brand.clone(), languages: languages.into(), policy }
    }

    /// Returns the language of the page for a request.
    pub fn locale(&self, request: &HeaderMap) -> Locale {
        accept_language::preferred(request).unwrap_or(self.default)
    }

    /// Renders a page.
    pub fn response(
        &self,
        locale: Locale,
        status: StatusCode,
        template: &str,
        variables: &BTreeMap<&'static str, Value>,
    ) -> Response {
        let page = match self.templates(locale).render(template, variables) {
            Ok(page) => page,
            Err(error) => {
                error!(%error, "a page cannot be rendered; the response is 500");
                return StatusCode::INTERNAL_SERVER_ERROR.into();
            }
        };
        let mut response = Html(page).with_status(status).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(locale.tag()));
        headers.insert(header::VARY, HeaderValue::from_static(accept_language::NAME));
        if let Some(policy) = &self.policy {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
        }
        response
    }

    fn templates(&self, locale: Locale) -> &Templates {
        let found = self.languages.iter().find(|(of, _)| *of == locale);
        found.expect("`new` makes all languages").1.get_or_init(|| {
            let sources = SOURCES.map(|(name, text)| Source::built_in(name, text));
            let templates = Templates::parse(locale, &self.brand, &sources);
            templates.unwrap_or_else(|error| panic!("a test parses the pages: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use poem::Request;

    use super::*;
    use crate::domain::code::CodeSecret;
    use crate::http::not_me_form::NotMeForm;
    use crate::http::problem_type::ProblemType;
    use crate::http::{address_change_page, not_me_page, problem_page};

    async fn every_page(pages: &Pages, locale: Locale) -> Vec<Response> {
        let request = |path: &str| {
            let request = Request::builder().uri(path.parse().unwrap()).header(header::ACCEPT, "text/html");
            request.header(header::ACCEPT_LANGUAGE, locale.tag()).finish()
        };
        let problems = ProblemType::ALL.map(|problem| request(&format!("/problems/{}", problem.name())));
        let mut responses: Vec<Response> = problems.iter().map(|request| problem_page::get(request, pages)).collect();
        let form = NotMeForm::new(CodeSecret::new(vec![60; 32]).unwrap());
        responses.push(not_me_page::get(&request(&format!("/not-me/{}", "a".repeat(32))), &form, pages));
        responses.push(not_me_page::get(&request("/not-me/a"), &form, pages));
        responses.extend(not_me_page::samples(pages, locale));
        let address_change = request(&format!("/address-change/{}", "a".repeat(32)));
        responses.push(address_change_page::get(&address_change, &form, pages));
        responses.extend(address_change_page::samples(pages, locale));
        responses
    }

    #[tokio::test]
    async fn every_page_has_the_name_of_the_service_in_every_language_and_no_other_name() {
        let brand = Brand {
            name: "Acme & Söhne".into(),
            url: Some("https://acme.example".parse().unwrap()),
            logo: Some("https://cdn.acme.example/logo.png".parse().unwrap()),
            contact: Some("help@acme.example".parse().unwrap()),
        };
        let pages = Pages::new(&brand, Locale::English);
        for locale in Locale::ALL {
            for response in every_page(&pages, locale).await {
                assert_eq!(response.headers()[header::CONTENT_LANGUAGE], locale.tag());
                assert!(response.headers()[header::VARY].to_str().unwrap().contains("Accept-Language"));
                let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
                assert!(policy.ends_with("; img-src https://cdn.acme.example"), "{policy}");
                let page = response.into_body().into_string().await.unwrap();
                let language = format!("<html lang=\"{locale}\" dir=\"{}\">", locale.direction());
                assert!(page.contains(&language) && page.contains("Acme &amp; Söhne"), "{page}");
                assert!(page.contains("mailto:help@acme.example"), "{page}");
                // The command keeps its name.
                assert!(!page.to_lowercase().replace("sixty users", "").contains("sixty"), "{page}");
            }
        }
    }

    #[tokio::test]
    async fn without_a_logo_a_page_loads_nothing() {
        let pages = Pages::new(&Brand::default(), Locale::French);
        for response in every_page(&pages, Locale::French).await {
            assert!(!response.headers().contains_key(header::CONTENT_SECURITY_POLICY), "the policy of all pages holds");
            assert!(!response.into_body().into_string().await.unwrap().contains("src="));
        }
    }

    #[test]
    fn the_default_language_is_for_browsers_that_want_another_one() {
        let pages = Pages::new(&Brand::default(), Locale::Spanish);
        let mut headers = HeaderMap::new();
        assert_eq!(pages.locale(&headers), Locale::Spanish);
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static("pt"));
        assert_eq!(pages.locale(&headers), Locale::Spanish);
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static("pt, ar;q=0.5"));
        assert_eq!(pages.locale(&headers), Locale::Arabic);
    }
}
