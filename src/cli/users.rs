//! `sixty users`: user administration from a terminal. The commands need the database only, neither Redis nor a running
//! service. The database's own access control is the only authorization.

mod import;
mod password;
mod pending;
mod show;

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

use super::database;
use super::error::CliError;
use super::process::{print, print_error};
use crate::accounts::errors::{DeleteError, UpdateError};
use crate::accounts::ports::{AccountChange, Cursor, DeletedBy, StoredUser, UserFilter, Users as _};
use crate::config::values::number;
use crate::config::{CodeArgs, DatabaseArgs, InvalidSetting, PasswordArgs};
use crate::domain::code::CodeSecret;
use crate::domain::email::{Address, Email};
use crate::domain::network::Network;
use crate::domain::pacing::Pacing;
use crate::domain::password::Password;
use crate::domain::policy::Policy;
use crate::domain::user::{Role, Status, User, UserId};
use crate::passwords::{HashParams, Hasher, PasswordHash, Salt};
use crate::rng::Rng;
use crate::store::postgres::State;
use crate::store::postgres::users::{CreateError, PgUsers};

#[derive(Args)]
pub struct UsersArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Create an active account; prompts for its password
    ///
    /// Reads the password from standard input if that is not a terminal. Sends no mail: you confirm that the address is
    /// right. A pending registration of the address can then no longer become an account. Create the first admin with
    /// --role admin
    Create {
        /// E-mail address of the account
        email: String,
        /// Role of the account
        #[arg(long, value_name = "ROLE", default_value = "user", value_parser = ["user", "admin"])]
        role: String,
        #[command(flatten)]
        passwords: PasswordArgs,
    },
    /// List users, including pending ones, newest first
    List {
        /// Only users with this status
        #[arg(long, value_parser = ["pending", "active", "disabled"])]
        status: Option<String>,
        /// Only users with this address, in any spelling of it
        #[arg(long)]
        email: Option<String>,
        /// Maximum number of users
        ///
        /// Default: 20, or all with --json
        #[arg(long, value_name = "N", value_parser = number::<u32>(1..))]
        limit: Option<u32>,
    },
    /// Show a user
    Show(UserSelector),
    /// Activate a pending registration without its code
    ///
    /// The account keeps the password that the person chose. You confirm that the address is right. A mail informs the
    /// person
    Activate(UserSelector),
    /// Mail another code to a pending user
    ///
    /// Needs the settings of the codes as `serve` has them, with CODE_SECRET. The wait between two codes holds here, too. A
    /// running `serve` sends the mail
    Resend {
        #[command(flatten)]
        user: UserSelector,
        #[command(flatten)]
        codes: Box<CodeArgs>,
    },
    /// Disable an account
    ///
    /// Its owner can no longer use it. A login with the right password gets an answer that says so
    Disable(UserSelector),
    /// Enable a disabled account
    Enable(UserSelector),
    /// Delete a user permanently
    Delete(UserSelector),
    /// Make an account an admin or an ordinary user
    SetRole {
        #[command(flatten)]
        user: UserSelector,
        /// New role of the account
        #[arg(value_parser = ["user", "admin"])]
        role: String,
    },
    /// Set the password of an account; prompts for it
    ///
    /// Reads the password from standard input if that is not a terminal. A mail informs the owner
    SetPassword {
        #[command(flatten)]
        user: UserSelector,
        #[command(flatten)]
        passwords: PasswordArgs,
    },
    /// Import accounts of another system, with their password hashes
    ///
    /// Each line is a JSON object {"email", "password_hash", "status", "created_at", "locale"}; the last three are optional.
    /// Accepts argon2, bcrypt and PBKDF2 hashes, which the next login of each person replaces by argon2id. Never changes an
    /// account that exists, so the command can be repeated. Sends no mails and records no events. Exit status 1 if a line was
    /// refused
    Import(import::ImportArgs),
    /// Create many active accounts as test data
    ///
    /// The addresses are user1@seed.example, user2@seed.example and so on. All accounts share one random password, which
    /// the command prints, and its hash: a hash for each account would take most of the time
    Seed {
        /// Number of accounts
        #[arg(long, value_name = "N", value_parser = number::<u32>(1..=10_000_000))]
        count: u32,
        #[command(flatten)]
        passwords: PasswordArgs,
    },
}

#[derive(Args)]
struct UserSelector {
    /// The user's id or e-mail address
    ///
    /// If an address has an account and a pending registration, it selects the account, or for activate and resend the
    /// registration
    user: String,
}

/// Maximum number of users that one query reads.
const PAGE_SIZE: u32 = 1000;
/// Number of users in a table without `--limit`.
const DEFAULT_TABLE_ROWS: u32 = 20;

