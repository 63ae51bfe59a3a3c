//! `sixty users`: what operators do with users from a terminal, in the database alone: neither Redis nor a running service
//! is needed. Who may connect to the database may do all of it.

mod password;
mod show;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use super::{CliError, print};
use crate::accounts::errors::{DeleteError, UpdateError};
use crate::accounts::ports::{AccountChange, Cursor, DeletedBy, StoredUser, UserFilter, Users as _};
use crate::config::{BadSetting, PasswordArgs};
use crate::domain::email::{Address, Email};
use crate::domain::pacing::Pacing;
use crate::domain::password::Password;
use crate::domain::policy::Policy;
use crate::domain::user::{Role, Status, User, UserId};
use crate::passwords::{HashParams, Hasher, PasswordHash, Salt};
use crate::rng::Rng;
use crate::store::postgres::users::{CreateError, PgUsers};
use crate::store::postgres::{Postgres, PostgresConfig, State};

#[derive(Args)]
pub struct UsersArgs {
    /// PostgreSQL: postgres://user:password@host/database
    ///
    /// With a port and TLS: host:5432/database?sslmode=verify-full
    #[arg(long, env, value_name = "URL")]
    database_url: Option<SecretString>,
    /// Print JSON, an object a line, for scripts
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make an active account, whose password is asked for
    ///
    /// Or read from standard input. You vouch for the address: no code is mailed to it. The first admin is made so, by
    /// --role admin
    Create {
        email: String,
        #[arg(long, value_name = "ROLE", default_value = "user", value_parser = ["user", "admin"])]
        role: String,
        #[command(flatten)]
        passwords: PasswordArgs,
    },
    /// List users, the newest first, pending ones too
    List {
        /// Only users with this status
        #[arg(long, value_parser = ["pending", "active", "disabled"])]
        status: Option<String>,
        /// Only users of this address, in any of its spellings
        #[arg(long)]
        email: Option<String>,
        /// How many at the most
        ///
        /// Without it 20, and with --json all
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },
    /// Show a user
    Show(Named),
    /// Close an account
    ///
    /// With the right credentials one is told so, and can do nothing else
    Disable(Named),
    /// Open an account that was closed
    Enable(Named),
    /// Delete a user for good
    Delete(Named),
    /// Make an account an admin's, or no longer
    SetRole {
        #[command(flatten)]
        user: Named,
        #[arg(value_parser = ["user", "admin"])]
        role: String,
    },
    /// Give an account another password, which is asked for
    ///
    /// Or read from standard input. A mail tells the owner
    SetPassword {
        #[command(flatten)]
        user: Named,
        #[command(flatten)]
        passwords: PasswordArgs,
    },
    /// Make many active accounts to try things out with
    ///
    /// They are user1@seed.example and so on. All have one random password, which is printed, and share one hash: hashing takes longer than all the rest
    Seed {
        /// How many
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        count: u32,
        #[command(flatten)]
        passwords: PasswordArgs,
    },
}

#[derive(Args)]
struct Named {
    /// The user's id or e-mail address; of an account and a registration beside it the address is the account's
    user: String,
}

/// Users that one query lists.
const PAGE: u32 = 1000;
/// Users that people are shown who did not say how many.
const FEW: u32 = 20;

pub async fn run(args: UsersArgs) -> Result<(), CliError> {
    let users = connect(args.database_url).await?;
    let show = |listed: &[User]| print(&if args.json { show::json(listed) } else { show::table(listed) });
    match args.action {
        Action::Create { email, role, passwords } => show(&[create(&users, &email, &role, &passwords).await?]),
        Action::List { status, email, limit } => {
            let status = status.map(|word| word.parse().expect("one of those that clap lets pass"));
            let address = email.map(|email| address(&email)).transpose()?;
            list(&users, &UserFilter { status, address }, limit, args.json).await
        }
        Action::Show(named) => show(&[named.find(&users).await?]),
        Action::Disable(named) => show(&[named.update(&users, disabled(true)).await?]),
        Action::Enable(named) => show(&[named.update(&users, disabled(false)).await?]),
        Action::SetRole { user, role } => {
            let role = Some(role.parse().expect("one of those that clap lets pass"));
            show(&[user.update(&users, AccountChange { role, disabled: None }).await?])
        }
        Action::SetPassword { user, passwords } => show(&[set_password(&users, &user, &passwords).await?]),
        Action::Delete(named) => {
            let user = named.find(&users).await?;
            match users.delete(user.id, DeletedBy::Operator).await {
                Ok(()) => show(&[user]),
                // The store never returns `Disabled` to an operator.
                Err(DeleteError::NotFound | DeleteError::Disabled) => Err(not_found()),
                Err(DeleteError::LastAdmin) => Err(last_admin()),
                Err(DeleteError::Store(error)) => Err(failed(error)),
            }
        }
        Action::Seed { count, passwords } => seed(&users, count, &passwords, args.json).await,
    }
}

