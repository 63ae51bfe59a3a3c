//! The query parameters of `listUsers`, and its cursors.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;
use uuid::Uuid;

use super::problem::{FieldError, FieldLocation, Problem};
use crate::accounts::ports::{AddressSearch, Cursor, SearchCursor, UserFilter};
use crate::domain::address_search::{AddressDomain, AddressPrefix, SearchError};
use crate::domain::email::{Email, EmailError};
use crate::domain::user::{Status, UserId};

/// Users per page, if the request does not set `limit`.
pub const DEFAULT_LIMIT: u32 = 20;
/// The largest accepted `limit`.
pub const MAX_LIMIT: u32 = 100;

/// The hint for an address with a blank: the client probably sent a `+` that is not percent-encoded.
const BARE_PLUS: &str = "; a + in a query stands for a blank, send it as %2B";

/// The query parameters as they were sent.
pub struct Parameters {
    pub status: Option<String>,
    pub email: Option<String>,
    pub email_prefix: Option<String>,
    pub domain: Option<String>,
    pub limit: Option<String>,
    pub cursor: Option<String>,
}

/// The query parameters, parsed.
#[derive(Debug)]
pub struct ListQuery {
    pub selection: Selection,
    pub limit: u32,
}

/// Which users the list contains, and after which position it starts.
#[derive(Debug)]
pub enum Selection {
    /// Newest first.
    Newest(UserFilter, Option<Cursor>),
    /// Sorted by address.
    ByAddress(AddressSearch, Option<SearchCursor>),
}

/// Collects the errors of all parameters.
#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, parameter: &'static str, detail: impl Into<String>) {
        self.0.push(FieldError { location: FieldLocation::Parameter(parameter), detail: detail.into() });
    }

    /// Parses an optional parameter. `None` if it is absent or invalid.
    fn parsed<T>(
        &mut self,
        parameter: &'static str,
        text: Option<&String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(text?) {
            Ok(value) => Some(value),
            Err(detail) => {
                self.add(parameter, detail);
                None
            }
        }
    }
}

impl ListQuery {
    pub fn parse(sent: &Parameters) -> Result<Self, Problem> {
        let mut errors = Errors::default();
        let status = errors.parsed("status", sent.status.as_ref(), |word| {
            word.parse::<Status>().map_err(|_| "must be pending, active or disabled".to_owned())
        });
        let email = errors
            .parsed("email", sent.email.as_ref(), |text| parse_untrimmed(text, EmailError::Invisible, Email::parse));
        let prefix = errors.parsed("email_prefix", sent.email_prefix.as_ref(), |text| {
            parse_untrimmed(text, SearchError::Blank, AddressPrefix::parse)
        });
        let domain = errors.parsed("domain", sent.domain.as_ref(), |text| {
            parse_untrimmed(text, SearchError::Blank, AddressDomain::parse)
        });
        if sent.email.is_some() {
            for (name, value) in [("email_prefix", &sent.email_prefix), ("domain", &sent.domain)] {
                if value.is_some() {
                    errors.add(name, "cannot be combined with email, which names one address");
                }
            }
        }
        let limit = errors.parsed("limit", sent.limit.as_ref(), |digits| {
            let limit = digits.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
            limit.ok_or_else(|| format!("must be a number from 1 to {MAX_LIMIT}"))
        });
        let is_search = sent.email_prefix.is_some();
        let cursor = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        let invalid_cursor = || "must be the next_cursor of an earlier page with the same parameters".to_owned();
        let newest = errors.parsed("cursor", sent.cursor.as_ref().filter(|_| !is_search), |text| {
            cursor(text).as_deref().and_then(decode_newest).ok_or_else(invalid_cursor)
        });
        let searched = errors.parsed("cursor", sent.cursor.as_ref().filter(|_| is_search), |text| {
            let follows = |cursor: &SearchCursor| {
                prefix.as_ref().is_none_or(|prefix| cursor.address.starts_with(prefix.as_str()))
            };
            cursor(text).as_deref().and_then(decode_searched).filter(follows).ok_or_else(invalid_cursor)
        });
        if !errors.0.is_empty() {
            return Err(Problem::invalid_parameters(errors.0));
        }
        let selection = match prefix {
            Some(prefix) => Selection::ByAddress(AddressSearch { prefix, domain, status }, searched),
            None => {
                let address = email.map(|email| email.address().clone());
                Selection::Newest(UserFilter { status, address, domain }, newest)
            }
        };
        Ok(Self { selection, limit: limit.unwrap_or(DEFAULT_LIMIT) })
    }
}

