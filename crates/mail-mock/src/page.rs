//! The inbox page. The HTML of a mail is untrusted: the page shows it in a separate document without scripts or network
//! access.

use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Response, handler};

use super::mock::MailMock;
use super::wire;

/// Content Security Policy of the inbox page. All resources come from the mock, and scripts only from files.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    frame-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Content Security Policy of a mail's HTML. `sandbox` also applies if the mail is opened in its own tab; it allows only
/// links that open a new tab. Mails have inline styles. Remote images are blocked, because they track the reader.
const MAIL_POLICY: &str = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// `GET /`
#[handler]
pub(super) fn inbox() -> Response {
    file("text/html; charset=utf-8", PAGE_POLICY, include_str!("page/inbox.html"))
}

/// `GET /inbox.css`
#[handler]
pub(super) fn style() -> Response {
    file("text/css; charset=utf-8", PAGE_POLICY, include_str!("page/inbox.css"))
}

/// `GET /inbox.js`
#[handler]
pub(super) fn script() -> Response {
    file("text/javascript; charset=utf-8", PAGE_POLICY, include_str!("page/inbox.js"))
}

/// `GET /faults.js`
#[handler]
pub(super) fn faults_script() -> Response {
    file("text/javascript; charset=utf-8", PAGE_POLICY, include_str!("page/faults.js"))
}

/// `GET /view/{ID}.html` and `/view/{ID}.txt`, as in Mailpit: the HTML or the text of a mail.
#[handler]
pub(super) fn part(Path(name): Path<String>, mock: Data<&MailMock>) -> Response {
    let found = name.split_once('.').and_then(|(id, extension)| Some((mock.find(id)?, extension)));
    match &found {
        Some((mail, "html")) => file("text/html; charset=utf-8", MAIL_POLICY, sanitize(&mail.content.html)),
        Some((mail, "txt")) => file("text/plain; charset=utf-8", MAIL_POLICY, mail.content.text.clone()),
        _ => wire::error(StatusCode::NOT_FOUND, "no such message"),
    }
}

/// Elements that can make a browser connect to a remote server in spite of the policy. The sender would learn that the
/// mail was read.
const REMOTE_ELEMENTS: [&str; 5] = ["link", "iframe", "frame", "object", "embed"];

/// Renames [`REMOTE_ELEMENTS`] in the HTML of a mail, and makes its links open a new tab, because the frame's sandbox blocks
/// navigation. Browsers use the first `base` element, so it comes before the mail's own HTML, but after the doctype.
fn sanitize(html: &str) -> String {
    let lower = html.to_ascii_lowercase();
    let doctype = lower.starts_with("<!doctype").then(|| html.find('>')).flatten().map_or(0, |end| end + 1);
    let mut sanitized = format!("{}<base target=\"_blank\">", &html[..doctype]);
    let mut copied = doctype;
    for (at, _) in lower.match_indices('<').filter(|(at, _)| *at >= doctype) {
        if REMOTE_ELEMENTS.iter().any(|name| lower[at + 1..].starts_with(name)) {
            sanitized += &html[copied..at];
            sanitized += "<no-";
            copied = at + 1;
        }
    }
    sanitized + &html[copied..]
}

fn file(content_type: &str, policy: &'static str, body: impl Into<poem::Body>) -> Response {
    Response::builder()
        .content_type(content_type)
        .header("Cache-Control", "no-store")
        .header("Content-Security-Policy", policy)
        .header("Referrer-Policy", "no-referrer")
        // Do not look up the host names of links.
        .header("X-DNS-Prefetch-Control", "off")
        .header("X-Content-Type-Options", "nosniff")
        .body(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_element_comes_after_the_doctype() {
        let base = r#"<base target="_blank">"#;
        for (html, rest) in [("<!DOCTYPE html>", "<p>Hi"), ("", "<p>Hi"), ("", "é"), ("", ""), ("", "<!doctype")] {
            assert_eq!(sanitize(&format!("{html}{rest}")), format!("{html}{base}{rest}"));
        }
    }

    #[test]
    fn elements_with_remote_urls_are_renamed() {
        let html = sanitize("é<LINK rel=preconnect href=//x><p>linked</p><<iFrame src=//x>Hi");
        assert!(html.ends_with("é<no-LINK rel=preconnect href=//x><p>linked</p><<no-iFrame src=//x>Hi"), "{html}");
    }
}
