//! JSON request bodies and responses.
//!
//! The framework's own parser stops at the first error, repeats the input in the error, and returns 400 for an invalid
//! field. This parser reports every invalid field, repeats no submitted value, and returns 422.

use std::marker::PhantomData;

use poem::http::header;
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::problem::{FieldError, FieldLocation, Problem};
use super::problem_type::ProblemType;
use crate::domain::policy::Policy;

/// The schema of a request body, and the parser of its members.
pub trait RequestSchema: Type {
    /// The domain types that the body contains.
    type Parsed: Send;

    /// Takes the members from `fields`. Returns `None` if any is invalid; `fields` then holds the errors.
    fn parse(fields: &mut Fields, policy: &Policy) -> Option<Self::Parsed>;
}

/// A request body that is a JSON object with the schema `T`.
pub struct JsonBody<T> {
    fields: Fields,
    schema: PhantomData<T>,
}

impl<T: RequestSchema> JsonBody<T> {
    /// Parses the JSON text.
    ///
    /// # Errors
    /// A problem if the text is not JSON, names a member twice, or is not an object.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        match serde_json::from_slice(body) {
            Ok(JsonText::Object(members)) => {
                Ok(Self { fields: Fields { members, errors: vec![] }, schema: PhantomData })
            }
            Ok(JsonText::Other) => {
                let detail = "must be an object".to_owned();
                Err(Problem::invalid(vec![FieldError { location: FieldLocation::Pointer(String::new()), detail }]))
            }
            // The parser's own message may repeat the input.
            Err(_) => {
                Err(Problem::new(ProblemType::MalformedRequest, "The body is not JSON, or names a member twice."))
            }
        }
    }

    /// Parses the members. A member that the schema does not name is an error.
    ///
    /// # Errors
    /// A problem that names every invalid member.
    pub fn parse(self, policy: &Policy) -> Result<T::Parsed, Problem> {
        let mut fields = self.fields;
        let parsed = T::parse(&mut fields, policy);
        let unknown: Vec<String> = fields.members.keys().take(MAX_ERRORS).cloned().collect();
        for name in unknown {
            fields.add_error::<()>(&name, "is not a member of this body");
        }
        match parsed {
            Some(parsed) if fields.errors.is_empty() => Ok(parsed),
            _ => Err(Problem::invalid(fields.errors)),
        }
    }
}

/// The members of a request body that are not parsed yet, and the errors of those that are.
pub struct Fields {
    members: Map<String, Value>,
    errors: Vec<FieldError>,
}

/// The maximum number of errors for unknown members. It bounds the size of the response.
const MAX_ERRORS: usize = 16;

impl Fields {
    /// Takes a required member that must be a string.
    pub fn string(&mut self, name: &str) -> Option<String> {
        match self.members.remove(name) {
            Some(Value::String(text)) => Some(text),
            Some(_) => self.add_error(name, "must be a string"),
            None => self.add_error(name, "is required"),
        }
    }

    /// Takes a required member that must be a string, and parses it.
    pub fn parsed<T, E: std::error::Error>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        // The text may be a password: it is zeroed on drop.
        let text = Zeroizing::new(self.string(name)?);
        match parse(&text) {
            Ok(value) => Some(value),
            Err(error) => self.add_error(name, error.to_string()),
        }
    }

    /// Takes and parses an optional member. `Some(None)` if it is absent, `None` if it is invalid.
    pub fn optional<T, E: std::error::Error>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<T>> {
        if self.members.contains_key(name) { self.parsed(name, parse).map(Some) } else { Some(None) }
    }

    /// Adds an error at a member. Returns `None`, so callers can return the result.
    fn add_error<T>(&mut self, name: &str, detail: impl Into<String>) -> Option<T> {
        // JSON pointers escape `~` and `/` (RFC 6901, section 3).
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        self.errors.push(FieldError { location: FieldLocation::Pointer(pointer), detail: detail.into() });
        None
    }
}

/// A JSON text: an object, or any other JSON value. An object with duplicate names is an error.
enum JsonText {
    Object(Map<String, Value>),
    Other,
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JsonTextVisitor;

        impl<'de> Visitor<'de> for JsonTextVisitor {
            type Value = JsonText;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON text")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonText, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = map.next_entry()? {
                    // Parsers disagree on which of two members with the same name counts (RFC 8259, section 4).
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member is named twice"));
                    }
                }
                Ok(JsonText::Object(members))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<JsonText, A::Error> {
                while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(JsonText::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<JsonText, E> {
                Ok(JsonText::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<JsonText, E> {
                Ok(JsonText::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<JsonText, E> {
                Ok(JsonText::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<JsonText, E> {
                Ok(JsonText::Other)
            }

            fn visit_str<E>(self, _: &str) -> Result<JsonText, E> {
                Ok(JsonText::Other)
            }

            fn visit_unit<E>(self) -> Result<JsonText, E> {
                Ok(JsonText::Other)
            }
        }

        deserializer.deserialize_any(JsonTextVisitor)
    }
}

/// Whether the headers declare an uncompressed `application/json` body in UTF-8. The `charset` parameter is optional.
fn has_json_content_type(request: &Request) -> bool {
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return false;
    }
    let mut fields = request.headers().get_all(header::CONTENT_TYPE).iter();
    let (Some(media_type), None) = (fields.next(), fields.next()) else {
        return false;
    };
    let Ok(media_type) = media_type.to_str() else {
        return false;
    };
    let mut parts = media_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    essence.eq_ignore_ascii_case("application/json")
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
                value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

impl<'a, T: RequestSchema> ApiExtractor<'a> for JsonBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: "application/json", schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        if !has_json_content_type(request) {
            return Err(Problem::new(
                ProblemType::UnsupportedMediaType,
                "The body must be application/json in UTF-8, not compressed.",
            )
            .into());
        }
        let body = body
            .take()?
            .into_bytes()
            .await
            .map_err(|_| Problem::new(ProblemType::MalformedRequest, "The body broke off."))?;
        Ok(Self::read(&body)?)
    }
}

/// A JSON response body.
#[derive(Debug)]
pub struct JsonReply<T>(pub T);

impl<T: Type> Payload for JsonReply<T> {
    // No charset parameter: JSON is always UTF-8 (RFC 8259, section 8.1), and client generators compare this text.
    const CONTENT_TYPE: &'static str = "application/json";

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: ToJSON> IntoResponse for JsonReply<T> {
    fn into_response(self) -> Response {
        let mut json = self.0.to_json().unwrap_or_default().to_string();
        // A final newline, for terminals.
        json.push('\n');
        Response::builder().content_type("application/json").body(json)
    }
}
