//! Sixty registers users: an e-mail address, a password, and a mailed code that lives for sixty seconds. This page is a
//! guided tour of its source.
//!
//! # Where to begin
//!
//! 1. [`domain`]: what it is about, as plain values. [`domain::pacing`] and [`domain::code`] hold the two rules that
//!    bound what guessing can reach.
//! 2. [`accounts::ports`]: what the use cases need of their stores, [`Users`] and [`Codes`].
//! 3. [`accounts::register`] and [`accounts::activate`]: the product, with its stories as tests below the code.
//! 4. [`mail::worker`]: where a code is born.
//! 5. [`store::postgres::users`] and [`store::redis::codes`]: the statements and scripts that decide.
//! 6. [`http::users`]: what is said of it on the wire; [`http::problem`]: every error there is.
//! 7. [`app`]: how it is put together.
//!
//! # One registration
//!
//! `POST /v1/users` enters by the accept loop ([`http::server`]), passes what happens around every request
//! ([`http::routes`], [`http::limits`], [`http::client`]), and is parsed into [`Email`] and [`Password`] by
//! [`http::users`]. Then [`Accounts::register`] reads straight down: [`Users::address_state`] gives the address's params
//! (salt and cost), the [`Hasher`] evaluates argon2id on a thread of its own, and [`Users::register`] writes the grant,
//! the pending user and the mail to be sent in one transaction. The answer is 201, and nobody has looked whether the
//! address has an account.
//!
//! Later, or in another process, [`Worker::run`] claims the mail from the [`Outbox`] under a lease, which it renews while it is at it. It derives the code
//! from the row's nonce ([`CodeSecret::code`]), makes it live ([`Codes::put`]), hands the mail to the provider
//! ([`Provider::send`]), and puts the code again, because the minute belongs to the person: it begins when the mail was
//! accepted. Where the address has an account its owner is told so, and a decoy takes the code's place. What fails is
//! tried again with the same code under the same key, when [`mail::retry`] says.
//!
//! # One activation
//!
//! `POST /v1/users/me/activation` brings credentials ([`http::auth`]) and a code. [`Accounts::authenticate`] evaluates
//! argon2id once, because all rows of an address share their params, and finds the row that the password fits.
//! [`Accounts::activate`] then asks Redis ([`Codes::redeem`]: one script that compares, counts, and destroys on the third
//! miss), and PostgreSQL ([`Users::activate`]: an `UPDATE` of this row, if it is still pending), whose word is final; and
//! drops the code ([`Codes::discard`]). The same statement queues the mail that tells the account's owner. A crash at any
//! point leaves nobody active twice, and no account lost.
//!
//! # Who did not register
//!
//! Each mail ends with a link, which [`Worker::run`] derives like the code ([`CodeSecret::not_me`]) and notes by its hash
//! ([`Outbox::link`]). [`http::pages`] shows a page there; its button calls [`Accounts::disown`], and [`Users::disown`]
//! deletes the pending registration and ends its address's wait. [`Accounts::delete`] is for those who did, and
//! [`accounts::purge`] deletes what nobody ends.
//!
//! # Whose account it is
//!
//! [`Accounts::change_password`] replaces a hash if it is still the one that was checked, and queues a notice that goes the
//! way of a code mail, without a code. [`http::admin`] lets admins list, change and delete users; that one of them is always
//! left is decided in `store/postgres/users/administration.rs`, under locks. [`cli::users`] does as much from a terminal,
//! on the database alone.
//!
//! # Which arrows exist
//!
//! They point inward, and nothing of the product points at [`http`]:
//!
//! ```text
//! main → cli → app → http        → accounts → passwords → domain
//!                  → mail, store → accounts::ports
//! ```
//!
//! - [`domain`] knows nobody: no I/O, no clock, no randomness.
//! - [`accounts`] knows [`domain`], [`passwords`], [`rng`], and its stores by their traits alone. `memory.rs` has
//!   service of them for tests in milliseconds, `contract.rs` what service and real stores must both pass, and `model.rs` a
//!   model that predicts the use cases' answers to any story; these three are there with the feature `testing`, which the
//!   tests switch on.
//! - [`store`] implements the traits. [`mail`] uses the [`Codes`] trait and, concretely, the [`Outbox`]: a trait for it
//!   would have one implementor. The mailer's seam is the provider's URL.
//! - [`http`] knows, of [`store`], the [`RedisLimits`] of client networks: they are no part of the product, which holds
//!   without them ([`http::client_limits`]).
//! - [`app`] alone knows everyone. [`config`] knows the types that it fills.
//!
//! `crates/mail-mock` and `crates/dev-stack` stand outside all this: a provider to talk to and servers to talk to, for
//! development and tests. Only [`cli`] uses them, under the feature `dev`.
//!
//! # Where things live
//!
//! | | |
//! |---|---|
//! | a setting | a field in [`config`]; the README and `.env.example` are written from it (`cli/reference.rs`) |
//! | an error's name, status and words | [`http::problem`]; which operation answers with it: [`http::openapi`] |
//! | the schema | `sql/`, in order; each query stands beside its row type in [`store::postgres`] |
//! | the words of a mail | `src/mail/templates/` |
//! | what other programs are told | written by the statements of [`store::postgres`], relayed by [`events`] |
//! | time | PostgreSQL's and Redis's clocks; what needs it is given it |
//! | randomness | [`rng`] |
//! | logs, traces and metrics | [`telemetry`]; figures that are looked up when asked for: `app/gauges.rs` |
//! | unit tests | below the code that they test; from outside: `tests/api/` |
//!
//! [`Accounts::activate`]: accounts::Accounts::activate
//! [`Accounts::authenticate`]: accounts::Accounts::authenticate
//! [`Accounts::change_password`]: accounts::Accounts::change_password
//! [`Accounts::delete`]: accounts::Accounts::delete
//! [`Accounts::disown`]: accounts::Accounts::disown
//! [`Accounts::register`]: accounts::Accounts::register
//! [`Codes`]: accounts::ports::Codes
//! [`Codes::discard`]: accounts::ports::Codes::discard
//! [`Codes::put`]: accounts::ports::Codes::put
//! [`Codes::redeem`]: accounts::ports::Codes::redeem
//! [`CodeSecret::code`]: domain::code::CodeSecret::code
//! [`CodeSecret::not_me`]: domain::code::CodeSecret::not_me
//! [`Email`]: domain::email::Email
//! [`Hasher`]: passwords::Hasher
//! [`Outbox`]: store::postgres::outbox::Outbox
//! [`Outbox::link`]: store::postgres::outbox::Outbox::link
//! [`Password`]: domain::password::Password
//! [`Provider::send`]: mail::provider::Provider::send
//! [`RedisLimits`]: store::redis::limits::RedisLimits
//! [`Users`]: accounts::ports::Users
//! [`Users::activate`]: accounts::ports::Users::activate
//! [`Users::disown`]: accounts::ports::Users::disown
//! [`Users::register`]: accounts::ports::Users::register
//! [`Users::address_state`]: accounts::ports::Users::address_state
//! [`Worker::run`]: mail::worker::Worker::run

pub mod accounts;
pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod events;
pub mod http;
pub mod mail;
pub mod passwords;
pub mod rng;
pub mod store;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