/// Parses an address or a part of one. `blank` is the parser's error for a blank.
///
/// The parser trims the text. Here, a blank at either end is an error, because it probably was a bare `+`.
fn parse_untrimmed<T, E: std::error::Error + PartialEq + Copy>(
    text: &str,
    blank: E,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, String> {
    let parsed = if text.starts_with(' ') || text.ends_with(' ') { Err(blank) } else { parse(text) };
    parsed.map_err(|error| format!("{error}{}", if error == blank && text.contains(' ') { BARE_PLUS } else { "" }))
}

/// Encodes a position in a list that is newest first: the creation time in microseconds (PostgreSQL's resolution) and the
/// user id. Cursors are opaque to clients, so their encoding can change.
pub fn encode_newest(cursor: Cursor) -> String {
    let micros = (cursor.created_at.unix_timestamp_nanos() / 1000) as u64;
    URL_SAFE_NO_PAD.encode([&micros.to_be_bytes()[..], cursor.id.0.as_bytes()].concat())
}

fn decode_newest(octets: &[u8]) -> Option<Cursor> {
    let octets: &[u8; 24] = octets.try_into().ok()?;
    let (micros, id) = octets.split_at(8);
    let micros = u64::from_be_bytes(micros.try_into().ok()?);
    let created_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()?;
    Some(Cursor { created_at, id: UserId(Uuid::from_slice(id).ok()?) })
}

/// The first octet of a position in a list sorted by address. No creation time starts with it.
const SEARCHED: u8 = 0xFF;

/// Encodes a position in a list sorted by address: the user id and the address.
pub fn encode_searched(cursor: &SearchCursor) -> String {
    URL_SAFE_NO_PAD.encode([&[SEARCHED], &cursor.id.0.as_bytes()[..], cursor.address.as_bytes()].concat())
}

fn decode_searched(octets: &[u8]) -> Option<SearchCursor> {
    let (id, address) = octets.strip_prefix(&[SEARCHED])?.split_at_checked(16)?;
    // PostgreSQL's texts cannot contain a NUL.
    let address = std::str::from_utf8(address).ok().filter(|address| !address.contains('\0'))?;
    Some(SearchCursor { address: address.to_owned(), id: UserId(Uuid::from_slice(id).ok()?) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    proptest! {
        #[test]
        fn decoding_an_encoded_cursor_returns_the_cursor(
            micros in 0..253_402_300_799_000_000_i128, id in any::<u128>(), address in "[^\0]{0,40}",
        ) {
            let id = UserId(Uuid::from_u128(id));
            let newest = Cursor { created_at: OffsetDateTime::from_unix_timestamp_nanos(micros * 1000).unwrap(), id };
            prop_assert_eq!(decode_newest(&decoded(&encode_newest(newest))), Some(newest));
            prop_assert_eq!(decode_searched(&decoded(&encode_newest(newest))), None);
            let searched = SearchCursor { address, id };
            let octets = decoded(&encode_searched(&searched));
            prop_assert_eq!(decode_searched(&octets), Some(searched));
        }

        #[test]
        fn decoding_any_octets_does_not_panic(octets in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = (decode_newest(&octets), decode_searched(&octets));
        }
    }
}
