//! `/problems/{name}`: the description of a problem type, to which the `type` of a problem points (RFC 9457).

use std::collections::BTreeMap;

use minijinja::Value;
use poem::http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::{IntoResponse, Request, Response};

use super::pages::Pages;
use super::problem::Problem;
use super::problem_type::ProblemType;
use crate::domain::locale::Locale;
use crate::language::Catalogue;

/// Returns the description as HTML if the client prefers HTML, otherwise as JSON.
pub fn get(request: &Request, pages: &Pages) -> Response {
    let name = request.uri().path().rsplit('/').next().unwrap_or_default();
    let Some(problem_type) = ProblemType::from_name(name) else {
        return Problem::new(ProblemType::NotFound, "No problem type has this name.").into_response();
    };
    if prefers_html(request.headers()) {
        let (locale, title, advice) = texts(problem_type, pages.locale(request.headers()));
        let variables = BTreeMap::from([
            ("name", Value::from(problem_type.name())),
            ("status", Value::from(problem_type.status().as_u16())),
            ("title", Value::from(title)),
            ("advice", Value::from(advice)),
        ]);
        let mut page = pages.response(locale, StatusCode::OK, "problem.html", &variables);
        page.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept, Accept-Language"));
        return page;
    }
    let description = format!("{}\n", Problem::description(problem_type));
    Response::builder().header(header::VARY, "Accept").content_type("application/json").body(description)
}

/// Returns title and advice in a language, or else in English: those of a new problem type may not be translated yet.
fn texts(problem_type: ProblemType, locale: Locale) -> (Locale, String, String) {
    let (catalogue, name, none) = (Catalogue::of(locale), problem_type.name(), Default::default());
    let translated =
        catalogue.format(name, &none).ok().zip(catalogue.format_attribute(name, Some("advice"), &none).ok());
    match translated {
        Some((title, advice)) => (locale, title, advice),
        None => (Locale::English, problem_type.title().to_owned(), problem_type.advice().to_owned()),
    }
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
pub(super) fn parse_weight(text: &str) -> Option<f32> {
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
