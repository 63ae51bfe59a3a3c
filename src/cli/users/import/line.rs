//! One line of an import: a JSON object.

use serde_json::{Map, Value};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::domain::email::{Email, EmailError};
use crate::domain::locale::Locale;
use crate::domain::user::Status;
use crate::passwords::{ForeignHash, ForeignHashError, PasswordHash};
use crate::rng::Rng;
use crate::store::postgres::users::import::{ImportedHash, ImportedUser};

/// The longest line, in octets.
pub(super) const MAX_OCTETS: usize = 16 * 1024;
/// The longest language tag (RFC 5646, section 4.4.1, recommends room for 35 characters).
const MAX_LOCALE: usize = 35;

/// Why a line was refused. No message repeats a part of the line: reports are kept, and mailed to others.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    #[error("is longer than {MAX_OCTETS} octets")]
    TooLong,
    #[error("is not a JSON object in UTF-8")]
    NotAnObject,
    #[error("has no {0}")]
    Missing(&'static str),
    #[error("{0} must be a string")]
    NotAString(&'static str),
    #[error("has a member other than email, password_hash, status, created_at and locale")]
    UnknownMember,
    #[error("email {0}")]
    Email(#[from] EmailError),
    #[error("password_hash {0}")]
    Hash(#[from] ForeignHashError),
    #[error("status must be active or disabled; people whose address is not proved register anew, to get a code")]
    Status,
    #[error("created_at must be a time of RFC 3339, such as 2024-05-31T12:00:00Z, from 1970 until now")]
    CreatedAt,
    #[error("locale must be a language tag of BCP 47, such as de or pt-BR")]
    Locale,
}

/// Parses a line. `now` is the time of creation of an account without `created_at`, and no account is newer.
pub(super) fn parse(line: &[u8], now: OffsetDateTime, rng: &Rng) -> Result<ImportedUser, Refusal> {
    let Ok(Value::Object(mut members)) = serde_json::from_slice(line) else { return Err(Refusal::NotAnObject) };
    let email = take(&mut members, "email")?.ok_or(Refusal::Missing("email"))?;
    let hash = take(&mut members, "password_hash")?.ok_or(Refusal::Missing("password_hash"))?;
    let status = take(&mut members, "status")?;
    let created_at = take(&mut members, "created_at")?;
    let locale = take(&mut members, "locale")?;
    if !members.is_empty() {
        return Err(Refusal::UnknownMember);
    }
    let email = Email::parse(&email)?;
    let hash = parse_hash(&hash)?;
    let status = match status.as_deref() {
        None | Some("active") => Status::Active,
        Some("disabled") => Status::Disabled,
        Some(_) => return Err(Refusal::Status),
    };
    let created_at = created_at.map_or(Some(now), |text| OffsetDateTime::parse(&text, &Rfc3339).ok());
    let created_at = created_at.filter(|at| *at <= now).ok_or(Refusal::CreatedAt)?;
    let age = std::time::Duration::try_from(created_at - OffsetDateTime::UNIX_EPOCH).map_err(|_| Refusal::CreatedAt)?;
    if locale.as_deref().is_some_and(|tag| !is_language_tag(tag)) {
        return Err(Refusal::Locale);
    }
    // A language that the service does not speak is left out.
    let locale = locale.and_then(|tag| Locale::lookup(&tag));
    Ok(ImportedUser { id: rng.user_id_since(age), email, status, created_at, hash, locale })
}

/// Takes an optional member. Null stands for an absent one, as databases export it.
fn take(members: &mut Map<String, Value>, name: &'static str) -> Result<Option<String>, Refusal> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::NotAString(name)),
    }
}

/// A hash in the form of this service's own is kept as such. The limits of foreign hashes hold for it, too.
fn parse_hash(text: &str) -> Result<ImportedHash, ForeignHashError> {
    let foreign = ForeignHash::parse(text)?;
    Ok(PasswordHash::from_phc(text).map_or(ImportedHash::Foreign(foreign), ImportedHash::Own))
}

/// Whether a text has the form of a language tag: subtags of 1 to 8 letters or digits, the first of 2 to 8 letters.
fn is_language_tag(tag: &str) -> bool {
    let mut subtags = tag.split('-');
    let language = subtags.next().unwrap_or_default();
    tag.len() <= MAX_LOCALE
        && (2..=8).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_alphabetic())
        && subtags.all(|tag| (1..=8).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::rng::Rng;

    const BCRYPT: &str = "$2y$04$WAiwtzyjkGlk7nkq0vNPZ.fzcjn/flm1t6IgAEBenNPSkEcSJnF3G";
    const OWN: &str = "$argon2id$v=19$m=8,t=2,p=1$c29tZXNhbHQxMjM0NTY3OA$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_795_000_000).unwrap()
    }

    fn parse_line(line: &str) -> Result<ImportedUser, Refusal> {
        parse(line.as_bytes(), now(), &Rng::seeded(60))
    }

    #[test]
    fn members_are_parsed_and_have_defaults() {
        let line = json!({
            "email": " Ada@Example.com", "password_hash": BCRYPT, "status": "disabled", "locale": "de-CH",
            "created_at": "2020-02-29T12:00:00.5+01:00",
        });
        let user = parse_line(&line.to_string()).unwrap();
        assert_eq!((user.email.as_typed(), user.status), ("Ada@Example.com", Status::Disabled));
        assert_eq!(user.created_at.unix_timestamp_nanos(), 1_582_974_000_500_000_000);
        assert_eq!(user.locale, Some(Locale::German));
        assert!(matches!(user.hash, ImportedHash::Foreign(hash) if hash.as_str() == BCRYPT));
        let (seconds, _) = user.id.0.get_timestamp().unwrap().to_unix();
        assert_eq!((user.id.0.get_version_num(), seconds), (7, 1_582_974_000));

        let line = json!({ "email": "ada@example.com", "password_hash": OWN, "status": null, "created_at": null });
        let user = parse_line(&line.to_string()).unwrap();
        assert_eq!((user.status, user.created_at, user.locale), (Status::Active, now(), None));
        assert!(matches!(user.hash, ImportedHash::Own(hash) if hash.to_phc() == OWN));
    }

    #[test]
    fn refused_lines_have_a_reason() {
        let line = |member: &str, value: Value| {
            let mut line = json!({ "email": "ada@example.com", "password_hash": BCRYPT });
            line[member] = value;
            line.to_string()
        };
        for (line, reason) in [
            ("c4n4ry".to_owned(), Refusal::NotAnObject),
            ("[]".to_owned(), Refusal::NotAnObject),
            ("{}{}".to_owned(), Refusal::NotAnObject),
            ("{}".to_owned(), Refusal::Missing("email")),
            (line("password_hash", Value::Null), Refusal::Missing("password_hash")),
            (line("email", json!(7)), Refusal::NotAString("email")),
            (line("email", json!("c4n4ry")), Refusal::Email(EmailError::NoAt)),
            (line("password_hash", json!("c4n4ry")), Refusal::Hash(ForeignHashError::Scheme)),
            (line("password_hash", json!(BCRYPT.replace("$04$", "$31$"))), Refusal::Hash(ForeignHashError::BcryptCost)),
            (line("c4n4ry", json!("admin")), Refusal::UnknownMember),
            (line("status", json!("pending")), Refusal::Status),
            (line("status", json!("Active")), Refusal::Status),
            (line("created_at", json!("2020-02-30T12:00:00Z")), Refusal::CreatedAt),
            (line("created_at", json!("1969-12-31T23:59:59Z")), Refusal::CreatedAt),
            (line("created_at", json!("2027-01-01T00:00:00Z")), Refusal::CreatedAt),
            (line("locale", json!("")), Refusal::Locale),
            (line("locale", json!("german, please")), Refusal::Locale),
            (line("locale", json!("de_DE")), Refusal::Locale),
            (line("locale", json!("d")), Refusal::Locale),
        ] {
            assert!(!reason.to_string().contains("c4n4ry"));
            assert_eq!(parse_line(&line).err(), Some(reason), "{line}");
        }
    }

    proptest! {
        #[test]
        fn parsing_any_line_does_not_panic(octets in prop::collection::vec(any::<u8>(), 0..100), texts in any::<[String; 5]>()) {
            let [email, password_hash, status, created_at, locale] = texts;
            let _ = parse(&octets, now(), &Rng::seeded(60));
            let line = json!({
                "email": email, "password_hash": password_hash, "status": status, "created_at": created_at, "locale": locale,
            });
            let _ = parse_line(&line.to_string());
        }
    }
}
