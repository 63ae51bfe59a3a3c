//! The HTTP API: parses requests into domain types, calls a use case, says what came of it. Nothing else points here but
//! `app.rs`.

pub mod admin;
pub mod auth;
pub mod client;
pub mod client_limits;
pub mod cors;
pub mod health;
pub mod limits;
pub mod openapi;
pub mod pages;
pub mod payload;
pub mod problem;
pub mod problem_type;
pub mod routes;
pub mod server;
pub mod users;
