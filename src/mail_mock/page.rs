//! The inbox as a web page. A mail's HTML is somebody else's: it gets a document of its own, without scripts or network.

use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Response, handler};

use super::{MailMock, wire};

/// Everything comes from here, scripts only as a file: nothing in a mail can run, and nothing is fetched from elsewhere.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    frame-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `sandbox` holds even when the mail is opened in a tab of its own. Mails bring their styles inline; pictures from
/// elsewhere stay out, they would tell their server who reads.
const MAIL_POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
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

/// `GET /view/{ID}.html` and `/view/{ID}.txt`, as in Mailpit: one part of a mail by itself.
#[handler]
pub(super) fn part(Path(name): Path<String>, mock: Data<&MailMock>) -> Response {
    let found = name.split_once('.').and_then(|(id, extension)| Some((mock.find(id)?, extension)));
    match &found {
        Some((mail, "html")) => file("text/html; charset=utf-8", MAIL_POLICY, mail.letter.html.clone()),
        Some((mail, "txt")) => file("text/plain; charset=utf-8", MAIL_POLICY, mail.letter.text.clone()),
        _ => wire::error(StatusCode::NOT_FOUND, "no such message"),
    }
}

fn file(content_type: &str, policy: &'static str, body: impl Into<poem::Body>) -> Response {
    Response::builder()
        .content_type(content_type)
        .header("Cache-Control", "no-store")
        .header("Content-Security-Policy", policy)
        .header("Referrer-Policy", "no-referrer")
        .header("X-Content-Type-Options", "nosniff")
        .body(body)
}
