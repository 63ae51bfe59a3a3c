//! The event stream that other programs read: the key `sixty:events`, whose entries have one field, `event`.

use deadpool_redis::redis;

use super::Redis;
use crate::accounts::ports::StoreError;

pub struct EventStream {
    redis: Redis,
    max_len: u64,
}

impl EventStream {
    /// Redis deletes the oldest entries beyond about `max_len`, whether they were read or not.
    pub fn new(redis: Redis, max_len: u64) -> Self {
        Self { redis, max_len }
    }

    /// Appends all events or none. After an error, either may have happened.
    pub async fn append(&self, events: &[String]) -> Result<(), StoreError> {
        let key = format!("{}:events", self.redis.prefix);
        // Atomic, to keep the order: if Redis has no memory for one event, it must not append the later ones.
        let mut append = redis::pipe();
        append.atomic();
        for event in events {
            let entry = append.cmd("XADD").arg(&key).arg("MAXLEN").arg("~").arg(self.max_len).arg("*");
            entry.arg("event").arg(event).ignore();
        }
        self.redis.call(async |mut connection| append.query_async(&mut connection).await).await
    }
}
