//! The request header `Registration-Ticket`, and the response header of the same name.

use poem::http::HeaderMap;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::problem::{FieldError, FieldLocation};
use crate::domain::ticket::{RegistrationTicket, TicketError};

/// The header's name, as the documentation and the errors spell it.
pub const NAME: &str = "Registration-Ticket";

/// An example for the OpenAPI document.
pub const EXAMPLE: &str = "ponmlkjihgfedcbaponmlkjihgfedcba";

/// The ticket in the request header, if there is one. The framework's own header parameter would ignore a value that is not
/// ASCII, and a second value.
pub struct TicketHeader(Result<Option<RegistrationTicket>, TicketError>);

impl TicketHeader {
    fn from_headers(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(NAME).iter();
        Self(match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => {
                value.to_str().map_err(|_| TicketError).and_then(RegistrationTicket::parse).map(Some)
            }
            (Some(_), Some(_)) => Err(TicketError),
        })
    }

    /// Returns the ticket, or the error of a malformed one.
    pub fn parse(self) -> Result<Option<RegistrationTicket>, FieldError> {
        self.0.map_err(|error| FieldError { location: FieldLocation::Parameter(NAME), detail: error.to_string() })
    }
}

impl<'a> ApiExtractor<'a> for TicketHeader {
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
        Ok(Self::from_headers(request.headers()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem::http::HeaderValue;

    fn parse(values: &[&[u8]]) -> Result<Option<RegistrationTicket>, FieldError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(NAME, HeaderValue::from_bytes(value).unwrap());
        }
        TicketHeader::from_headers(&headers).parse()
    }

    #[test]
    fn one_value_of_32_letters_is_a_ticket() {
        let ticket = RegistrationTicket::new([0x1f; 16]);
        assert_eq!(parse(&[]), Ok(None));
        assert_eq!(parse(&[ticket.letters().as_bytes()]), Ok(Some(ticket)));
    }

    #[test]
    fn malformed_tickets_are_refused() {
        let ticket = "a".repeat(32);
        let twice = [ticket.as_bytes(), ticket.as_bytes()];
        for values in [&[&b""[..]][..], &[b"\xff"], &["q".repeat(32).as_bytes()], &twice] {
            assert_eq!(parse(values).unwrap_err().location, FieldLocation::Parameter(NAME));
        }
    }
}
