//! The HTTP API: parses requests into domain types, calls a use case, and returns its result as JSON or as a problem.
//!
//! `app.rs` composes it. No use case and no store depends on it.

mod accept_language;
mod address_change_page;
mod address_changes;
pub mod admin;
pub mod auth;
pub mod body_limit;
pub mod client;
pub mod client_limits;
pub mod cors;
pub mod docs_page;
pub mod error_mapping;
pub mod framing;
pub mod gateway;
mod guessing;
pub mod health;
mod link_page;
pub mod list_query;
pub mod middleware;
pub mod not_me_form;
pub mod not_me_page;
pub mod openapi;
pub mod pages;
mod password_resets;
pub mod path;
mod path_prefix;
pub mod payload;
pub mod problem;
pub mod problem_page;
pub mod problem_type;
pub mod registration_ticket;
pub mod request_heads;
pub mod request_id;
pub mod request_log;
pub mod response_headers;
pub mod routes;
pub mod server;
pub mod static_document;
pub mod system_routes;
pub mod trusted_proxies;
pub mod user_schemas;
pub mod users;
mod verified_credentials;