async fn connect(url: Option<SecretString>) -> Result<PgUsers, CliError> {
    let setting = |reason: &str| BadSetting { name: "DATABASE_URL", reason: reason.to_owned() };
    let url = url.ok_or_else(|| setting("must be set"))?;
    let config = PostgresConfig { url, max_connections: 1, timeout: Duration::from_secs(10) };
    let postgres = Postgres::new(&config).map_err(|_| setting("must be a URL of PostgreSQL"))?;
    let migrations = postgres.migrations().await.map_err(|error| CliError::Failed(error.to_string()))?;
    if migrations.iter().any(|migration| migration.state == State::Pending) {
        return Err(CliError::Failed("the migrations are not all applied: sixty migrate up".to_owned()));
    }
    // Nothing is granted here; what an address is granted later follows the settings of `serve`.
    Ok(PgUsers::new(postgres, Pacing::default()))
}

impl Named {
    async fn find(&self, users: &PgUsers) -> Result<User, CliError> {
        let found = if self.user.contains('@') {
            self.rows(users).await?.map(|row| row.user)
        } else {
            let id = Uuid::try_parse(&self.user).map_err(|_| bad("USER", "must be an id or an e-mail address"))?;
            users.find(UserId(id)).await.map_err(failed)?
        };
        found.ok_or_else(not_found)
    }

    /// That of the account, if there is one.
    async fn rows(&self, users: &PgUsers) -> Result<Option<StoredUser>, CliError> {
        let rows = users.find_by_address(&address(&self.user)?).await.map_err(failed)?;
        Ok(rows.into_iter().min_by_key(|row| row.user.status == Status::Pending))
    }

    async fn update(&self, users: &PgUsers, change: AccountChange) -> Result<User, CliError> {
        let user = self.find(users).await?;
        users.update(user.id, change).await.map_err(|error| match error {
            UpdateError::NotFound => not_found(),
            UpdateError::NotActive => not_active(),
            UpdateError::LastAdmin => last_admin(),
            UpdateError::Store(error) => failed(error),
        })
    }
}

/// Shows users as they are read, or as one table.
async fn list(users: &PgUsers, filter: &UserFilter, limit: Option<u32>, as_json: bool) -> Result<(), CliError> {
    // One more, to see whether there are more.
    let mut left = limit.unwrap_or(if as_json { u32::MAX } else { FEW + 1 });
    let (mut listed, mut after) = (vec![], None);
    loop {
        let asked = left.min(PAGE);
        let page = users.list(filter, after, asked).await.map_err(failed)?;
        after = page.last().map(Cursor::at);
        left -= page.len() as u32;
        let is_last = page.len() < asked as usize;
        if as_json {
            print(&show::json(&page))?;
        } else {
            listed.extend(page);
        }
        if is_last || left == 0 {
            break;
        }
    }
    if as_json {
        return Ok(());
    }
    let hidden = limit.is_none() && listed.len() > FEW as usize;
    if hidden {
        listed.truncate(FEW as usize);
    }
    print(&show::table(&listed))?;
    if hidden {
        eprintln!("and more: --limit N shows so many, --json all");
    }
    Ok(())
}

