//! Pages for people: the interactive documentation, what a problem means, and where the link in a mail leads.

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use poem::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use poem::web::Html;
use poem::{IntoResponse, Request, Response};
use poem_openapi::{OpenApi, OpenApiService};
use sha2::{Digest as _, Sha256};

use super::openapi::Document;
use super::problem::Problem;
use super::problem_type::ProblemType;
use crate::accounts::Accounts;
use crate::accounts::ports::{Codes, Users};
use crate::domain::not_me::NotMeToken;

/// What a page may do unless it says otherwise: show itself with its own style, and send its forms here. No script, no
/// request to anywhere, no frame around it.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Tells browsers what pages may do. The address of a page is nobody else's business, it may hold a token.
pub fn guard(headers: &mut HeaderMap) {
    let is_page = |kind: &HeaderValue| kind.as_bytes().starts_with(b"text/html");
    if !headers.get(header::CONTENT_TYPE).is_some_and(is_page) {
        return;
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(opener, HeaderValue::from_static("same-origin"));
}

/// Swagger UI, with everything that it needs in one page: it works without the internet.
pub fn docs<T: OpenApi>(service: &OpenApiService<T, ()>, document: &Document) -> impl Fn() -> Response + use<T> {
    // The page embeds the framework's own document; ours says more.
    let page = service.swagger_ui_html().replacen(&service.spec(), &document.json(), 1);
    // On a phone, what stands in narrow columns beside a name stands below it.
    let title = r#"<title>Sixty API</title><meta name="viewport" content="width=device-width">
        <style>@media (max-width: 40rem) {
            .swagger-ui h3.opblock-tag { flex-wrap: wrap; }
            .swagger-ui h3.opblock-tag small { order: 1; flex: 1 0 100%; padding: 0; }
            .swagger-ui h3.opblock-tag a { flex: 1; }
            .swagger-ui .opblock-summary-path-description-wrapper { flex-direction: column; align-items: start; gap: 0; }
            .swagger-ui .responses-inner { overflow-x: auto; }
            .swagger-ui table.responses-table .response-col_links { display: none; }
        }</style>"#;
    let page = page.replacen(r#"<html charset="UTF-8">"#, r#"<html lang="en">"#, 1);
    let page = format!("<!doctype html>{}", page.replacen("<title>Swagger UI</title>", title, 1));
    // Its scripts stand in it. Only they run, and they speak to this service alone.
    let policy = format!("{POLICY}; script-src{}; connect-src 'self'; img-src data:", hashes(&page));
    let page = Bytes::from(page);
    move || {
        Response::builder()
            .content_type("text/html; charset=utf-8")
            .header(header::CONTENT_SECURITY_POLICY, &policy)
            .body(page.clone())
    }
}

/// Of every script in a page, as a policy's sources.
fn hashes(mut page: &str) -> String {
    let mut sources = String::new();
    while let Some((_, rest)) = page.split_once("<script") {
        let Some((script, rest)) = rest.split_once('>').and_then(|(_, rest)| rest.split_once("</script")) else {
            break;
        };
        sources += &format!(" 'sha256-{}'", STANDARD.encode(Sha256::digest(script)));
        page = rest;
    }
    sources
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    name: &'a str,
    status: u16,
    title: &'a str,
    advice: &'a str,
}

/// Whether a field `Accept` (RFC 9110, section 12.5.1) asks for HTML by name, as browsers do and programs do not.
fn names_html(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        is_html && weight.and_then(|weight| weight.parse().ok()) != Some(0.0)
    })
}

/// `/problems/{name}`: what a problem's `type` points at, for a browser as HTML, otherwise as JSON.
pub fn problem(request: &Request) -> Response {
    let name = request.uri().path().rsplit('/').next().unwrap_or_default();
    let Some(kind) = ProblemType::from_name(name) else {
        return Problem::new(ProblemType::NotFound, "There is no problem of this name.").into_response();
    };
    let (status, title, advice) = (kind.status().as_u16(), kind.title(), kind.advice());
    if request.header("accept").is_some_and(names_html) {
        let page = ProblemPage { name: kind.name(), status, title, advice };
        return match page.render() {
            Ok(page) => Html(page).with_header(header::VARY, "Accept").into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into(),
        };
    }
    let about = format!("{}\n", Problem::description(kind));
    Response::builder().header(header::VARY, "Accept").content_type("application/json").body(about)
}

/// What the link "this was not me" leads to.
#[derive(Template)]
#[template(path = "not_me.html")]
struct NotMePage {
    title: &'static str,
    text: &'static [&'static str],
    button: bool,
}

const NOT_ME: NotMePage = NotMePage {
    title: "Was it not you?",
    text: &[
        "Somebody registered at Sixty with your address. If that was you, close this page: nothing has happened.",
        "If it was not you, the button deletes that registration. Its code is worthless then, and you can register with \
         your address at once. An account that you have already stays as it is.",
    ],
    button: true,
};

const DISOWNED: NotMePage = NotMePage {
    title: "The registration is deleted",
    text: &["Its code is worthless. If you want an account, you can register with your address now."],
    button: false,
};

/// The same whatever the reason is: a stranger who tries links learns nothing of registrations.
const LINK_IS_OVER: NotMePage = NotMePage {
    title: "This link works no more",
    text: &[
        "It works once, for a day, and only as long as the registration waits for its code. Nothing has changed.",
        "If you got another mail after the one with this link, use the link in that one.",
    ],
    button: false,
};

const NO_LINK: NotMePage = NotMePage {
    title: "This link is not complete",
    text: &["Open the link in the mail again, or copy the whole of it, up to the last letter."],
    button: false,
};

const NOT_NOW: NotMePage = NotMePage {
    title: "That could not be done just now",
    text: &["The registration may still be there. Wait for a moment, and press the button again."],
    button: true,
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

/// `GET /not-me/{token}`: says what the button does, and looks nothing up. Programs follow the links in mails before
/// people do.
pub fn not_me(request: &Request) -> Response {
    match token(request) {
        Some(_) => NOT_ME.with_status(StatusCode::OK),
        None => NO_LINK.with_status(StatusCode::NOT_FOUND),
    }
}

/// `POST /not-me/{token}`: the button was pressed.
pub async fn report_not_me<U: Users, C: Codes>(request: &Request, accounts: &Accounts<U, C>) -> Response {
    let Some(token) = token(request) else {
        return NO_LINK.with_status(StatusCode::NOT_FOUND);
    };
    match accounts.report_not_me(&token).await {
        Ok(true) => DISOWNED.with_status(StatusCode::OK),
        Ok(false) => LINK_IS_OVER.with_status(StatusCode::GONE),
        Err(error) => {
            let problem = Problem::from(error).into_response();
            let mut response = NOT_NOW.with_status(problem.status());
            if let Some(seconds) = problem.headers().get(header::RETRY_AFTER) {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.clone());
            }
            response
        }
    }
}
