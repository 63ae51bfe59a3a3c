//! Parses `DATABASE_URL`.

use std::net::IpAddr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::postgres::PgConnectOptions;

use crate::store::url::{InvalidUrl, StoreUrl, decode, host_and_port};

const EXPECTED: &str = "must be a PostgreSQL URL, such as postgres://user:password@host:5432/database";
const SEVERAL_HOSTS: &str =
    "must name one host; for several servers, name a proxy or a DNS name that leads to the one that accepts writes";

const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
/// The parameters, as in libpq, and one of the driver.
const PARAMETERS: [&str; 13] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];

/// Parses the URL. What it leaves out comes from the `PG…` variables, the password file, and the defaults of libpq.
pub(super) fn parse(url: &str) -> Result<PgConnectOptions, InvalidUrl> {
    let url = StoreUrl::split(url, EXPECTED)?;
    if !["postgres", "postgresql"].contains(&&*url.scheme) {
        return Err(InvalidUrl::new(EXPECTED));
    }
    if url.fragment.is_some() {
        return Err(InvalidUrl::new("must not contain #; in a user or password, write %23"));
    }
    if url.hosts.contains(',') {
        return Err(InvalidUrl::new(SEVERAL_HOSTS));
    }
    let (host, port) = host_and_port(url.hosts)?;
    let database = url.path.strip_suffix('/').unwrap_or(url.path);
    if database.contains('/') {
        return Err(InvalidUrl::new("must have one database after the host, as in host/database"));
    }
    let database = Some(decode(database)?).filter(|database| !database.is_empty());
    let port = port.map(|port| port.to_string());
    let parts = [
        ("host", host),
        ("port", port),
        ("user", url.user.clone()),
        ("password", url.password.clone()),
        ("dbname", database),
    ];
    let mut parameters: Vec<_> =
        parts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    for (name, value) in &url.parameters {
        let name = known_name(name).ok_or_else(|| url.unknown_parameter(name, &PARAMETERS))?;
        check(name, value)?;
        parameters.push((name.to_owned(), value.clone()));
    }
    // The driver's parser reads the password file too. In the query, it accepts any value.
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let query = parameters.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    let known = format!("postgres:?{}", query.collect::<Vec<_>>().join("&"));
    known.parse().map_err(|_| InvalidUrl::new(EXPECTED))
}

/// Returns the driver's name of a parameter, or `None` if the driver does not know it.
fn known_name(name: &str) -> Option<&str> {
    let name = match name {
        "ssl-mode" => "sslmode",
        "ssl-root-cert" | "ssl-ca" => "sslrootcert",
        "ssl-cert" => "sslcert",
        "ssl-key" => "sslkey",
        _ => name,
    };
    let is_option = name.starts_with("options[") && name.ends_with(']');
    (is_option || PARAMETERS.contains(&name)).then_some(name)
}

