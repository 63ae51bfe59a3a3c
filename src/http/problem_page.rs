//! `/problems/{name}`: the description of a problem type, to which the `type` of a problem points (RFC 9457).

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

/// Whether the client prefers HTML to JSON, by the weights in `Accept` (RFC 9110, section 12.5.1). At equal weights, it
/// gets JSON.
fn prefers_html(headers: &HeaderMap) -> bool {
    let fields: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|field| field.to_str().ok()).collect();
    let accept = fields.join(",").to_ascii_lowercase();
    weight(&accept, "text", "html") > weight(&accept, "application", "json")
}

/// Returns the weight that the most specific matching media range gives to a media type: 0 to 1. 0 means that the client
/// does not accept the type. `accept` must be in lower case.
fn weight(accept: &str, main_type: &str, subtype: &str) -> f32 {
    let exact = format!("{main_type}/{subtype}");
    let whole_type = format!("{main_type}/*");
    let specificity =
        |range: &str| [exact.as_str(), &whole_type, "*/*"].iter().position(|candidate| *candidate == range);
    let ranges = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let specificity = specificity(parts.next().unwrap_or_default())?;
        let mut parameters = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
        let weight = parameters.find(|(name, _)| name.trim_end() == "q");
        // A range with an invalid weight does not count: its sender may have meant any weight.
        let weight = weight.map_or(Some(1.0), |(_, weight)| parse_weight(weight.trim_start()))?;
        Some((specificity, weight))
    });
    let best = ranges.min_by_key(|(specificity, _)| *specificity);
    best.map_or(0.0, |(_, weight)| weight)
}

/// Parses a qvalue (RFC 9110, section 12.4.2): 0 or 1, with up to three decimals, at most 1.
fn parse_weight(text: &str) -> Option<f32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_qvalue = ["0", "1"].contains(&whole) && decimals.len() <= 3 && decimals.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|weight| is_qvalue && *weight <= 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_a_qvalue() {
        let valid = [("0", 0.0), ("0.", 0.0), ("0.125", 0.125), ("1", 1.0), ("1.000", 1.0)];
        for (text, weight) in valid {
            assert_eq!(parse_weight(text), Some(weight), "{text}");
        }
        for text in ["", ".5", "2", "1.001", "0.1234", "-0", "+1", "00.5", "0.5e1", "inf", "nan", "0 .5", "\"1\""] {
            assert_eq!(parse_weight(text), None, "{text}");
        }
    }
}
