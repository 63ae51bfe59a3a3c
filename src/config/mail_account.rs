//! The accounts at mail providers, from the settings.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{CredentialArgs, InvalidSetting, MailDialect, MailjetArgs, ProviderArgs};
use crate::mail::brevo::Brevo;
use crate::mail::dialect::Dialect;
use crate::mail::mailjet::Mailjet;
use crate::mail::mailpit::Mailpit;
use crate::mail::postmark::Postmark;
use crate::mail::provider::Role;
use crate::mail::resend::Resend;
use crate::mail::sendgrid::SendGrid;

/// An account at a mail provider.
#[derive(Clone)]
pub struct MailAccount {
    pub url: Url,
    pub dialect: Arc<dyn Dialect>,
}

/// Returns the accounts at the first provider and at the fallback.
///
/// # Errors
/// A chosen provider has no credentials, or both accounts are the same.
pub(super) fn accounts(
    provider: ProviderArgs,
    first: MailDialect,
    credentials: CredentialArgs,
) -> Result<(MailAccount, Option<MailAccount>), InvalidSetting> {
    let ProviderArgs { mail_url, mail_fallback_url, mail_fallback_dialect } = provider;
    let account = |url, kind, role| dialect(kind, &credentials, role).map(|dialect| MailAccount { url, dialect });
    let fallback = match mail_fallback_url.zip(mail_fallback_dialect) {
        None => None,
        Some((url, MailDialect::Mailpit)) if first == MailDialect::Mailpit && url == mail_url => {
            return Err(InvalidSetting::new("MAIL_FALLBACK_URL", "must differ from MAIL_URL"));
        }
        // One dialect has one set of credentials.
        Some((_, kind)) if kind == first && kind != MailDialect::Mailpit => {
            let reason = "must differ from MAIL_DIALECT, or both providers would be the same account";
            return Err(InvalidSetting::new("MAIL_FALLBACK_DIALECT", reason));
        }
        Some((url, kind)) => Some(account(url, kind, Role::Fallback)?),
    };
    Ok((account(mail_url, first, Role::First)?, fallback))
}

fn dialect(kind: MailDialect, credentials: &CredentialArgs, role: Role) -> Result<Arc<dyn Dialect>, InvalidSetting> {
    let given = |setting, value: &Option<SecretString>, name: &str| {
        let value = value.clone().filter(|value| !value.expose_secret().is_empty());
        let reason = || format!("must be set if {} is {name}", role.dialect_setting());
        value.ok_or_else(|| InvalidSetting::new(setting, reason()))
    };
    let CredentialArgs { mailjet, postmark_server_token, brevo_api_key, sendgrid_api_key, resend_api_key } =
        credentials;
    Ok(match kind {
        MailDialect::Mailpit => Arc::new(Mailpit),
        MailDialect::Mailjet => {
            let MailjetArgs { mailjet_api_key: key, mailjet_api_secret: secret } = mailjet;
            let key = given("MAILJET_API_KEY", key, "mailjet")?.expose_secret().to_owned();
            Arc::new(Mailjet { key, secret: given("MAILJET_API_SECRET", secret, "mailjet")? })
        }
        MailDialect::Postmark => {
            Arc::new(Postmark { server_token: given("POSTMARK_SERVER_TOKEN", postmark_server_token, "postmark")? })
        }
        MailDialect::Brevo => Arc::new(Brevo { api_key: given("BREVO_API_KEY", brevo_api_key, "brevo")? }),
        MailDialect::Sendgrid => {
            Arc::new(SendGrid { api_key: given("SENDGRID_API_KEY", sendgrid_api_key, "sendgrid")? })
        }
        MailDialect::Resend => Arc::new(Resend { api_key: given("RESEND_API_KEY", resend_api_key, "resend")? }),
    })
}