pub async fn run(args: UsersArgs) -> Result<(), CliError> {
    let users = match &args.action {
        Action::Resend { codes, .. } => connect(args.database, codes.pacing()?, Some(codes.secret()?)).await?,
        // No other command grants a code, so that the pacing has no effect.
        _ => connect(args.database, Pacing::default(), None).await?,
    };
    let show = |listed: &[User]| print(&if args.json { show::json(listed) } else { show::table(listed) });
    match args.action {
        Action::Create { email, role, passwords } => show(&[create(&users, &email, &role, &passwords).await?]),
        Action::List { status, email, limit } => {
            let status = status.map(|word| word.parse().expect("clap accepts the names of a status only"));
            let address = email.map(|email| parse_address(&email)).transpose()?;
            list(&users, &UserFilter { status, address, domain: None }, limit, args.json).await
        }
        Action::Show(user) => show(&[user.find(&users).await?]),
        Action::Activate(user) => show(&[pending::activate(&users, &user).await?]),
        Action::Resend { user, .. } => show(&[pending::resend(&users, &user).await?]),
        Action::Disable(user) => show(&[user.update(&users, disabled(true)).await?]),
        Action::Enable(user) => show(&[user.update(&users, disabled(false)).await?]),
        Action::SetRole { user, role } => {
            let role = Some(role.parse().expect("clap accepts the names of a role only"));
            show(&[user.update(&users, AccountChange { role, disabled: None }).await?])
        }
        Action::SetPassword { user, passwords } => show(&[set_password(&users, &user, &passwords).await?]),
        Action::Delete(selector) => {
            let user = selector.find(&users).await?;
            match users.delete(user.id, DeletedBy::Operator).await {
                Ok(()) => show(&[user]),
                // The store never returns `Disabled` to an operator.
                Err(DeleteError::NotFound | DeleteError::Disabled) => Err(not_found()),
                Err(DeleteError::LastAdmin) => Err(last_admin()),
                Err(DeleteError::Store(error)) => Err(failed(error)),
            }
        }
        Action::Import(import) => import::run(&users, import, args.json).await,
        Action::Seed { count, passwords } => seed(&users, count, &passwords, args.json).await,
    }
}

async fn connect(database: DatabaseArgs, pacing: Pacing, secret: Option<CodeSecret>) -> Result<PgUsers, CliError> {
    let postgres = database::pool(database, 1, Duration::from_secs(10))?;
    let migrations = postgres.migrations().await.map_err(|error| CliError::Failed(error.to_string()))?;
    if migrations.iter().any(|migration| migration.state == State::Pending) {
        return Err(CliError::Failed("some migrations are pending; apply them first: sixty migrate up".to_owned()));
    }
    Ok(match secret {
        Some(secret) => PgUsers::with_secret(postgres, pacing, secret),
        None => PgUsers::new(postgres, pacing),
    })
}

impl UserSelector {
    async fn find(&self, users: &PgUsers) -> Result<User, CliError> {
        let found = if self.user.contains('@') {
            self.find_stored(users).await?.map(|row| row.user)
        } else {
            let id = Uuid::try_parse(&self.user)
                .map_err(|_| InvalidSetting::new("USER", "must be an id or an e-mail address"))?;
            users.find(UserId(id)).await.map_err(failed)?
        };
        found.ok_or_else(not_found)
    }

