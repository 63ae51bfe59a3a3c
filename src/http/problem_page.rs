//! `/problems/{name}`: the description of a problem type, to which the `type` of a problem points (RFC 9457).

use std::cmp::Ordering;

use askama::Template;
use poem::http::{HeaderMap, StatusCode, header};
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

/// Returns the description as HTML if the client prefers HTML, otherwise as JSON.
pub fn get(request: &Request) -> Response {
    let name = request.uri().path().rsplit('/').next().unwrap_or_default();
    let Some(problem_type) = ProblemType::from_name(name) else {
        return Problem::new(ProblemType::NotFound, "No problem type has this name.").into_response();
    };
    let (status, title, advice) = (problem_type.status().as_u16(), problem_type.title(), problem_type.advice());
    if prefers_html(request.headers()) {
        let page = ProblemPage { name: problem_type.name(), status, title, advice };
        return match page.render() {
            Ok(page) => Html(page).with_header(header::VARY, "Accept").into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into(),
        };
    }
    let description = format!("{}\n", Problem::description(problem_type));
    Response::builder().header(header::VARY, "Accept").content_type("application/json").body(description)
}

/// Whether the client prefers HTML to JSON, by the weights in `Accept` (RFC 9110, section 12.5.1).
///
/// At equal weights the type that the client names first counts, and JSON if it names neither.
fn prefers_html(headers: &HeaderMap) -> bool {
    let fields: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|field| field.to_str().ok()).collect();
    let accept = fields.join(",").to_ascii_lowercase();
    let (html, json) = (preference(&accept, "text", "html"), preference(&accept, "application", "json"));
    match html.weight.total_cmp(&json.weight) {
        Ordering::Greater => true,
        Ordering::Less => false,
        Ordering::Equal => html.weight > 0.0 && html.position < json.position,
    }
}

/// How much a client wants a media type.
struct Preference {
    /// 0 to 1. 0 means that the client does not accept the type.
    weight: f32,
    /// The position of the media range in `Accept`.
    position: usize,
}

/// Returns the preference that the most specific matching media range gives. `accept` must be in lower case.
fn preference(accept: &str, main_type: &str, subtype: &str) -> Preference {
    let exact = format!("{main_type}/{subtype}");
    let whole_type = format!("{main_type}/*");
    let specificity =
        |range: &str| [exact.as_str(), &whole_type, "*/*"].iter().position(|candidate| *candidate == range);
    let ranges = accept.split(',').enumerate().filter_map(|(position, range)| {
        let mut parts = range.split(';').map(str::trim);
        let specificity = specificity(parts.next().unwrap_or_default())?;
        let weight = parts.find_map(|part| part.strip_prefix("q=")).and_then(|weight| weight.parse().ok());
        Some((specificity, Preference { weight: weight.unwrap_or(1.0), position }))
    });
    let best = ranges.min_by_key(|(specificity, _)| *specificity);
    best.map_or(Preference { weight: 0.0, position: usize::MAX }, |(_, preference)| preference)
}
