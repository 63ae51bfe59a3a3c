//! The addresses of everything that `sixty dev` runs: as a configuration, as shell assignments, and as text for the
//! terminal.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use secrecy::ExposeSecret as _;

use super::error::CliError;
use crate::config::{
    Config, CredentialArgs, DatabaseArgs, ListenArgs, ProviderArgs, ServeArgs, ServiceArgs, StoreArgs,
};
use crate::rng::Rng;

/// Addresses of the servers that `sixty dev` runs.
pub(super) struct DevAddresses {
    pub api: SocketAddr,
    pub mail: SocketAddr,
    pub ops: SocketAddr,
    pub database_url: String,
    pub redis_url: String,
}

impl DevAddresses {
    pub fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    fn mail_url(&self) -> String {
        format!("http://{}", self.mail)
    }

    /// Builds the configuration of the service.
    pub fn config(&self, service: ServiceArgs) -> Result<Config, CliError> {
        let stores = StoreArgs {
            database: DatabaseArgs::new(&self.database_url),
            redis_url: self.redis_url.as_str().into(),
            migrate: true,
        };
        let mail_url = self.mail_url().parse().expect("a socket address is a valid URL authority");
        let provider = ProviderArgs { mail_url, mail_fallback_url: None, mail_fallback_dialect: None };
        // PUBLIC_URL of the environment may belong to another service; links in mails must lead to this one.
        let public_url = Some(self.api_url().parse().expect("a socket address is a valid URL authority"));
        let [api_addr, ops_addr] = [self.api, self.ops]
            .map(|addr| addr.to_string().parse().expect("a socket address is an address to listen on"));
        let listen = ListenArgs { api_addr, ops_addr, public_url };
        Ok(Config::new(ServeArgs { listen, stores, provider, service })?)
    }

    /// Returns shell assignments: the addresses, and all settings that a second `sixty serve` on the same stores needs.
    pub fn environment(&self, service: &ServiceArgs) -> String {
        let codes = &service.codes;
        let secret = codes.code_secret.as_ref().map_or("", |secret| secret.expose_secret().trim());
        let clients = &service.clients;
        let mut assignments = vec![
            ("API_URL", self.api_url()),
            ("MAIL_URL", self.mail_url()),
            ("MAIL_DIALECT", choice(service.mail.mail_dialect)),
            ("OPS_URL", format!("http://{}", self.ops)),
            ("PUBLIC_URL", self.api_url()),
            ("DATABASE_URL", self.database_url.clone()),
            ("REDIS_URL", self.redis_url.clone()),
            ("REDIS_PREFIX", service.limits.redis_prefix.clone()),
            ("CODE_SECRET", secret.to_owned()),
            ("CODE_STORAGE", choice(codes.code_storage)),
            ("CODE_TTL", time(codes.code_ttl)),
            ("CODE_WAIT", time(codes.code_wait)),
            ("CODE_WAIT_MAX", time(codes.code_wait_max)),
            ("CODE_WAIT_RESET", time(codes.code_wait_reset)),
            ("CODE_DIGITS", codes.code_digits.to_string()),
            ("RESET_CODE_TTL", time(codes.reset_code_ttl)),
            ("RESET_CODE_DIGITS", codes.reset_code_digits.to_string()),
            ("SHORT_CODES_PER_YEAR", codes.short_codes_per_year.to_string()),
            ("MAILBOX_CODES_PER_HOUR", codes.mailbox_codes_per_hour.to_string()),
            ("MAILBOX_CODES_PER_DAY", codes.mailbox_codes_per_day.to_string()),
            ("SERVICE_NAME", service.brand.service_name.clone()),
            ("DEFAULT_LOCALE", service.brand.default_locale.to_string()),
            ("REGISTRATION", choice(service.registrations.registration)),
            ("EMAIL_DOMAINS", service.registrations.email_domains.clone().unwrap_or_default().to_string()),
            ("EXISTING_ACCOUNT", choice(service.registrations.existing_account)),
            ("PENDING_TTL", time(service.registrations.pending_ttl)),
            ("PASSWORD_MIN_LENGTH", service.passwords.password_min_length.to_string()),
            ("CLIENT_LIMITS", clients.client_limits.to_string()),
            ("CLIENT_CODES_PER_HOUR", clients.client_codes_per_hour.to_string()),
            ("CLIENT_MISSES_PER_HOUR", clients.client_misses_per_hour.to_string()),
            ("CLIENT_PENDING_PER_HOUR", clients.client_pending_per_hour.to_string()),
            ("FLOOD_MISSES_PER_MINUTE", clients.flood_misses_per_minute.to_string()),
            ("ARGON2_MEMORY_KIB", service.passwords.argon2_memory_kib.to_string()),
            ("ARGON2_PASSES", service.passwords.argon2_passes.to_string()),
            ("ARGON2_LANES", service.passwords.argon2_lanes.to_string()),
        ];
        let CredentialArgs { mailjet, postmark_server_token, brevo_api_key, sendgrid_api_key, resend_api_key } =
            &service.mail.credentials;
        let credentials = [
            ("MAILJET_API_KEY", &mailjet.mailjet_api_key),
            ("MAILJET_API_SECRET", &mailjet.mailjet_api_secret),
            ("POSTMARK_SERVER_TOKEN", postmark_server_token),
            ("BREVO_API_KEY", brevo_api_key),
            ("SENDGRID_API_KEY", sendgrid_api_key),
            ("RESEND_API_KEY", resend_api_key),
        ];
        for (name, credential) in credentials {
            assignments.extend(credential.as_ref().map(|value| (name, value.expose_secret().to_owned())));
        }
        assignments.iter().fold(String::new(), |mut lines, (name, value)| {
            writeln!(lines, "{name}={}", shell_quote(value)).expect("writing to a string does not fail");
            lines
        })
    }

    /// Returns the text for the terminal: the addresses and three commands to try.
    pub fn welcome(&self, env_file: &Path) -> String {
        let (api, mail) = (self.api_url(), self.mail_url());
        // A random address, because the accounts of earlier runs still exist.
        let suffix = Rng::from_system().bytes::<4>().map(|byte| char::from(b'a' + byte % 26));
        let ada = format!("ada.{}@example.com", String::from_iter(suffix));
        format!(
            r#"
  Sixty is ready.

  API         {api}           documentation: {api}/docs
  Inbox       {mail}
  Metrics     http://{ops}/metrics
  PostgreSQL  {postgres}
  Redis       {redis}
  All addresses and settings as shell assignments: {env_file}

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

/// Quotes a value for the shell. Values without special characters stay unquoted for readers that are not a shell.
fn shell_quote(value: &str) -> String {
    let needs_no_quotes = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.,:/@%+=".contains(&byte);
    if value.bytes().all(needs_no_quotes) { value.to_owned() } else { format!("'{}'", value.replace('\'', r"'\''")) }
}

/// Returns the name of an enum value on the command line.
fn choice(value: impl ValueEnum) -> String {
    value.to_possible_value().expect("no variant is skipped").get_name().to_owned()
}

/// Formats a duration as a setting: in seconds, or in milliseconds if it is not a whole number of seconds.
fn time(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}
