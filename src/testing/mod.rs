//! What tests need of the product: in-memory fakes of the stores, the contract that fakes and real stores must pass, and a
//! model that predicts the response to every step.

pub mod contract;
pub mod fakes;
pub mod model;