async fn create(users: &PgUsers, email: &str, role: &str, passwords: &PasswordArgs) -> Result<User, CliError> {
    let email = Email::parse(email).map_err(|error| bad("EMAIL", &error.to_string()))?;
    let role: Role = role.parse().expect("one of those that clap lets pass");
    let rng = Rng::from_system();
    let password = chosen(passwords, &email).await?;
    let standing = users.address_state(email.address()).await.map_err(failed)?;
    let fresh = HashParams { salt: Salt(rng.bytes()), cost: passwords.hash_cost()? };
    let hash = hashed(password, standing.params.unwrap_or(fresh)).await?;
    users.create(rng.user_id(), &email, &hash, role).await.map_err(|error| match error {
        CreateError::Taken => CliError::Failed("the address has an account already".to_owned()),
        CreateError::ParamsChanged => overtaken(),
        CreateError::Store(error) => failed(error),
    })
}

async fn set_password(users: &PgUsers, named: &Named, passwords: &PasswordArgs) -> Result<User, CliError> {
    let user = named.find(users).await?;
    match user.status {
        Status::Active => {}
        Status::Pending => return Err(not_active()),
        Status::Disabled => return Err(CliError::Failed("the account is disabled; enable it first".to_owned())),
    }
    let email = Email::parse(&user.email).map_err(|error| bad("EMAIL", &error.to_string()))?;
    let password = chosen(passwords, &email).await?;
    let rows = users.find_by_address(email.address()).await.map_err(failed)?;
    let row = rows.into_iter().find(|row| row.user.id == user.id).ok_or_else(not_found)?;
    let hash = hashed(password, row.hash.params).await?;
    if users.change_password(user.id, &row.hash, &hash, None).await.map_err(failed)? {
        Ok(user)
    } else {
        Err(overtaken())
    }
}

async fn seed(users: &PgUsers, count: u32, passwords: &PasswordArgs, as_json: bool) -> Result<(), CliError> {
    let rng = Rng::from_system();
    let password = URL_SAFE_NO_PAD.encode(rng.bytes::<12>());
    let params = HashParams { salt: Salt(rng.bytes()), cost: passwords.hash_cost()? };
    let hash = hashed(Password::present(&password).expect("letters and digits"), params).await?;
    let first = users.seeded().await.map_err(failed)? + 1;
    let progress = io::stderr().is_terminal();
    let made = |done: u32| {
        if progress {
            eprint!("\r{done} of {count}");
        }
    };
    let seeded = users.seed(first, count, &hash, made).await;
    if progress {
        eprintln!();
    }
    seeded.map_err(failed)?;
    let (first, last) = (format!("user{first}@seed.example"), format!("user{}@seed.example", first + count - 1));
    print(&if as_json {
        json!({ "count": count, "first": first, "last": last, "password": password }).to_string() + "\n"
    } else {
        format!("{count} active accounts, {first} to {last}\nAll have the password {password} and share one hash.\n")
    })
}

/// A new password under the policy of registration.
async fn chosen(passwords: &PasswordArgs, email: &Email) -> Result<Password, CliError> {
    let policy = Policy { password_min: usize::from(passwords.password_min_length), ..Policy::default() };
    let text = password::read().await?;
    policy.password(&text, Some(email)).map_err(|error| CliError::Failed(format!("the password {error}")))
}

async fn hashed(password: Password, params: HashParams) -> Result<PasswordHash, CliError> {
    let hasher = Hasher::start(params.cost, 1, Duration::MAX);
    hasher.hash(password, params).await.map_err(failed)
}

fn address(text: &str) -> Result<Address, CliError> {
    let email = Email::parse(text).map_err(|error| bad("EMAIL", &error.to_string()))?;
    Ok(email.address().clone())
}

fn disabled(disabled: bool) -> AccountChange {
    AccountChange { disabled: Some(disabled), role: None }
}

fn bad(name: &'static str, reason: &str) -> CliError {
    BadSetting { name, reason: reason.to_owned() }.into()
}

fn failed(error: impl std::error::Error) -> CliError {
    CliError::Failed(error.to_string())
}

fn not_found() -> CliError {
    CliError::Failed("no user has this id or address".to_owned())
}

fn not_active() -> CliError {
    CliError::Failed("the user is pending: only the code in its mail can activate it".to_owned())
}

fn last_admin() -> CliError {
    CliError::Failed("this is the only active admin; make another one first: sixty users set-role".to_owned())
}

fn overtaken() -> CliError {
    CliError::Failed("the account was changed at the same time; nothing was changed here, so try again".to_owned())
}
