//! JSON in and out. The framework's own parser stops at the first error, repeats what was sent, and calls a wrong field
//! a bad request; this one names every field at fault and repeats nothing.

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

use super::problem::{FieldError, Place, Problem};
use super::problem_type::ProblemType;
use crate::domain::policy::Policy;

/// A body that an operation takes: its schema, and how its members become domain types.
pub trait RequestSchema: Type {
    type Parsed: Send;

    /// `None` if any member was at fault; which is noted in the fields.
    fn parse(fields: &mut Fields, policy: &Policy) -> Option<Self::Parsed>;
}

/// A JSON object, to be parsed by `T`.
pub struct Body<T> {
    fields: Fields,
    schema: PhantomData<T>,
}

impl<T: RequestSchema> Body<T> {
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        match serde_json::from_slice(body) {
            Ok(Members::Object(members)) => {
                Ok(Self { fields: Fields { members, errors: vec![] }, schema: PhantomData })
            }
            Ok(Members::Other) => {
                let detail = "must be an object".to_owned();
                Err(Problem::invalid(vec![FieldError { at: Place::Pointer(String::new()), detail }]))
            }
            // The parser's own message may repeat what was sent.
            Err(_) => {
                Err(Problem::new(ProblemType::MalformedRequest, "The body is not JSON, or names a member twice."))
            }
        }
    }

    pub fn parse(self, policy: &Policy) -> Result<T::Parsed, Problem> {
        let mut fields = self.fields;
        let parsed = T::parse(&mut fields, policy);
        let unknown: Vec<String> = fields.members.keys().take(MAX_ERRORS).cloned().collect();
        for name in unknown {
            // The name is the client's own, and is repeated only to point at it.
            fields.fault::<()>(&name, "is not known here");
        }
        match parsed {
            Some(parsed) if fields.errors.is_empty() => Ok(parsed),
            _ => Err(Problem::invalid(fields.errors)),
        }
    }
}

/// The members of a body that were not taken yet, and what was wrong with the others.
pub struct Fields {
    members: Map<String, Value>,
    errors: Vec<FieldError>,
}

/// More errors than this help nobody, and bound the answer to a hostile body.
const MAX_ERRORS: usize = 16;

impl Fields {
    /// Takes a member that must be a string.
    pub fn string(&mut self, name: &str) -> Option<String> {
        match self.members.remove(name) {
            Some(Value::String(text)) => Some(text),
            Some(_) => self.fault(name, "must be a string"),
            None => self.fault(name, "is required"),
        }
    }

    /// Takes a member that must be a string which `parse` accepts.
    pub fn parsed<T, E: std::error::Error>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        // It may be a password.
        let text = Zeroizing::new(self.string(name)?);
        match parse(&text) {
            Ok(value) => Some(value),
            Err(error) => self.fault(name, error.to_string()),
        }
    }

    /// Takes a member that may be absent. The outer `None`: it was at fault.
    pub fn optional<T, E: std::error::Error>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<T>> {
        if self.members.contains_key(name) { self.parsed(name, parse).map(Some) } else { Some(None) }
    }

    fn fault<T>(&mut self, name: &str, detail: impl Into<String>) -> Option<T> {
        // RFC 6901, section 3.
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        self.errors.push(FieldError { at: Place::Pointer(pointer), detail: detail.into() });
        None
    }
}

/// A JSON text: the members of an object, each named once, or something else.
enum Members {
    Object(Map<String, Value>),
    Other,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique;

        impl<'de> Visitor<'de> for Unique {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON text")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = map.next_entry()? {
                    // Of two members with one name, parsers disagree which counts (RFC 8259, section 4).
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member is named twice"));
                    }
                }
                Ok(Members::Object(members))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Members, A::Error> {
                while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(Members::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Members, E> {
                Ok(Members::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Members, E> {
                Ok(Members::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Members, E> {
                Ok(Members::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Members, E> {
                Ok(Members::Other)
            }

            fn visit_str<E>(self, _: &str) -> Result<Members, E> {
                Ok(Members::Other)
            }

            fn visit_unit<E>(self) -> Result<Members, E> {
                Ok(Members::Other)
            }
        }

        deserializer.deserialize_any(Unique)
    }
}

/// `application/json`, once, in UTF-8 if a charset is named at all, and not compressed.
fn is_json(request: &Request) -> bool {
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

impl<'a, T: RequestSchema> ApiExtractor<'a> for Body<T> {
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
        if !is_json(request) {
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

/// A JSON body that is answered.
#[derive(Debug)]
pub struct Reply<T>(pub T);

impl<T: Type> Payload for Reply<T> {
    // Without a charset: JSON has only one (RFC 8259, section 8.1), and generators take the text literally.
    const CONTENT_TYPE: &'static str = "application/json";

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: ToJSON> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        let mut json = self.0.to_json().unwrap_or_default().to_string();
        // For those who look at it in a terminal.
        json.push('\n');
        Response::builder().content_type("application/json").body(json)
    }
}
