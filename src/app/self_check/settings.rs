//! Findings about settings that work, and that a public service should not have.

use url::Url;

use super::Finding;
use crate::config::Config;
use crate::store::redis::codes::CodeStorage;

pub fn findings(config: &Config) -> Vec<Finding> {
    vec![public_url(config.public_url.as_ref()), code_secret(config), code_storage(config), client_limits(config)]
}

fn public_url(url: Option<&Url>) -> Finding {
    let check = "PUBLIC_URL";
    match url {
        None => Finding::warning(check, "is not set: the links in mails lead to the address of API_ADDR; set it"),
        Some(url) if url.scheme() == "https" => Finding::ok(check, "is https"),
        Some(url) if is_loopback(url) => {
            Finding::warning(check, "leads to the reader's own machine; set the public URL")
        }
        Some(_) => Finding::warning(check, "is http: passwords and links travel in clear text; use https"),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn code_secret(config: &Config) -> Finding {
    if config.code_secret.looks_random() {
        Finding::ok("CODE_SECRET", "is long enough and looks random")
    } else {
        let advice = "does not look random: whoever guesses it can compute codes from a copy of the database; create one by \
                      `openssl rand -base64 32`";
        Finding::warning("CODE_SECRET", advice)
    }
}

fn code_storage(config: &Config) -> Finding {
    match config.code_storage {
        CodeStorage::Hmac(_) => Finding::ok("CODE_STORAGE", "is hmac: Redis holds no codes"),
        CodeStorage::Plain => Finding::warning("CODE_STORAGE", "is plain: who can read Redis can read codes; use hmac"),
    }
}

fn client_limits(config: &Config) -> Finding {
    if config.client_limits.is_some() {
        Finding::ok("CLIENT_LIMITS", "is true")
    } else {
        Finding::warning("CLIENT_LIMITS", "is false: every client may send any number of requests; use true")
    }
}
