//! Pending registrations: activate one without its code, or mail another code.

use super::{UserSelector, failed, not_found, parse_address};
use crate::accounts::errors::OperatorError;
use crate::accounts::operator;
use crate::accounts::ports::Users as _;
use crate::cli::error::CliError;
use crate::domain::user::{Status, User};
use crate::http::problem::whole_seconds;
use crate::rng::Rng;
use crate::store::postgres::users::PgUsers;

pub(super) async fn activate(users: &PgUsers, selector: &UserSelector) -> Result<User, CliError> {
    let user = find(users, selector).await?;
    operator::activate(users, user.id, None).await.map_err(refused)
}

pub(super) async fn resend(users: &PgUsers, selector: &UserSelector) -> Result<User, CliError> {
    let user = find(users, selector).await?;
    operator::resend(users, user.id, Rng::from_system().nonce(), None).await.map_err(refused)?;
    Ok(user)
}

/// Returns the user of the id, or the pending registration of the address rather than its account.
async fn find(users: &PgUsers, selector: &UserSelector) -> Result<User, CliError> {
    if !selector.user.contains('@') {
        return selector.find(users).await;
    }
    let rows = users.find_by_address(&parse_address(&selector.user)?).await.map_err(failed)?;
    let row = rows.into_iter().min_by_key(|row| row.user.status != Status::Pending);
    row.map(|row| row.user).ok_or_else(not_found)
}

fn refused(error: OperatorError) -> CliError {
    CliError::Failed(match error {
        OperatorError::NotFound => return not_found(),
        OperatorError::AlreadyActive => "the account was activated before; it needs no code".to_owned(),
        OperatorError::Taken => {
            "the address has an account, so this registration cannot become one; delete one of the two first".to_owned()
        }
        OperatorError::TooSoon { left } => {
            format!("the next code for this address can be asked for in {} s", whole_seconds(left))
        }
        OperatorError::Store(error) => return failed(error),
    })
}
