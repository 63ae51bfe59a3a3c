//! The parts of the URLs of PostgreSQL and Redis. The drivers' own parsers read an unescaped password wrongly, name no
//! reason, ignore what they do not know, and log it with its value.

use percent_encoding::percent_decode_str;
use thiserror::Error;

/// A URL of a store is not valid. The message says what must be changed, and repeats no value: it may be a password.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct InvalidUrl(pub String);

impl InvalidUrl {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// The user or the password contains a delimiter of URLs.
    fn not_encoded() -> Self {
        Self::new("the characters / ? # @ : and % in a user or password must be percent-encoded, such as %2F for /")
    }
}

/// The parts of a URL. The texts are decoded, except for `hosts` and `path`.
pub(super) struct StoreUrl<'a> {
    pub scheme: String,
    pub user: Option<String>,
    pub password: Option<String>,
    pub hosts: &'a str,
    /// The path without its first slash.
    pub path: &'a str,
    pub parameters: Vec<(String, String)>,
    pub fragment: Option<&'a str>,
    /// Whether the parameters may be the rest of a password that contains a `?`.
    may_be_password: bool,
}

impl<'a> StoreUrl<'a> {
    /// Splits a URL. `expected` is the message for a text that is no URL.
    pub fn split(text: &'a str, expected: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| InvalidUrl::new(expected))?;
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(authority_end);
        let (rest, fragment) = rest.split_once('#').map_or((rest, None), |(rest, fragment)| (rest, Some(fragment)));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user_info, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(info, hosts)| (Some(info), hosts));
        // The password goes on after its delimiter, up to the @.
        if user_info.is_none() && [path, fragment.unwrap_or_default()].iter().any(|part| part.contains('@')) {
            return Err(InvalidUrl::not_encoded());
        }
        let (user, password) = match user_info.map(|info| info.split_once(':').unwrap_or((info, ""))) {
            Some((user, password)) => (decode(user)?, decode(password)?),
            None => Default::default(),
        };
        let parameters = query.split('&').filter(|parameter| !parameter.is_empty()).map(|parameter| {
            let (name, value) = parameter.split_once('=').ok_or_else(|| match user_info {
                None if query.contains('@') => InvalidUrl::not_encoded(),
                _ => InvalidUrl::new("each parameter after the ? must have a value, as in ?name=value"),
            })?;
            Ok((decode(name)?, decode(value)?))
        });
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            user: Some(user).filter(|user| !user.is_empty()),
            password: Some(password).filter(|password| !password.is_empty()),
            hosts,
            path: path.strip_prefix('/').unwrap_or(path),
            parameters: parameters.collect::<Result<_, _>>()?,
            fragment,
            may_be_password: user_info.is_none() && query.contains('@'),
        })
    }

    /// Returns the error about a parameter that is not in `known`.
    pub fn unknown_parameter(&self, name: &str, known: &[&str]) -> InvalidUrl {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.[]".contains(&byte);
        if self.may_be_password || name.len() > 40 || !name.bytes().all(is_name) {
            return InvalidUrl::not_encoded();
        }
        let known = known.join(", ");
        InvalidUrl::new(format!("the parameter {name} is not supported; the supported ones are: {known}"))
    }
}

/// Replaces percent-encoded octets. A `%` that begins none stays.
pub(super) fn decode(text: &str) -> Result<String, InvalidUrl> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded =
        decoded.map_err(|_| InvalidUrl::new("percent-encoded characters must be in UTF-8, such as %C3%A9 for é"))?;
    if decoded.contains(char::is_control) {
        return Err(InvalidUrl::new("must not contain control characters, not even percent-encoded ones"));
    }
    Ok(decoded.into_owned())
}

/// Splits a host from its port. The host is decoded, and has no brackets. An empty one is `None`.
pub(super) fn host_and_port(text: &str) -> Result<(Option<String>, Option<u16>), InvalidUrl> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').unwrap_or((rest, ""));
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(InvalidUrl::new("only an IPv6 address can have brackets, as in [::1]"));
            }
            (host, port.strip_prefix(':').unwrap_or(port))
        }
        None if text.parse::<std::net::Ipv6Addr>().is_ok() => {
            return Err(InvalidUrl::new("an IPv6 address must have brackets, as in [::1]"));
        }
        None => text.rsplit_once(':').unwrap_or((text, "")),
    };
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = match port {
        "" => None,
        port => Some(port.parse().ok().filter(|port: &u16| is_number && *port != 0).ok_or_else(|| {
            InvalidUrl::new(
                "the port must be a number from 1 to 65535; if this is a part of the password, percent-encode its special \
                 characters",
            )
        })?),
    };
    let host = decode(host)?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if !host.starts_with('/') && !host.bytes().all(is_name) {
        return Err(InvalidUrl::new("the host must be a name or an address, such as db.example.com or [::1]"));
    }
    Ok((Some(host).filter(|host| !host.is_empty()), port))
}
