//! The stream that other programs read events from: `sixty:events`, a field `event` in each entry.

use deadpool_redis::redis;

use super::Redis;
use crate::accounts::ports::StoreError;

pub struct EventStream {
    redis: Redis,
    max_len: u64,
}

impl EventStream {
    /// Redis forgets the oldest entries beyond about `max_len`, read or not.
    pub fn new(redis: Redis, max_len: u64) -> Self {
        Self { redis, max_len }
    }

    /// Appends all of them or none. An error may mean either.
    pub async fn append(&self, events: &[String]) -> Result<(), StoreError> {
        let key = format!("{}:events", self.redis.prefix);
        // A Redis that has no memory left for one of them must not take those after it.
        let mut append = redis::pipe();
        append.atomic();
        for event in events {
            let entry = append.cmd("XADD").arg(&key).arg("MAXLEN").arg("~").arg(self.max_len).arg("*");
            entry.arg("event").arg(event).ignore();
        }
        self.redis.call(async |mut redis| append.query_async(&mut redis).await).await
    }
}
