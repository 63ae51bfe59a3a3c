//! The inbox as a web page. A mail's HTML is somebody else's: it gets a document of its own, without scripts or network.

use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Response, handler};

use super::{MailMock, wire};

/// Everything comes from here, scripts only as a file: nothing in a mail can run, and nothing is fetched from elsewhere.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    frame-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `sandbox` holds even when the mail is opened in a tab of its own; all that it grants is that a link may be followed, in
/// another tab. Mails bring their styles inline; pictures from elsewhere stay out, they would tell their server who reads.
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

/// `GET /view/{ID}.html` and `/view/{ID}.txt`, as in Mailpit: one part of a mail by itself.
#[handler]
pub(super) fn part(Path(name): Path<String>, mock: Data<&MailMock>) -> Response {
    let found = name.split_once('.').and_then(|(id, extension)| Some((mock.find(id)?, extension)));
    match &found {
        Some((mail, "html")) => file("text/html; charset=utf-8", MAIL_POLICY, harmless(&mail.letter.html)),
        Some((mail, "txt")) => file("text/plain; charset=utf-8", MAIL_POLICY, mail.letter.text.clone()),
        _ => wire::error(StatusCode::NOT_FOUND, "no such message"),
    }
}

/// Elements that make a browser connect to elsewhere before a policy forbids the request, or where none does. Whoever sent
/// the mail would know that it was read.
const POINTERS: [&str; 5] = ["link", "iframe", "frame", "object", "embed"];

/// A mail that is safe to open, beyond what its policy forbids: it points nowhere, and its links open a tab of their own,
/// since in its frame they would lead nowhere. The first `base` in a document counts, so it stands before all that the mail
/// says, except what tells browsers how to read it.
fn harmless(html: &str) -> String {
    let lower = html.to_ascii_lowercase();
    let doctype = lower.starts_with("<!doctype").then(|| html.find('>')).flatten().map_or(0, |end| end + 1);
    let mut safe = format!("{}<base target=\"_blank\">", &html[..doctype]);
    let mut copied = doctype;
    for (at, _) in lower.match_indices('<').filter(|(at, _)| *at >= doctype) {
        if POINTERS.iter().any(|name| lower[at + 1..].starts_with(name)) {
            safe += &html[copied..at];
            safe += "<no-";
            copied = at + 1;
        }
    }
    safe + &html[copied..]
}

fn file(content_type: &str, policy: &'static str, body: impl Into<poem::Body>) -> Response {
    Response::builder()
        .content_type(content_type)
        .header("Cache-Control", "no-store")
        .header("Content-Security-Policy", policy)
        .header("Referrer-Policy", "no-referrer")
        // Nor are the names looked up that links lead to.
        .header("X-DNS-Prefetch-Control", "off")
        .header("X-Content-Type-Options", "nosniff")
        .body(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_leave_whatever_a_mail_begins_with() {
        let base = r#"<base target="_blank">"#;
        for (html, rest) in [("<!DOCTYPE html>", "<p>Hi"), ("", "<p>Hi"), ("", "é"), ("", ""), ("", "<!doctype")] {
            assert_eq!(harmless(&format!("{html}{rest}")), format!("{html}{base}{rest}"));
        }
    }

    #[test]
    fn a_mail_points_browsers_nowhere() {
        let html = harmless("é<LINK rel=preconnect href=//x><p>linked</p><<iFrame src=//x>Hi");
        assert!(html.ends_with("é<no-LINK rel=preconnect href=//x><p>linked</p><<no-iFrame src=//x>Hi"), "{html}");
    }
}
