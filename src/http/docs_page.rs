//! `/docs`: Swagger UI with this service's OpenAPI document, in one HTML page that loads nothing from other hosts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use poem::http::header;
use poem::{Request, Response};
use poem_openapi::OpenApiService;
use sha2::{Digest as _, Sha256};

use super::response_headers::PAGE_POLICY;
use super::static_document::StaticDocument;
use crate::language::escape;

/// The rendered page and its content security policy.
pub struct DocsPage {
    html: StaticDocument,
    policy: String,
}

impl DocsPage {
    /// Renders the page for an OpenAPI document in JSON. An inline script of the page contains the document, so every `<`
    /// in the document is escaped: `</script` in the operator's contact would end the script.
    ///
    /// The framework renders Swagger UI only with its own document. So this renders the page of an API without
    /// operations, and replaces that API's document.
    ///
    /// # Panics
    /// If the framework's page does not contain each replaced text exactly once. The page is rendered at start, so a
    /// new version of the framework fails there instead of showing another document.
    pub fn new(document: &str, service: &str) -> Self {
        // In JSON, `<` is possible only inside strings.
        let document = document.replace('<', r"\u003c");
        let empty = OpenApiService::new((), "", "");
        let mut html = format!("<!doctype html>{}", empty.swagger_ui_html());
        let service = escape(service);
        let title = format!("<title>{service} API</title>{META}<script>{UTF_8_CREDENTIALS}</script>");
        // Swagger UI contains `</head>`, too, in a string.
        let last_style = format!("<style>{STYLES}</style>{END_OF_HEAD}");
        let body = BODY.replace(NAME, &service);
        let body = format!("{body}<script>{NAMES}</script>");
        for (old, new) in [
            (&*format!("let spec = {};", empty.spec()), &*format!("let spec = {document};")),
            (r#"<html charset="UTF-8">"#, r#"<html lang="en">"#),
            ("<title>Swagger UI</title>", &*title),
            (END_OF_HEAD, &*last_style),
            (r#"<div id="ui"></div>"#, &*body),
            ("        deepLinking: true,\n", OPTIONS),
        ] {
            html = replace_once(&html, old, new);
        }
        // Only the page's own inline scripts may run, and they may send requests to this service only.
        let policy = format!("{PAGE_POLICY}; script-src{}; connect-src 'self'; img-src data:", script_hashes(&html));
        Self { html: StaticDocument::new("text/html; charset=utf-8", html), policy }
    }

    pub async fn response(&self, request: &Request) -> Response {
        self.html.response(request, &[(header::CONTENT_SECURITY_POLICY, &self.policy)]).await
    }
}

const END_OF_HEAD: &str = "</head>\n<body>";

const META: &str = r#"<meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">"#;

/// A script that makes `btoa` encode text in UTF-8. Swagger UI passes the credentials to it. The browser's own function
/// encodes Latin-1, and fails for all other characters. Swagger UI keeps the function that it finds when it is loaded, so
/// this script must come first.
const UTF_8_CREDENTIALS: &str = "\
    const base64OfLatin1 = window.btoa;
    window.btoa = (text) => base64OfLatin1(Array.from(new TextEncoder().encode(text), (octet) => String.fromCharCode(octet)).join(''));";

/// Options of Swagger UI. Without `credentials: 'omit'`, some browsers answer a 401 with their own login box, and the page
/// does not get the response.
const OPTIONS: &str = "        deepLinking: true,
        requestInterceptor: (request) => Object.assign(request, { credentials: 'omit' }),
";

/// The styles of all pages, and those of Swagger UI.
const STYLES: &str = concat!(include_str!("templates/theme.css"), include_str!("templates/docs.css"));

/// Where the header names the service.
const NAME: &str = "{service}";

/// The header of all pages, and the element that Swagger UI fills.
const BODY: &str = r#"<header><a class="home" href="docs">{service}</a><a href="openapi.json">OpenAPI document</a></header>
<main id="ui"></main>"#;

/// A script that names the controls of Swagger UI for screen readers, and closes its dialogue on Escape.
const NAMES: &str = include_str!("templates/docs.js");

fn replace_once(html: &str, old: &str, new: &str) -> String {
    match html.matches(old).count() {
        1 => html.replacen(old, new, 1),
        count => panic!("the framework's Swagger UI page must contain `{old}` once, but contains it {count} times"),
    }
}

/// The CSP source expressions (`'sha256-…'`) of all inline scripts in a page.
fn script_hashes(mut html: &str) -> String {
    let mut sources = String::new();
    while let Some((_, rest)) = html.split_once("<script") {
        let Some((script, rest)) = rest.split_once('>').and_then(|(_, rest)| rest.split_once("</script")) else {
            break;
        };
        sources += &format!(" 'sha256-{}'", STANDARD.encode(Sha256::digest(script)));
        html = rest;
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_embeds_the_given_document_and_no_other() {
        let document = r#"{ "openapi": "3.0.0", "info": { "title": "c4n4ry" } }"#;
        let page = DocsPage::new(document, "R&D");
        let html = page.html.text();
        assert!(
            html.contains("<title>R&amp;D API</title>") && html.contains(">R&amp;D</a>") && !html.contains("Sixty")
        );
        assert!(html.contains(&format!("let spec = {document};")));
        assert_eq!(html.matches("let spec =").count(), 1);
        assert!(html.contains("spec: spec,"), "Swagger UI shows the embedded document");
    }

    #[test]
    fn a_document_with_html_tags_cannot_end_the_script() {
        let document = r#"{ "info": { "contact": { "name": "</script><script>alert(1)</script><!-- <title>" } } }"#;
        let page = DocsPage::new(document, "Sixty");
        let html = page.html.text();
        let script = html.split_once("let spec = ").unwrap().1.split_once("</script").unwrap().0;
        let embedded = script.split_once(" };").unwrap().0.to_owned() + " }";
        assert!(!embedded.contains('<'), "{embedded}");
        let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parsed(&embedded), parsed(document));
    }

    #[test]
    #[should_panic(expected = "must contain `old` once, but contains it 0 times")]
    fn a_changed_framework_page_is_an_error() {
        replace_once("<html></html>", "old", "new");
    }
}
