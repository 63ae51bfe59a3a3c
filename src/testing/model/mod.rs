//! Model-based tests: a model predicts the response of the use cases to every step of a random sequence.
//!
//! The same sequences run on the in-memory fakes and on the real stores.

mod prediction;
mod step;
mod under_test;

pub use prediction::run;
pub use step::Step;
pub use under_test::ServiceUnderTest;