    /// Returns the stored user of the address, the account rather than a pending registration.
    async fn find_stored(&self, users: &PgUsers) -> Result<Option<StoredUser>, CliError> {
        let rows = users.find_by_address(&parse_address(&self.user)?).await.map_err(failed)?;
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

/// Prints each page as JSON as soon as it is read, or all users as one table.
async fn list(users: &PgUsers, filter: &UserFilter, limit: Option<u32>, as_json: bool) -> Result<(), CliError> {
    // One user more than the table shows tells whether there are more.
    let mut left = limit.unwrap_or(if as_json { u32::MAX } else { DEFAULT_TABLE_ROWS + 1 });
    let (mut listed, mut after) = (vec![], None);
    loop {
        let page_size = left.min(PAGE_SIZE);
        let page = users.list(filter, after, page_size).await.map_err(failed)?;
        after = page.last().map(Cursor::at);
        left -= page.len() as u32;
        let is_last = page.len() < page_size as usize;
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
    let has_more = limit.is_none() && listed.len() > DEFAULT_TABLE_ROWS as usize;
    if has_more {
        listed.truncate(DEFAULT_TABLE_ROWS as usize);
    }
    print(&show::table(&listed))?;
    if has_more {
        print_error("There are more users: --limit N lists N of them, --json lists all.");
    }
    Ok(())
}

async fn create(users: &PgUsers, email: &str, role: &str, passwords: &PasswordArgs) -> Result<User, CliError> {
    let email = Email::parse(email).map_err(|error| InvalidSetting::new("EMAIL", error))?;
    let role: Role = role.parse().expect("clap accepts the names of a role only");
    let rng = Rng::from_system();
    let password = read_new_password(passwords, &email).await?;
    let address_state = users.address_state(email.address(), None).await.map_err(failed)?;
    let new_params = HashParams { salt: Salt(rng.bytes()), cost: passwords.hash_cost()? };
    let hash = hash(password, address_state.params.unwrap_or(new_params)).await?;
    users.create(rng.user_id(), &email, &hash, role).await.map_err(|error| match error {
        CreateError::Taken => CliError::Failed("the address already has an account".to_owned()),
        CreateError::ParamsChanged => changed_concurrently(),
        CreateError::Store(error) => failed(error),
    })
}

async fn set_password(users: &PgUsers, selector: &UserSelector, passwords: &PasswordArgs) -> Result<User, CliError> {
    let user = selector.find(users).await?;
    match user.status {
        Status::Active => {}
        Status::Pending => return Err(not_active()),
        Status::Disabled => return Err(CliError::Failed("the account is disabled; enable it first".to_owned())),
    }
    let email = Email::parse(&user.email).map_err(|error| InvalidSetting::new("EMAIL", error))?;
    let password = read_new_password(passwords, &email).await?;
    let rows = users.find_by_address(email.address()).await.map_err(failed)?;
    let row = rows.into_iter().find(|row| row.user.id == user.id).ok_or_else(not_found)?;
    let hash = hash(password, row.hash.params).await?;
    if users.change_password(user.id, &row.hash, &hash, None).await.map_err(failed)? {
        Ok(user)
    } else {
        Err(changed_concurrently())
    }
}

async fn seed(users: &PgUsers, count: u32, passwords: &PasswordArgs, as_json: bool) -> Result<(), CliError> {
    let rng = Rng::from_system();
    let password = URL_SAFE_NO_PAD.encode(rng.bytes::<12>());
    let params = HashParams { salt: Salt(rng.bytes()), cost: passwords.hash_cost()? };
    let hash = hash(Password::present(&password).expect("the password is ASCII text"), params).await?;
    let first = users.seeded().await.map_err(failed)? + 1;
    let progress = io::stderr().is_terminal();
    let report_progress = |done: u32| {
        if progress {
            let _ = write!(io::stderr(), "\r{done} of {count}");
        }
    };
    let seeded = users.seed(first, count, &hash, report_progress).await;
    if progress {
        print_error("");
    }
    seeded.map_err(failed)?;
    let (first, last) = (format!("user{first}@seed.example"), format!("user{}@seed.example", first + count - 1));
    print(&if as_json {
        json!({ "count": count, "first": first, "last": last, "password": password }).to_string() + "\n"
    } else {
        format!("{count} active accounts, {first} to {last}\nEvery account has the password {password}\n")
    })
}

/// Reads a new password and checks it by the same policy as a registration.
async fn read_new_password(passwords: &PasswordArgs, email: &Email) -> Result<Password, CliError> {
    let policy = Policy { password_min: usize::from(passwords.password_min_length), ..Policy::default() };
    let text = password::read().await?;
    policy.password(&text, Some(email)).map_err(|error| CliError::Failed(format!("the password {error}")))
}

async fn hash(password: Password, params: HashParams) -> Result<PasswordHash, CliError> {
    let hasher = Hasher::start(params.cost, 1, Duration::MAX);
    hasher.hash(password, params, Network::LOCAL).await.map_err(failed)
}

fn parse_address(text: &str) -> Result<Address, CliError> {
    let email = Email::parse(text).map_err(|error| InvalidSetting::new("EMAIL", error))?;
    Ok(email.address().clone())
}

fn disabled(disabled: bool) -> AccountChange {
    AccountChange { disabled: Some(disabled), role: None }
}

fn failed(error: impl std::error::Error) -> CliError {
    CliError::Failed(error.to_string())
}

fn not_found() -> CliError {
    CliError::Failed("no user has this id or address".to_owned())
}

fn not_active() -> CliError {
    CliError::Failed("the user is pending; activate it first: sixty users activate".to_owned())
}

fn last_admin() -> CliError {
    CliError::Failed(
        "this is the only active admin; make another account an admin first: sixty users set-role".to_owned(),
    )
}

fn changed_concurrently() -> CliError {
    CliError::Failed(
        "another process changed the account at the same time; this command changed nothing; try again".to_owned(),
    )
}
