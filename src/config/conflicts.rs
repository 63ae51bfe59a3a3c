//! The checks of settings that contradict each other. Each message names the other setting.

use std::time::Duration;

use super::{CodeArgs, HashArgs, InvalidSetting, LimitArgs, ListenArgs, MailArgs, RegistrationArgs};

/// # Errors
/// The first setting that contradicts another.
pub(super) fn check(
    listen: &ListenArgs,
    codes: &CodeArgs,
    registrations: &RegistrationArgs,
    hash: &HashArgs,
    mail: &MailArgs,
    limits: &LimitArgs,
) -> Result<(), InvalidSetting> {
    let refuse = |name, reason: &str| Err(InvalidSetting::new(name, reason));
    if listen.api_addr.overlaps(&listen.ops_addr) {
        return refuse("OPS_ADDR", "must have another port than API_ADDR, such as 127.0.0.1:9000");
    }
    if hash.auth_cache_ttl > Duration::from_secs(60 * 60) {
        return refuse("AUTH_CACHE_TTL", "must not be longer than 1h");
    }
    if codes.code_wait < codes.code_ttl {
        return refuse("CODE_WAIT", "must not be shorter than CODE_TTL, or a new code could replace a live one");
    }
    if codes.code_wait_max < codes.code_wait {
        return refuse("CODE_WAIT_MAX", "must not be shorter than CODE_WAIT");
    }
    if codes.code_wait_reset <= codes.code_wait_max {
        return refuse("CODE_WAIT_RESET", "must be longer than CODE_WAIT_MAX, or the wait for a code would never grow");
    }
    if codes.mailbox_codes_per_day < codes.mailbox_codes_per_hour {
        return refuse("MAILBOX_CODES_PER_DAY", "must not be less than MAILBOX_CODES_PER_HOUR");
    }
    // The worker renews its lease after each third of it. A call to Redis that starts after a renewal must end before
    // the lease does.
    if mail.mail_lease < Duration::from_secs(1) || mail.mail_lease <= limits.redis_timeout {
        let reason =
            "must be at least 1s and longer than REDIS_TIMEOUT, or a worker could lose its lease without noticing";
        return refuse("MAIL_LEASE", reason);
    }
    // Redis keeps the count of wrong guesses for an hour. Neither a live code nor a resend may outlast the count.
    for (name, time) in
        [("CODE_TTL", codes.code_ttl), ("RESET_CODE_TTL", codes.reset_code_ttl), ("MAIL_GIVE_UP", mail.mail_give_up)]
    {
        if time > Duration::from_secs(30 * 60) {
            return refuse(name, "must not be longer than 30m");
        }
    }
    if let Some(timeout) = mail.mail_timeout {
        if timeout > codes.code_ttl {
            return refuse(
                "MAIL_TIMEOUT",
                "must not be longer than CODE_TTL, or a mail could arrive after its code expired",
            );
        }
        if timeout > mail.mail_give_up {
            return refuse("MAIL_TIMEOUT", "must not be longer than MAIL_GIVE_UP");
        }
    }
    if registrations.pending_ttl < mail.mail_give_up + codes.code_ttl {
        let reason = "must not be shorter than MAIL_GIVE_UP plus CODE_TTL, or a registration could be deleted while its \
                      code is live";
        return refuse("PENDING_TTL", reason);
    }
    Ok(())
}
