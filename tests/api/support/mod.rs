//! Test support: starts the production service on free ports and gives each test its own database and Redis key prefix.
//!
//! All tests of a run share one PostgreSQL and one Redis server. Both servers stop when the test process ends.

mod answer;
mod collector;
mod mail;
mod relay;
mod requests;
mod servers;
mod service;
mod stores;
mod wait;

pub use answer::{Answer, concurrently};
pub use collector::{CollectedSpan, Collector, CollectorBehavior};
pub use mail::{code_in, start_mail_mock, wrong_code};
pub use relay::Relay;
pub use servers::{create_database, create_database_with, stack, unique_name};
pub use service::{CODE_SECRET, Service, run_service};
pub use stores::{age_grants, store_not_me_link};
pub use wait::{eventually, eventually_within};

/// The password of every user that [`Service::register_pending`] or [`Service::register_active`] creates.
pub const PASSWORD: &str = "correct horse battery";
