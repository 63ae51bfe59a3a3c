//! Tests of the use cases on the in-memory fakes.

mod activate;
mod authenticate;
mod change_password;
mod delete;
mod foreign;
mod list;
mod register;
mod report_not_me;
mod resend;
mod reset_password;
