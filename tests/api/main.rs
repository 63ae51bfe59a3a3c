//! Everything that is tested from outside, in one binary: it links once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers as well")]

mod activation;
mod admin;
mod alike;
mod authentication;
mod browser;
mod commands;
mod deletion;
mod demo;
mod dev;
mod document;
mod edge;
mod events;
mod failures;
mod limits;
mod mailjet;
mod matrix;
mod migrate;
mod not_me;
mod outbox;
#[cfg(target_os = "linux")]
mod own;
mod password;
mod process;
mod protocol;
mod purge;
mod races;
mod readme;
mod registration;
mod resend;
mod secrets;
mod seeing;
mod serve;
mod squatting;
mod stack;
mod stores;
mod support;
mod users_command;
