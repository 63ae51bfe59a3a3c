//! Parses `DATABASE_URL`.

use std::net::IpAddr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::postgres::PgConnectOptions;

use crate::store::url::{InvalidUrl, StoreUrl, decode, host_and_port};

const EXPECTED: &str = "must be a PostgreSQL URL, such as postgres://user:password@host:5432/database";

const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
/// Of several hosts, the service always uses the one that accepts changes.
const TARGET: &str = "target_session_attrs";
/// The parameters that may be lists.
const IN_LISTS: [&str; 3] = ["host", "hostaddr", "port"];
/// The parameters, as in libpq, and one of the driver.
const PARAMETERS: [&str; 14] = [
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
    TARGET,
    "statement-cache-capacity",
];

/// Parses the URL, and returns how to connect to each host. What it leaves out comes from the `PG…` variables, the password
/// file, and the defaults of libpq.
pub(super) fn parse(url: &str) -> Result<Vec<PgConnectOptions>, InvalidUrl> {
    let url = StoreUrl::split(url, EXPECTED)?;
    if !["postgres", "postgresql"].contains(&&*url.scheme) {
        return Err(InvalidUrl::new(EXPECTED));
    }
    if url.fragment.is_some() {
        return Err(InvalidUrl::new("must not contain #; in a user or password, write %23"));
    }
    let database = url.path.strip_suffix('/').unwrap_or(url.path);
    if database.contains('/') {
        return Err(InvalidUrl::new("must have one database after the host, as in host/database"));
    }
    let database = Some(decode(database)?).filter(|database| !database.is_empty());
    let parts = [("user", url.user.clone()), ("password", url.password.clone()), ("dbname", database)];
    let mut parameters: Vec<_> =
        parts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    for (name, value) in &url.parameters {
        let name = known_name(name).ok_or_else(|| url.unknown_parameter(name, &PARAMETERS))?;
        check(name, value)?;
        if !IN_LISTS.contains(&name) && name != TARGET {
            parameters.push((name.to_owned(), value.clone()));
        }
    }
    // The driver's parser reads the password file too. In the query, it accepts any value.
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let hosts = hosts(&url)?.into_iter().map(|host| {
        let of_host = host.iter().map(|(name, value)| (*name, &**value));
        let of_all = parameters.iter().map(|(name, value)| (&**name, &**value));
        let query = of_host.chain(of_all).map(|(name, value)| format!("{}={}", encode(name), encode(value)));
        let known = format!("postgres:?{}", query.collect::<Vec<_>>().join("&"));
        known.parse().map_err(|_| InvalidUrl::new(EXPECTED))
    });
    hosts.collect()
}

/// Returns the parameters of each host. As in libpq, lists of hosts, addresses and ports have commas between their elements,
/// and one port may apply to all hosts.
fn hosts(url: &StoreUrl<'_>) -> Result<Vec<Vec<(&'static str, String)>>, InvalidUrl> {
    let (mut hosts, mut ports) = (vec![], vec![]);
    for host in url.hosts.split(',') {
        let (host, port) = host_and_port(host)?;
        hosts.push(host.unwrap_or_default());
        ports.push(port.map(|port| port.to_string()).unwrap_or_default());
    }
    let mut lists = [("host", hosts), ("hostaddr", vec![]), ("port", ports)];
    for (name, list) in &mut lists {
        if let Some((_, value)) = url.parameters.iter().rfind(|(written, _)| written == name) {
            *list = value.split(',').map(str::to_owned).collect();
        }
    }
    let count = lists[..2].iter().map(|(_, list)| list.len()).max().unwrap_or(1);
    let has_wrong_length = |(name, list): &(&str, Vec<String>)| match list.len() {
        0 => false,
        1 => *name != "port" && count > 1,
        length => length != count,
    };
    if lists.iter().any(has_wrong_length) {
        return Err(InvalidUrl::new("must have as many ports as hosts, or one port"));
    }
    let of_host = |place: usize| {
        let element = |list: &Vec<String>| list.get(place).or(list.first()).filter(|value| !value.is_empty()).cloned();
        lists.iter().filter_map(|(name, list)| Some((*name, element(list)?))).collect()
    };
    Ok((0..count).map(of_host).collect())
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
    let is_number = |text: &str, least, most| text.parse().is_ok_and(|number: u32| (least..=most).contains(&number));
    let problem = match name {
        "sslmode" if !SSL_MODES.contains(&value) => format!("sslmode must be one of: {}", SSL_MODES.join(", ")),
        "sslrootcert" if value == "system" => {
            "sslrootcert=system is not supported; without sslrootcert, the usual certificate authorities apply"
                .to_owned()
        }
        "hostaddr" if value.split(',').any(|address| address.parse::<IpAddr>().is_err()) => {
            "hostaddr must be an IP address, such as 192.0.2.1".to_owned()
        }
        "port" if !value.split(',').all(|port| is_number(port, 1, 65_535)) => {
            "port must be a number from 1 to 65535".to_owned()
        }
        TARGET if !["read-write", "primary"].contains(&value) => {
            "target_session_attrs must be read-write: the service uses the server that accepts changes".to_owned()
        }
        "statement-cache-capacity" if !is_number(value, 0, 1_000_000) => {
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
        let hosts = parse(url).unwrap_or_else(|error| panic!("{url}: {error}")).into_iter().map(|options| {
            let host = options.get_socket().map_or(options.get_host().to_owned(), |path| path.display().to_string());
            let database = options.get_database().unwrap_or("-");
            format!("{} {host} {} {database}", options.get_username(), options.get_port())
        });
        hosts.collect::<Vec<_>>().join(", ")
    }

    fn password(url: &str) -> String {
        let options = parse(url).unwrap_or_else(|error| panic!("{url}: {error}")).remove(0);
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
    fn a_url_may_name_several_hosts() {
        for (url, expected) in [
            ("postgres://ada@one,two/sixty", "ada one 5432 sixty, ada two 5432 sixty"),
            ("postgres://ada@one:1,[::1]:2/sixty?target_session_attrs=read-write", "ada one 1 sixty, ada ::1 2 sixty"),
            ("postgres:///sixty?host=one,/run&user=ada&port=6432", "ada one 6432 sixty, ada /run 6432 sixty"),
            ("postgres:///sixty?host=one,two&user=ada&port=1,2", "ada one 1 sixty, ada two 2 sixty"),
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
            ("postgres://ada@one,two,three/sixty?port=1,2", "as many ports as hosts"),
            ("postgres://ada@one,two/sixty?hostaddr=192.0.2.1", "as many ports as hosts"),
            ("postgres://ada@one,two/sixty?target_session_attrs=any", "must be read-write"),
            ("postgres://ada@db/sixty/c4n4ry", "one database"),
            ("postgres://ada@db/sixty?Password=c4n4ry", "the parameter Password is not supported"),
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
