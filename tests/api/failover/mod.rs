//! After a failover, no connection from before it is used again.

mod postgres;
mod redis;
mod redis_cluster;
mod sentinel;

use futures_util::future::join_all;

use crate::support::{Answer, PASSWORD, Service, unique_name};

async fn register(service: &Service) -> Answer {
    service.register(&format!("{}@example.com", unique_name()), PASSWORD).await
}

async fn statuses(service: &Service, count: usize) -> Vec<u16> {
    join_all((0..count).map(|_| async { register(service).await.status.as_u16() })).await
}
