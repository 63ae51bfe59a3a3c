//! The use cases' stories, over in-memory fakes of the stores.

mod activate;
mod authenticate;
mod change_password;
mod delete;
mod list;
mod register;
mod report_not_me;
mod resend;
