//! `Debug` of no type shows an address, a code, a password, a nonce or a request: it ends up in logs and panic messages.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;
use sixty::accounts::ports::{StoredUser, UserFilter};
use sixty::domain::code::{Code, CodeSecret, Nonce};
use sixty::domain::email::Email;
use sixty::domain::password::Password;
use sixty::mail::provider::FromHeader;
use sixty::store::postgres::{Postgres, PostgresConfig};
use sixty::store::redis::RedisConfig;

/// Types with a derived `Debug` and a field of text or octets, which holds none of these.
const HARMLESS: &[&str] = &[
    // Errors and log settings: names of settings and reasons, never values.
    "AccountCheck",
    "AppError",
    "CallError",
    "CliError",
    "InvalidSetting",
    "InvalidUrl",
    "LogFilter",
    "MessageError",
    "MigrateError",
    "NotReady",
    "SendError",
    "StackError",
    "StackEvent",
    "StartError",
    "StoreError",
    "TemplateError",
    "TemplatesError",
    // Host names.
    "AllowedOrigin",
    "EmailDomains",
    "Host",
    "Pattern",
    // Responses that everybody gets, and parts of them.
    "Contact",
    "FieldError",
    "FieldLocation",
    "Operator",
    "Path",
    "PathPrefix",
    "Problem",
    "StaticDocument",
    // Hashes of tokens, the salt of an address, names of keys with MACs.
    "ConsumedUnits",
    "NotMeHash",
    "ResetId",
    "RestoreHash",
    "Salt",
    "TicketHash",
    // What an operator reads about the stores and the settings. It repeats no value of a setting.
    "Fault",
    "Finding",
    "Inspection",
    "Server",
    "ServerInfo",
    // Paths of files.
    "TlsFiles",
    // Names of migrations, and the prefix of keys.
    "Migration",
    "RedisConfig",
];

#[tokio::test]
async fn debug_hides_addresses_codes_passwords_and_urls() {
    let email = Email::parse("ada@c4n4ry.example").unwrap();
    let url = "postgres://sixty:c4n4ry@127.0.0.1:1/c4n4ry";
    let (timeout, prefix) = (Duration::from_secs(1), String::new());
    let postgres = PostgresConfig { url: url.into(), max_connections: 1, timeout };
    let shown = [
        format!(
            "{email:?} {:?} {:?}",
            email.address(),
            UserFilter { address: Some(email.address().clone()), ..UserFilter::default() }
        ),
        format!("{:?} {:?}", Code::parse("739184").unwrap(), Nonce(*b"739184c4n4ry0000")),
        format!("{:?} {:?}", Password::present("c4n4ry horse").unwrap(), CodeSecret::new(b"c4n4ry".repeat(8)).unwrap()),
        format!("{:?}", FromHeader { email: email.as_typed().to_owned(), name: "c4n4ry".to_owned() }),
        format!("{:?} {postgres:?}", Postgres::new(&postgres).unwrap()),
        format!("{:?}", RedisConfig { url: url.into(), max_connections: 1, timeout, prefix }),
    ];
    for text in shown {
        for secret in ["c4n4ry", "739184", "55, 51, 57", "99, 52, 110"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    // `User` hides the address, so these may derive `Debug`.
    let _: fn(&StoredUser) -> String = |stored| format!("{stored:?}");
}

/// A new type with a derived `Debug` and a text must either be listed as harmless or hide the text.
#[test]
fn no_type_with_a_text_derives_debug_unless_it_is_harmless() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = rust_files(&manifest.join("src"));
    files.extend(rust_files(&manifest.join("crates")));
    let derived = Regex::new(
        r"#\[derive\([^)]*\bDebug\b[^)]*\)\]\s*(?:(?:///[^\n]*|#\[[^\n]*\])\s*)*(?:pub(?:\([^)]*\))?\s+)?(?:struct|enum)\s+(\w+)[^{(;]*",
    )
    .unwrap();
    let comments_and_texts = Regex::new(r#"//[^\n]*|"(?:[^"\\]|\\.)*"|&'static str"#).unwrap();
    let text = Regex::new(r"\b(?:String|str|Url|Uri|Bytes|Vec<u8>|Value|Cow)\b|\[u8;").unwrap();
    let (mut found, mut shown) = (0, vec![]);
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        for derive in derived.captures_iter(&source) {
            found += 1;
            let body = comments_and_texts.replace_all(body(&source[derive.get(0).unwrap().end()..]), "");
            let name = &derive[1];
            if let Some(text) = text.find(&body).filter(|_| !HARMLESS.contains(&name)) {
                shown.push(format!("{}: {name} shows {}", file.display(), text.as_str()));
            }
        }
    }
    assert!(found > 100, "{found}");
    assert!(shown.is_empty(), "hide what is personal or secret in them: {shown:#?}");
}

/// Returns the fields of a type: all up to the bracket that closes the first one.
fn body(rest: &str) -> &str {
    let mut depth = 0;
    for (at, character) in rest.char_indices() {
        match character {
            '{' | '(' => depth += 1,
            '}' | ')' => depth -= 1,
            ';' if depth == 0 => return &rest[..at],
            _ => continue,
        }
        if depth == 0 {
            return &rest[..=at];
        }
    }
    rest
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => rust_files(&path),
            false => path.extension().is_some_and(|extension| extension == "rs").then_some(path).into_iter().collect(),
        })
        .collect()
}
