//! The language that a client prefers, by `Accept-Language` (RFC 9110, section 12.5.4).

use poem::http::{HeaderMap, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::problem_page::parse_weight;
use crate::domain::locale::Locale;

/// The header's name, as the documentation spells it.
pub const NAME: &str = "Accept-Language";

/// Returns the language with the highest weight that the service speaks; of equal weights the first. `None` if the client
/// prefers another language, any language, or none.
///
/// A range matches by lookup (RFC 4647, section 3.4): `de-AT` selects `de`. A weight of 0 excludes a language.
pub fn preferred(headers: &HeaderMap) -> Option<Locale> {
    let fields = headers.get_all(header::ACCEPT_LANGUAGE).iter().filter_map(|field| field.to_str().ok());
    let ranges: Vec<(&str, f32)> = fields.flat_map(|field| field.split(',')).filter_map(weighted_range).collect();
    let is_excluded = |locale: Locale| {
        ranges.iter().any(|(range, weight)| *weight == 0.0 && range.eq_ignore_ascii_case(locale.tag()))
    };
    let mut wanted: Vec<&(&str, f32)> = ranges.iter().filter(|(_, weight)| *weight > 0.0).collect();
    // Stable, so the order of equal weights stays.
    wanted.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    for (range, _) in wanted {
        if *range == "*" {
            return None;
        }
        if let Some(locale) = Locale::lookup(range).filter(|locale| !is_excluded(*locale)) {
            return Some(locale);
        }
    }
    None
}

/// Parses `de-AT;q=0.8`. A range with an invalid weight does not count.
fn weighted_range(element: &str) -> Option<(&str, f32)> {
    let (range, parameters) = element.split_once(';').unwrap_or((element, ""));
    let weight = match parameters.trim() {
        "" => 1.0,
        parameters => {
            let (name, weight) = parameters.split_once('=')?;
            if !name.trim().eq_ignore_ascii_case("q") {
                return None;
            }
            parse_weight(weight.trim())?
        }
    };
    Some(range.trim()).filter(|range| !range.is_empty()).map(|range| (range, weight))
}

/// The header of a request. A header that names no supported language, or is malformed, counts as absent.
pub struct AcceptLanguage(pub Option<Locale>);

impl<'a> ApiExtractor<'a> for AcceptLanguage {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = Option<String>;
    type ParamRawType = String;

    fn register(registry: &mut Registry) {
        <String as Type>::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(String::schema_ref())
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        Ok(Self(preferred(request.headers())))
    }
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(fields: &[&str]) -> Option<Locale> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::ACCEPT_LANGUAGE, HeaderValue::try_from(*field).unwrap());
        }
        preferred(&headers)
    }

    #[test]
    fn the_language_with_the_highest_weight_is_preferred() {
        for (field, expected) in [
            ("de", Some(Locale::German)),
            ("fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5", Some(Locale::French)),
            ("en;q=0.8 , es-419 ; q=0.9", Some(Locale::Spanish)),
            ("de;q=0.5,en;q=0.5", Some(Locale::German)),
            ("pt-BR, AR-eg;Q=0.1", Some(Locale::Arabic)),
            ("de-DE, de;q=0, en;q=0.1", Some(Locale::English)),
            ("*, de;q=0.9", None),
            ("de;q=0", None),
            ("de;q=2, de;q=x, de;v=1, ;, ,", None),
            ("pt, zh", None),
            ("", None),
        ] {
            assert_eq!(of(&[field]), expected, "{field}");
        }
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["pt", "de"]), Some(Locale::German));
    }

    proptest! {
        #[test]
        fn any_header_is_parsed(field in "[ -~]{0,40}") {
            let _ = of(&[&field]);
        }
    }
}
