//! `/problems/{name}`: the description of a problem type, to which the `type` of a problem points (RFC 9457).

use askama::Template;
use poem::http::{StatusCode, header};
use poem::web::Html;
use poem::{IntoResponse, Request, Response};

use super::problem::Problem;
use super::problem_type::ProblemType;

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    name: &'a str,
    status: u16,
    title: &'a str,
    advice: &'a str,
}

/// Returns the description as HTML if `Accept` names `text/html`, otherwise as JSON.
pub fn get(request: &Request) -> Response {
    let name = request.uri().path().rsplit('/').next().unwrap_or_default();
    let Some(problem_type) = ProblemType::from_name(name) else {
        return Problem::new(ProblemType::NotFound, "No problem type has this name.").into_response();
    };
    let (status, title, advice) = (problem_type.status().as_u16(), problem_type.title(), problem_type.advice());
    if request.header("accept").is_some_and(accepts_html) {
        let page = ProblemPage { name: problem_type.name(), status, title, advice };
        return match page.render() {
            Ok(page) => Html(page).with_header(header::VARY, "Accept").into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into(),
        };
    }
    let description = format!("{}\n", Problem::description(problem_type));
    Response::builder().header(header::VARY, "Accept").content_type("application/json").body(description)
}

/// Whether an `Accept` header (RFC 9110, section 12.5.1) names `text/html`, as browsers do. Wildcards do not count.
fn accepts_html(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case("text/html"));
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        is_html && weight.and_then(|weight| weight.parse().ok()) != Some(0.0)
    })
}
