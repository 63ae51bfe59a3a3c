//! HTTP Basic authentication (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use encoding_rs::WINDOWS_1252;
use poem::http::{HeaderMap, HeaderValue, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use zeroize::Zeroizing;

use super::client::Client;
use super::client_limits::{ClientLimits, NotAuthenticated};
use super::problem::Problem;
use crate::accounts::Accounts;
use crate::accounts::errors::AuthenticateError;
use crate::accounts::ports::{Codes, StoredUser, Users};
use crate::domain::email::{Address, Email};
use crate::domain::password::{Password, PasswordError};

/// The scheme's name in the OpenAPI document.
pub const SCHEME: &str = "basic";

/// The credentials of a request, not verified yet.
pub struct BasicCredentials {
    /// `None` if the user name is not a valid address. Such credentials match no user.
    pub address: Option<Address>,
    pub password: Password,
}

impl BasicCredentials {
    /// Reads the credentials. The error is the detail of a problem.
    fn from_headers(headers: &HeaderMap) -> Result<Self, &'static str> {
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        let field = match (fields.next(), fields.next()) {
            (Some(field), None) => field.to_str().unwrap_or_default(),
            (None, _) => return Err("The request has no credentials: it has no Authorization header."),
            (Some(_), Some(_)) => return Err("The request has two Authorization headers; send one."),
        };
        let (scheme, encoded) = field.split_once(' ').unwrap_or((field, ""));
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err("The scheme of the Authorization header must be Basic.");
        }
        let decoded =
            STANDARD.decode(encoded.trim()).map_err(|_| "The credentials are not in base64 (with padding).")?;
        let decoded = Zeroizing::new(decoded);
        let colon = decoded.iter().position(|octet| *octet == b':');
        let colon = colon.ok_or("The credentials have no colon after the address.")?;
        let (name, password) = (decode_text(&decoded[..colon]), decode_text(&decoded[colon + 1..]));
        let address = Email::parse(&name).ok().map(|email| email.address().clone());
        // No user can have a password that fails here, so this early response reveals nothing about users.
        let password = Password::present(&password).map_err(|error| match error {
            PasswordError::TooLong => "No password has more than 128 characters.",
            _ => "No password has control characters.",
        })?;
        Ok(Self { address, password })
    }
}

/// Checks the credentials, within the rate limits. Returns the user and the canonical address of the credentials.
pub async fn authenticate<U: Users, C: Codes>(
    accounts: &Accounts<U, C>,
    limits: &ClientLimits,
    client: &Client,
    credentials: BasicCredentials,
) -> Result<(StoredUser, Address), NotAuthenticated> {
    let BasicCredentials { address, password } = credentials;
    // Credentials that were verified a short time ago probably need no hash.
    if !limits.have_verified(address.as_ref(), &password) {
        accounts.check_hasher(client.network).map_err(AuthenticateError::from).map_err(NotAuthenticated::Refused)?;
    }
    let attempt = async |password| accounts.authenticate(address.as_ref(), password, client.network).await;
    let found = limits.limit_authentication(client, address.as_ref(), password, attempt).await?;
    // A user name that is no address matches no user.
    let address = address.ok_or(NotAuthenticated::Refused(AuthenticateError::WrongCredentials))?;
    Ok((found, address))
}

/// Whether a web page's script sent the request (Fetch Metadata Request Headers, and a convention of older libraries).
pub fn is_from_script(headers: &HeaderMap) -> bool {
    let mode = headers.get("sec-fetch-mode").map(HeaderValue::as_bytes);
    // The response of `fetch` and `XMLHttpRequest` goes to the script, in the mode `no-cors`, too.
    let destination = headers.get("sec-fetch-dest").map(HeaderValue::as_bytes);
    matches!(mode, Some(b"cors" | b"same-origin"))
        || destination == Some(b"empty")
        || headers.contains_key("x-requested-with")
}

/// Decodes the user name or the password as UTF-8, or as Windows-1252 if it is not UTF-8.
///
/// Many clients send Latin-1 or Windows-1252 although the challenge asks for UTF-8. Such text beyond ASCII is hardly ever
/// valid UTF-8. The two differ only where Latin-1 has control characters, which are in no password.
fn decode_text(octets: &[u8]) -> Zeroizing<String> {
    if let Ok(text) = std::str::from_utf8(octets) {
        return Zeroizing::new(text.to_owned());
    }
    // A character of Windows-1252 takes at most three octets in UTF-8. So the string never grows and leaves no copy.
    let mut text = Zeroizing::new(String::with_capacity(3 * octets.len()));
    let mut decoder = WINDOWS_1252.new_decoder_without_bom_handling();
    // Windows-1252 gives every octet a character, and the string has room for all of them.
    let _ = decoder.decode_to_string(octets, &mut text, true);
    text
}

