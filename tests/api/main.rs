//! Tests of the service from outside, over HTTP and its command line. One binary, because each binary costs a link.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test, in helpers too")]

mod account_enumeration;
mod activation;
mod address_change;
mod admin;
mod adversary;
mod auth_cache;
mod authentication;
mod browser;
mod collation;
mod commands;
mod compose;
mod connections;
mod dashboard;
mod debug_output;
mod deletion;
mod demo;
mod dev;
mod events;
#[cfg(target_os = "linux")]
mod failover;
mod fallback;
mod gateway;
mod import;
mod languages;
mod limits;
#[cfg(target_os = "linux")]
mod log_failure;
mod login_throttle;
mod mailbox;
mod mailjet;
mod matrix;
mod migrate;
mod not_me;
mod observability;
mod openapi;
mod outbox;
mod password;
mod password_reset;
mod plans;
mod pre_hijacking;
mod previous_release;
mod privacy;
#[cfg(target_os = "linux")]
mod private_servers;
mod process;
mod protocol;
mod providers;
mod purge;
mod query_plans;
mod races;
mod readme;
#[cfg(target_os = "linux")]
mod redis_cluster;
mod registration;
mod resend;
mod secrets;
#[cfg(target_os = "linux")]
mod self_check;
mod serve;
mod sign_up;
mod stack;
mod store_urls;
mod stores;
mod support;
mod traces;
mod users_command;
