//! The event stream that other programs read: the key `sixty:events`, whose entries have one field, `event`.

use std::sync::LazyLock;

use deadpool_redis::redis::Script;

use super::Redis;
use crate::accounts::ports::StoreError;

/// Appends all events. One script, to keep the order: if Redis has no memory for one event, it must not append the later
/// ones. Unlike a transaction, a script is led to another node of a cluster that has the key now.
static APPEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        for place = 2, #ARGV do
            redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[place])
        end
        ",
    )
});

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
        let mut append = APPEND.prepare_invoke();
        append.key(format!("{}:events", self.redis.prefix)).arg(self.max_len).arg(events);
        self.redis.run(&append).await
    }
}
