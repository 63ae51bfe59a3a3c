//! Where everything is that `sixty dev` runs: as settings, as shell assignments, and on the screen.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::CliError;
use crate::config::{
    Config, DialectChoice, ExistingChoice, ListenArgs, MailjetArgs, ProviderArgs, ServeArgs, ServiceArgs,
    StorageChoice, StoreArgs,
};
use crate::rng::Rng;

pub(super) struct Addresses {
    pub api: SocketAddr,
    pub mail: SocketAddr,
    pub ops: SocketAddr,
    pub database_url: String,
    pub redis_url: String,
}

impl Addresses {
    pub fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    fn mail_url(&self) -> String {
        format!("http://{}", self.mail)
    }

    pub fn config(&self, service: ServiceArgs) -> Result<Config, CliError> {
        let stores = StoreArgs {
            database_url: self.database_url.as_str().into(),
            redis_url: self.redis_url.as_str().into(),
            migrate: true,
        };
        let mail_url = self.mail_url().parse().expect("an address is the authority of a URL");
        // Mails lead here, whatever the environment says of another service.
        let public_url = Some(self.api_url().parse().expect("an address is the authority of a URL"));
        let listen = ListenArgs { api_addr: self.api, ops_addr: self.ops, public_url, contact: None };
        Ok(Config::new(ServeArgs { listen, stores, provider: ProviderArgs { mail_url }, service })?)
    }

    /// Shell assignments: where everything is, and every setting by which a second `sixty serve` joins.
    pub fn environment(&self, service: &ServiceArgs) -> String {
        let codes = &service.codes;
        let secret = codes.code_secret.as_ref().map_or("", |secret| secret.expose_secret().trim());
        let storage = match codes.code_storage {
            StorageChoice::Plain => "plain",
            StorageChoice::Hmac => "hmac",
        };
        let existing_account = match service.registrations.existing_account {
            ExistingChoice::Hide => "hide",
            ExistingChoice::Reveal => "reveal",
        };
        let dialect = match service.mail.mail_dialect {
            DialectChoice::Mailpit => "mailpit",
            DialectChoice::Mailjet => "mailjet",
        };
        let clients = &service.clients;
        let mut assignments = vec![
            ("API_URL", self.api_url()),
            ("MAIL_URL", self.mail_url()),
            ("MAIL_DIALECT", dialect.to_owned()),
            ("OPS_URL", format!("http://{}", self.ops)),
            ("PUBLIC_URL", self.api_url()),
            ("DATABASE_URL", self.database_url.clone()),
            ("REDIS_URL", self.redis_url.clone()),
            ("REDIS_PREFIX", service.limits.redis_prefix.clone()),
            ("CODE_SECRET", secret.to_owned()),
            ("CODE_STORAGE", storage.to_owned()),
            ("CODE_TTL", time(codes.code_ttl)),
            ("CODE_WAIT", time(codes.code_wait)),
            ("CODE_WAIT_MAX", time(codes.code_wait_max)),
            ("CODE_WAIT_RESET", time(codes.code_wait_reset)),
            ("CODE_DIGITS", codes.code_digits.to_string()),
            ("SHORT_CODES_PER_YEAR", codes.short_codes_per_year.to_string()),
            ("EXISTING_ACCOUNT", existing_account.to_owned()),
            ("PENDING_TTL", time(service.registrations.pending_ttl)),
            ("PASSWORD_MIN_LENGTH", service.passwords.password_min_length.to_string()),
            ("CLIENT_LIMITS", clients.client_limits.to_string()),
            ("CLIENT_CODES_PER_HOUR", clients.client_codes_per_hour.to_string()),
            ("CLIENT_MISSES_PER_HOUR", clients.client_misses_per_hour.to_string()),
            ("FLOOD_MISSES_PER_MINUTE", clients.flood_misses_per_minute.to_string()),
            ("ARGON2_MEMORY_KIB", service.passwords.argon2_memory_kib.to_string()),
            ("ARGON2_PASSES", service.passwords.argon2_passes.to_string()),
            ("ARGON2_LANES", service.passwords.argon2_lanes.to_string()),
        ];
        let MailjetArgs { mailjet_api_key, mailjet_api_secret } = &service.mail.mailjet;
        if let (Some(key), Some(secret)) = (mailjet_api_key, mailjet_api_secret) {
            assignments.push(("MAILJET_API_KEY", key.clone()));
            assignments.push(("MAILJET_API_SECRET", secret.expose_secret().to_owned()));
        }
        assignments.iter().fold(String::new(), |mut lines, (name, value)| {
            writeln!(lines, "{name}={}", quoted(value)).expect("writing to a string does not fail");
            lines
        })
    }

    pub fn screen(&self, env_file: &Path) -> String {
        let (api, mail) = (self.api_url(), self.mail_url());
        // A person who is new each time: the accounts of earlier runs are still there.
        let letters = Rng::from_system().bytes::<4>().map(|byte| char::from(b'a' + byte % 26));
        let ada = format!("ada.{}@example.com", String::from_iter(letters));
        format!(
            r#"
  Sixty is ready.

  API         {api}           documentation: {api}/docs
  Inbox       {mail}
  Metrics     http://{ops}/metrics
  PostgreSQL  {postgres}
  Redis       {redis}
  All of it as shell assignments: {env_file}

  Register, read the code from the mail, activate:

  curl -i {api}/v1/users -H 'Content-Type: application/json' -d '{{"email":"{ada}","password":"correct horse battery"}}'
  CODE=$(curl -s '{mail}/api/v1/search?query=to:{ada}' | grep -o 'code is [0-9]*' | head -n 1 | grep -o '[0-9]*')
  curl -i -u '{ada}:correct horse battery' {api}/v1/users/me/activation -H 'Content-Type: application/json' -d "{{\"code\":\"$CODE\"}}"

  Ctrl-C stops everything.

"#,
            ops = self.ops,
            postgres = self.database_url,
            redis = self.redis_url,
            env_file = env_file.display(),
        )
    }
}

/// As one word of a shell, without quotes where none are needed, for those who read the file without one.
fn quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.,:/@%+=".contains(&byte);
    if value.bytes().all(plain) { value.to_owned() } else { format!("'{}'", value.replace('\'', r"'\''")) }
}

fn time(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}