impl<'a> ApiExtractor<'a> for BasicCredentials {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let scheme = MetaSecurityScheme {
            ty: "http",
            description: Some(
                "The e-mail address and the password, in UTF-8. Each of them that is not UTF-8 is read as Latin-1 or \
                 Windows-1252.",
            ),
            name: None,
            key_in: None,
            scheme: Some("basic"),
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        };
        registry.create_security_scheme(SCHEME, scheme);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Self::from_headers(request.headers()).map_err(|detail| Problem::unauthenticated_because(detail).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(field: &[u8]) -> Option<BasicCredentials> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_bytes(field).ok()?);
        BasicCredentials::from_headers(&headers).ok()
    }

    fn basic(pair: impl AsRef<[u8]>) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(pair)).into_bytes()
    }

    #[test]
    fn address_and_password_are_normalized_as_at_registration() {
        let credentials = parse(&basic(" ADA@Example.com:cafe\u{301} noir:9")).unwrap();
        assert_eq!(credentials.address.unwrap().as_str(), "ada@example.com");
        assert_eq!(credentials.password.expose(), "caf\u{e9} noir:9");
        assert!(parse(&[b"bAsIc ".as_slice(), &basic("a@b.example:c")[6..]].concat()).is_some());
    }

    #[test]
    fn malformed_authorization_headers_are_rejected() {
        for field in [
            b"".to_vec(),
            b"Basic".to_vec(),
            b"Basic ".to_vec(),
            b"Basic !!!".to_vec(),
            b"Bearer YTpi".to_vec(),
            basic("no colon"),
            basic("ada@example.com:correct\0horse"),
            basic(format!("ada@example.com:{}", "x".repeat(10_000))),
        ] {
            assert!(parse(&field).is_none());
        }
    }

    #[test]
    fn credentials_that_are_not_utf_8_are_read_as_latin_1_or_windows_1252() {
        for pair in [b"j\xf6rg@example.com:p\xe4ssw\xf6rt-lang".as_slice(), "jörg@example.com:pässwört-lang".as_bytes()]
        {
            let credentials = parse(&basic(pair)).unwrap();
            assert_eq!(credentials.address.unwrap().as_str(), "jörg@example.com");
            assert_eq!(credentials.password.expose(), "pässwört-lang");
        }
        // Windows-1252 has printable characters where Latin-1 has control characters.
        let printable = parse(&basic(b"ada@example.com:5 \x80 \x93ab\x94")).unwrap();
        assert_eq!(printable.password.expose(), "5 € “ab”");
        assert!(parse(&basic(b"ada@example.com:correct\x81horse")).is_none(), "the octet has no character");
        // Each half has an encoding of its own.
        let halves =
            [b"j\xc3\xb6rg@example.com:p\xe4ssw\xf6rt".as_slice(), b"j\xf6rg@example.com:p\xc3\xa4ssw\xc3\xb6rt"];
        for pair in halves {
            let credentials = parse(&basic(pair)).unwrap();
            assert_eq!(credentials.address.unwrap().as_str(), "jörg@example.com");
            assert_eq!(credentials.password.expose(), "pässwört");
        }
        // One octet that is not UTF-8 makes the whole password Latin-1.
        let mixed = parse(&basic(b"ada@example.com:\xc3\xa4\xff")).unwrap();
        assert_eq!(mixed.password.expose(), "Ã¤ÿ");
    }

    #[test]
    fn a_user_name_that_is_not_an_address_gives_no_address() {
        assert!(parse(&basic("ada:correct horse")).unwrap().address.is_none());
    }

    #[test]
    fn two_authorization_headers_are_rejected() {
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(&basic("a@b.example:c")).unwrap());
        }
        assert!(BasicCredentials::from_headers(&headers).is_err());
    }

    #[test]
    fn each_error_says_what_is_wrong() {
        let detail = |field: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_bytes(field).unwrap());
            BasicCredentials::from_headers(&headers).err().unwrap()
        };
        let no_header = BasicCredentials::from_headers(&HeaderMap::new()).err().unwrap();
        let details = [
            no_header,
            detail(b"Bearer YTpi"),
            detail(b"Basic !!!"),
            detail(&basic("no colon")),
            detail(&basic("ada@example.com:correct\0horse")),
            detail(&basic(format!("ada@example.com:{}", "x".repeat(129)))),
        ];
        for (word, detail) in
            ["no Authorization", "Basic", "base64", "colon", "has control", "has more than 128"].iter().zip(details)
        {
            assert!(detail.contains(word), "{detail}");
        }
    }

    proptest! {
        #[test]
        fn parsing_any_header_does_not_panic(field in prop::collection::vec(any::<u8>(), 0..200), pair in any::<Vec<u8>>()) {
            parse(&field);
            parse(&basic(pair));
        }
    }
}
