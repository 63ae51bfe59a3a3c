//! JSON request bodies and responses.
//!
//! The framework's own parser stops at the first error, repeats the input in the error, and returns 400 for an invalid
//! field. This parser reports every invalid field, repeats no submitted value, and returns 422.

use std::marker::PhantomData;

use poem::http::{Method, header};
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::error::Category;
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
    /// Parses the JSON text, with or without a byte order mark.
    ///
    /// # Errors
    /// A problem if the text is not JSON in UTF-8, names a member twice, or is not an object.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let malformed = |detail: String| Problem::new(ProblemType::MalformedRequest, detail);
        // Parsers may ignore a byte order mark (RFC 8259, section 8.1).
        let text = text_of(body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)).map_err(malformed)?;
        match serde_json::from_str(text) {
            Ok(JsonText::Object(members)) => {
                Ok(Self { fields: Fields { members, errors: vec![] }, schema: PhantomData })
            }
            Ok(JsonText::Other) => {
                let detail = "must be an object".to_owned();
                Err(Problem::invalid(vec![FieldError { location: FieldLocation::Pointer(String::new()), detail }]))
            }
            Err(error) => Err(malformed(syntax_error(&error))),
        }
    }

    /// Parses the members. A member that the schema does not name is an error.
    ///
    /// # Errors
    /// A problem that names every invalid member.
    pub fn parse(self, policy: &Policy) -> Result<T::Parsed, Problem> {
        self.parse_members(policy).map_err(Problem::invalid)
    }

    /// Parses the members of a request with a parsed header.
    ///
    /// # Errors
    /// A problem that names the header, if it is invalid, and every invalid member.
    pub fn parse_with<H>(self, header: Result<H, FieldError>, policy: &Policy) -> Result<(H, T::Parsed), Problem> {
        match (header, self.parse_members(policy)) {
            (Ok(header), Ok(body)) => Ok((header, body)),
            (Ok(_), Err(errors)) => Err(Problem::invalid(errors)),
            (Err(error), body) => Err(Problem::invalid_header([vec![error], body.err().unwrap_or_default()].concat())),
        }
    }

    fn parse_members(self, policy: &Policy) -> Result<T::Parsed, Vec<FieldError>> {
        let mut fields = self.fields;
        let parsed = T::parse(&mut fields, policy);
        let unknown: Vec<String> = fields.members.keys().take(MAX_ERRORS).cloned().collect();
        for name in unknown {
            fields.add_error::<()>(&name, "is not a member of this body");
        }
        match parsed {
            Some(parsed) if fields.errors.is_empty() => Ok(parsed),
            _ => Err(fields.errors),
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

    /// Takes and parses an optional member that may be null. `Some(None)` if it is absent, `None` if it is invalid.
    pub fn nullable<T, E: std::error::Error>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<Option<T>>> {
        if self.members.get(name).is_some_and(Value::is_null) {
            self.members.remove(name);
            return Some(Some(None));
        }
        Some(self.optional(name, parse)?.map(Some))
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

/// The byte order mark in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns the body as text. Returns the detail of a problem if the body is empty or not in UTF-8.
fn text_of(body: &[u8]) -> Result<&str, String> {
    // A JSON text starts with two ASCII characters, unless it is one digit or a string. In UTF-16 and UTF-32, an octet of
    // an ASCII character is zero.
    let has_wide_mark = body.starts_with(b"\xff\xfe") || body.starts_with(b"\xfe\xff");
    if has_wide_mark || body.iter().take(2).any(|octet| *octet == 0) {
        return Err("The body is in UTF-16 or UTF-32; JSON must be in UTF-8.".to_owned());
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let position = error.valid_up_to();
        match error.error_len() {
            None => "The body is not in UTF-8: it ends within a character.".to_owned(),
            // Before U+00A0, Latin-1 has no printable characters beyond ASCII.
            Some(1) if body[position] >= 0xA0 => {
                format!("The body is not in UTF-8: octet {position} is invalid, as in Latin-1.")
            }
            Some(_) => format!("The body is not in UTF-8: octet {position} is invalid."),
        }
    })?;
    if text.trim().is_empty() { Err("The body is empty; a JSON object was expected.".to_owned()) } else { Ok(text) }
}

/// The detail of a problem for a text that is not JSON. It never contains the parser's own message, which may repeat input.
fn syntax_error(error: &serde_json::Error) -> String {
    let message = error.to_string();
    // The parser has no error codes for these; a test of the API pins the messages.
    if message.starts_with("lone leading surrogate") || message.starts_with("unexpected end of hex escape") {
        return "A string of the body contains half of a surrogate pair.".to_owned();
    }
    if message.starts_with("recursion limit exceeded") {
        return "The body is nested too deeply.".to_owned();
    }
    match error.classify() {
        Category::Data => "The body names a member twice.".to_owned(),
        Category::Eof => "The body ends in the middle of the JSON text.".to_owned(),
        Category::Syntax | Category::Io => {
            format!("The body is not JSON: line {}, column {} is not valid.", error.line(), error.column())
        }
    }
}

/// The media type of a merge patch (RFC 7396).
const MERGE_PATCH: &str = "application/merge-patch+json";

/// Returns the detail of a problem unless the headers declare an uncompressed `application/json` body in UTF-8. The
/// `charset` parameter is optional.
///
/// PATCH also accepts a merge patch: bodies of PATCH have its meaning.
fn check_content_type(request: &Request) -> Result<(), String> {
    let mut encodings = request.headers().get_all(header::CONTENT_ENCODING).iter();
    if encodings.any(|encoding| !encoding.is_empty() && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err("The body is compressed; send it without Content-Encoding.".to_owned());
    }
    let is_patch = request.method() == Method::PATCH;
    let expected = if is_patch { format!("application/json or {MERGE_PATCH}") } else { "application/json".to_owned() };
    let mut fields = request.headers().get_all(header::CONTENT_TYPE).iter();
    let media_type = match (fields.next(), fields.next()) {
        (Some(media_type), None) => media_type.to_str().unwrap_or_default(),
        (None, _) => return Err(format!("The header Content-Type is missing; the body must be {expected}.")),
        (Some(_), Some(_)) => return Err("The request has two Content-Type headers; send one.".to_owned()),
    };
    let mut parts = media_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let is_merge_patch = is_patch && essence.eq_ignore_ascii_case(MERGE_PATCH);
    if !is_merge_patch && !essence.eq_ignore_ascii_case("application/json") {
        return Err(format!("The Content-Type of the body must be {expected}."));
    }
    let is_utf_8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            let value = value.trim_matches('"');
            // US-ASCII is a subset of UTF-8.
            ["utf-8", "utf8", "us-ascii"].iter().any(|charset| value.eq_ignore_ascii_case(charset))
        }
        _ => true,
    });
    if is_utf_8 { Ok(()) } else { Err("The charset of the body must be UTF-8.".to_owned()) }
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
        check_content_type(request).map_err(|detail| Problem::new(ProblemType::UnsupportedMediaType, detail))?;
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