/// Checks the value of a parameter.
fn check(name: &str, value: &str) -> Result<(), InvalidUrl> {
    let is_number = |least: u32, most: u32| value.parse().is_ok_and(|number: u32| (least..=most).contains(&number));
    let problem = match name {
        "sslmode" if !SSL_MODES.contains(&value) => format!("sslmode must be one of: {}", SSL_MODES.join(", ")),
        "sslrootcert" if value == "system" => {
            "sslrootcert=system is not supported; without sslrootcert, the usual certificate authorities apply"
                .to_owned()
        }
        "host" | "hostaddr" | "port" if value.contains(',') => SEVERAL_HOSTS.to_owned(),
        "hostaddr" if value.parse::<IpAddr>().is_err() => {
            "hostaddr must be an IP address, such as 192.0.2.1".to_owned()
        }
        "port" if !is_number(1, 65_535) => "port must be a number from 1 to 65535".to_owned(),
        "statement-cache-capacity" if !is_number(0, 1_000_000) => {
            "statement-cache-capacity must be a number, such as 100".to_owned()
        }
        _ => return Ok(()),
    };
    Err(InvalidUrl(problem))
}

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions as _;

    use super::*;

    /// Returns user, host or socket, port and database.
    fn parsed(url: &str) -> String {
        let options = parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        let host = options.get_socket().map_or(options.get_host().to_owned(), |path| path.display().to_string());
        format!("{} {host} {} {}", options.get_username(), options.get_port(), options.get_database().unwrap_or("-"))
    }

    fn password(url: &str) -> String {
        let options = parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        decode(options.to_url_lossy().password().unwrap()).unwrap()
    }

    #[test]
    fn all_forms_of_a_url_work() {
        for (url, expected) in [
            ("postgres://ada@db/sixty", "ada db 5432 sixty"),
            ("PostgreSQL://ada:pw@db.example.com:6432/sixty/", "ada db.example.com 6432 sixty"),
            ("postgres://ada@[2001:db8::1]:6432/sixty", "ada 2001:db8::1 6432 sixty"),
            ("postgres://a%40b@db/a%2Fb", "a@b db 5432 a/b"),
            ("postgres://ada@%2Frun%2Fpostgresql/sixty", "ada /run/postgresql 5432 sixty"),
            ("postgres://ada@%2Frun%2Fpostgresql:6432/sixty", "ada /run/postgresql 6432 sixty"),
            ("postgres://ada@/sixty?host=/run/postgresql", "ada /run/postgresql 5432 sixty"),
            ("postgres:///sixty?host=/run/postgresql&user=ada", "ada /run/postgresql 5432 sixty"),
            ("postgres://?host=db&user=a@b&dbname=sixty&port=6432&password=a/b?c", "a@b db 6432 sixty"),
            ("postgres://ada@db/sixty?sslmode=verify-full&sslrootcert=/ca.pem", "ada db 5432 sixty"),
            ("postgres://ada@db/sixty?options=-c%20search_path=x&options[lock_timeout]=1s", "ada db 5432 sixty"),
        ] {
            assert_eq!(parsed(url), expected, "{url}");
        }
    }

    #[test]
    fn a_password_may_contain_every_character() {
        let all: String = (' '..='~').chain("é€\u{1f600}".chars()).collect();
        let encoded = utf8_percent_encode(&all, NON_ALPHANUMERIC);
        for url in [format!("postgres://ada:{encoded}@db/sixty"), format!("postgres://ada@db/sixty?password={encoded}")]
        {
            assert_eq!(password(&url), all);
        }
        for (written, meant) in
            [("a@b", "a@b"), ("a:b", "a:b"), ("50%", "50%"), ("a,b", "a,b"), ("a+b", "a+b"), ("é", "é")]
        {
            assert_eq!(password(&format!("postgres://ada:{written}@db/sixty")), meant);
            assert_eq!(parsed(&format!("postgres://ada:{written}@db/sixty")), "ada db 5432 sixty");
        }
    }

    #[test]
    fn an_invalid_url_is_refused_with_a_reason_and_without_its_values() {
        for (url, reason) in [
            ("c4n4ry", "must be a PostgreSQL URL"),
            ("mysql://ada:c4n4ry@db/sixty", "must be a PostgreSQL URL"),
            ("postgres:ada:c4n4ry", "must be a PostgreSQL URL"),
            ("postgres://ada:c4n4ry/x@db/sixty", "percent-encoded"),
            ("postgres://ada:c4n4ry?x@db/sixty", "percent-encoded"),
            ("postgres://ada:c4n4ry#x@db/sixty", "percent-encoded"),
            ("postgres://ada:1?c4n4ry=x@db/sixty", "percent-encoded"),
            ("postgres://ada:1/c4n4ry@db/sixty", "percent-encoded"),
            ("postgres://ada@db/sixty#c4n4ry", "must not contain #"),
            ("postgres://ada:%FFc4n4ry@db/sixty", "UTF-8"),
            ("postgres://ada:c4n4ry%00@db/sixty", "control characters"),
            ("postgres://ada@db:c4n4ry/sixty", "port must be a number"),
            ("postgres://ada@db:0/sixty", "port must be a number"),
            ("postgres://ada@db:65536/sixty", "port must be a number"),
            ("postgres://ada@::1/sixty", "must have brackets"),
            ("postgres://ada@[c4n4ry]/sixty", "only an IPv6 address"),
            ("postgres://ada@c4n4ry db/sixty", "host must be a name"),
            ("postgres://ada@one,two/sixty", "must name one host"),
            ("postgres://ada@one:1,two:2/sixty?target_session_attrs=read-write", "must name one host"),
            ("postgres:///sixty?host=one,two", "must name one host"),
            ("postgres://ada@db/sixty/c4n4ry", "one database"),
            ("postgres://ada@db/sixty?Password=c4n4ry", "the parameter Password is not supported"),
            (
                "postgres://ada@db/sixty?target_session_attrs=c4n4ry",
                "the parameter target_session_attrs is not supported",
            ),
            ("postgres://ada@db/sixty?channel_binding=c4n4ry", "the parameter channel_binding is not supported"),
            ("postgres://ada@db/sixty?sslmode=c4n4ry", "sslmode must be one of"),
            ("postgres://ada@db/sixty?sslrootcert=system", "sslrootcert=system is not supported"),
            ("postgres://ada@db/sixty?hostaddr=c4n4ry", "hostaddr must be an IP address"),
            ("postgres://ada@db/sixty?port=c4n4ry", "port must be a number"),
            ("postgres://ada@db/sixty?statement-cache-capacity=c4n4ry", "statement-cache-capacity must be"),
            ("postgres://ada@db/sixty?sslmode", "must have a value"),
        ] {
            let error = parse(url).map(drop).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
            assert!(!error.contains("c4n4ry"), "{url}: {error}");
        }
    }
}
