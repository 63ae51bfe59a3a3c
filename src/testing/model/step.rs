//! The steps that model-based tests perform.

use std::time::Duration;

/// One step of a sequence. `address` and `password` are indices: there are two addresses and two passwords.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    Register {
        address: usize,
        password: usize,
    },
    /// A registration with the latest ticket that a "this was not me" report returned for either address.
    RegisterByTicket {
        address: usize,
        password: usize,
        /// Whether the ticket was issued for this address.
        own: bool,
    },
    Resend {
        address: usize,
        password: usize,
    },
    /// A guess at the address's latest mailed code.
    Guess {
        address: usize,
        password: usize,
        right: bool,
    },
    /// The mail worker sends all queued mails. A mail that was sent before is sent again, as after a lost response.
    SendMails,
    /// Time passes.
    Wait(Duration),
    /// The account's other password becomes its password.
    ChangePassword {
        address: usize,
        password: usize,
    },
    /// Somebody asks for a reset of the account's password.
    RequestReset {
        address: usize,
    },
    /// A guess at the address's latest reset code, for a new password.
    GuessReset {
        address: usize,
        password: usize,
        right: bool,
    },
    Delete {
        address: usize,
        password: usize,
    },
    /// An operator disables the account, or makes it active again.
    SetDisabled {
        address: usize,
        disabled: bool,
    },
    /// The "this was not me" link of the latest or the first mail to the address is used.
    ReportNotMe {
        address: usize,
        latest: bool,
    },
    Purge,
    /// Redis loses all codes and wrong guesses.
    LoseCodes,
}

impl Step {
    /// Maps any number to a step, so that a generator of numbers generates sequences of steps.
    ///
    /// Most steps use the first address and its first password. Otherwise the steps of a sequence rarely interact.
    pub fn from_number(number: u32) -> Self {
        let (kind, rest) = (number % 32, (number / 32) as usize);
        let (address, password) = (usize::from(rest % 5 == 0), usize::from(rest / 5 % 5 == 0));
        match kind {
            0 | 1 => Self::Register { address, password },
            2 | 3 => Self::Resend { address, password },
            4..10 => Self::Guess { address, password, right: false },
            10 => Self::RequestReset { address },
            11 => Self::GuessReset { address, password, right: false },
            12 => Self::GuessReset { address, password: rest % 2, right: true },
            13 => Self::ChangePassword { address, password },
            14 => Self::SetDisabled { address, disabled: rest % 3 == 0 },
            15 => Self::Guess { address, password, right: true },
            16..24 => Self::SendMails,
            24 => Self::Delete { address, password },
            25 => Self::ReportNotMe { address, latest: password == 0 },
            26 => Self::Purge,
            27 if rest % 4 == 0 => Self::LoseCodes,
            28 => Self::RegisterByTicket { address, password: 0, own: password == 0 },
            // Most waits are short: a long wait expires all codes, and the following steps test little.
            _ => {
                let (minute, hour, day) = (60, 60 * 60, 24 * 60 * 60);
                let seconds =
                    [10, 10, 10, 30, 30, 50, 60, 60, minute * 2, minute * 10, hour, 4 * hour, day, 7 * day, 365 * day];
                Self::Wait(Duration::from_secs(seconds[rest % seconds.len()]))
            }
        }
    }
}
