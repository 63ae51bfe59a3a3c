//! What people read: the texts of mails and pages in all languages, and the engine of their templates.
//!
//! - `catalogue.rs`: the messages of a language, from the files in `locales/` (Project Fluent).
//! - `brand.rs`: the name of the service, and what else an operator puts into mails and pages.
//! - `templates.rs`: the templates of a language (MiniJinja), which name messages by `t("…")`.

mod brand;
mod catalogue;
mod templates;

pub use brand::Brand;
pub use catalogue::{Catalogue, MessageError};
pub use templates::{Source, TemplateError, Templates, escape};
