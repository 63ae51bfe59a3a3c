//! The mails that the service sends, by name, and the variables of their templates.

/// A mail that the service sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MailName {
    Code,
    ExistingAccount,
    Activated,
    ActivatedByOperator,
    PasswordChanged,
    ResetCode,
    PasswordReset,
    AddressCode,
    AddressTaken,
    AddressChange,
    AddressRestored,
}

/// The variables of a mail with a code.
const CODE: [&str; 4] = ["code", "spelled", "ttl", "ttl_seconds"];

impl MailName {
    pub const ALL: [Self; 11] = [
        Self::Code,
        Self::ExistingAccount,
        Self::Activated,
        Self::ActivatedByOperator,
        Self::PasswordChanged,
        Self::ResetCode,
        Self::PasswordReset,
        Self::AddressCode,
        Self::AddressTaken,
        Self::AddressChange,
        Self::AddressRestored,
    ];

    /// The name of its templates: `code` stands for `code.html`, `code.txt` and `code.subject.txt`.
    pub fn as_str(self) -> &'static str {
        self.definition().0
    }

    /// Its built-in templates: text and HTML.
    pub(super) fn built_in(self) -> (&'static str, &'static str) {
        let (_, text, html) = self.definition();
        (text, html)
    }

    /// The variables that its templates have, besides those of all templates.
    pub fn variables(self) -> Vec<&'static str> {
        match self {
            Self::Code => [&CODE[..], &["link"]].concat(),
            Self::ResetCode | Self::AddressCode => CODE.to_vec(),
            Self::ExistingAccount => vec!["link"],
            Self::AddressChange => vec!["link", "lifetime"],
            Self::Activated
            | Self::ActivatedByOperator
            | Self::PasswordChanged
            | Self::PasswordReset
            | Self::AddressTaken
            | Self::AddressRestored => vec![],
        }
    }

    fn definition(self) -> (&'static str, &'static str, &'static str) {
        macro_rules! built_in {
            ($name:literal) => {
                (
                    $name,
                    include_str!(concat!("templates/", $name, ".txt")),
                    include_str!(concat!("templates/", $name, ".html")),
                )
            };
        }
        match self {
            Self::Code => built_in!("code"),
            Self::ExistingAccount => built_in!("existing_account"),
            Self::Activated => built_in!("activated"),
            Self::ActivatedByOperator => built_in!("activated_by_operator"),
            Self::PasswordChanged => built_in!("password_changed"),
            Self::ResetCode => built_in!("reset_code"),
            Self::PasswordReset => built_in!("password_reset"),
            Self::AddressCode => built_in!("address_code"),
            Self::AddressTaken => built_in!("address_taken"),
            Self::AddressChange => built_in!("address_change"),
            Self::AddressRestored => built_in!("address_restored"),
        }
    }
}
