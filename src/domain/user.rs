//! A user: its id, status and role.

use thiserror::Error;
use time::OffsetDateTime;
use uuid::Uuid;

use super::locale::Locale;

/// Id of a user: a UUIDv7 (RFC 9562). Every registration gets a new id, so the code of an earlier one never matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub Uuid);

impl std::fmt::Display for UserId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Registered, but the address is not verified yet.
    Pending,
    Active,
    /// Disabled by an operator.
    Disabled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    User,
    Admin,
}

#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    /// As typed at registration.
    pub email: String,
    pub status: Status,
    pub role: Role,
    pub created_at: OffsetDateTime,
    /// `None` exactly while the status is pending.
    pub activated_at: Option<OffsetDateTime>,
    /// The language of mails. `None`: the service's default language.
    pub locale: Option<Locale>,
}

/// Hides the address, so that no log line leaks it.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("status", &self.status).finish_non_exhaustive()
    }
}

/// The store contains a status or role that this version does not know.
#[derive(Debug, Error)]
#[error("unknown {what}")]
pub struct UnknownWord {
    what: &'static str,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

impl std::str::FromStr for Status {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "pending" => Ok(Self::Pending),
            "active" => Ok(Self::Active),
            "disabled" => Ok(Self::Disabled),
            _ => Err(UnknownWord { what: "status" }),
        }
    }
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "user" => Ok(Self::User),
            "admin" => Ok(Self::Admin),
            _ => Err(UnknownWord { what: "role" }),
        }
    }
}
