//! Findings about Redis.

use metrics::gauge;

use super::Finding;
use super::postgres::clock;
use crate::store::redis::Inspection;

pub fn findings(inspection: &Inspection) -> Vec<Finding> {
    let version = inspection.version.as_deref().unwrap_or("of unknown version (INFO is not granted)");
    let kind = if inspection.is_cluster { "a cluster" } else { "one server" };
    let found = format!("Redis {version}, {kind}, answered in {} ms", inspection.answered_in.as_millis());
    vec![
        Finding::ok("redis", found),
        Finding::ok("redis scripts", "each script and command works"),
        eviction(inspection.eviction_policy.as_deref()),
        clock("redis clock", inspection.clock_offset),
    ]
}

/// An evicted count of wrong guesses makes its code worthless, and an evicted limit does not hold.
fn eviction(policy: Option<&str>) -> Finding {
    gauge!("sixty_redis_may_evict").set(match policy {
        None => f64::NAN,
        Some("noeviction") => 0.0,
        Some(_) => 1.0,
    });
    match policy {
        None => Finding::warning("redis eviction", "maxmemory-policy is unknown: grant INFO to the user of REDIS_URL"),
        Some("noeviction") => Finding::ok("redis eviction", "maxmemory-policy is noeviction"),
        Some(policy) => Finding::warning(
            "redis eviction",
            format!(
                "maxmemory-policy is {policy}: when memory is full, Redis deletes codes and limits; set it to noeviction \
                 (CONFIG SET maxmemory-policy noeviction, and in redis.conf)"
            ),
        ),
    }
}
