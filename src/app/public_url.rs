//! The default of `PUBLIC_URL`.

use std::net::SocketAddr;

use url::Url;

/// Returns the URL of an API that listens on this address. An unspecified address, such as 0.0.0.0, becomes `localhost`.
pub(super) fn default_public_url(listening: SocketAddr) -> Url {
    let url = if listening.ip().is_unspecified() {
        format!("http://localhost:{}", listening.port())
    } else {
        format!("http://{listening}")
    };
    url.parse().expect("a socket address is a valid URL authority")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_becomes_localhost() {
        for (listening, expected) in [
            ("127.0.0.1:8000", "http://127.0.0.1:8000/"),
            ("0.0.0.0:8000", "http://localhost:8000/"),
            ("[::]:8000", "http://localhost:8000/"),
            ("[::1]:8000", "http://[::1]:8000/"),
        ] {
            assert_eq!(default_public_url(listening.parse().unwrap()).as_str(), expected);
        }
    }
}
