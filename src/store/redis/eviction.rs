//! The keys that Redis has evicted: with another `maxmemory-policy` than `noeviction`, a full Redis deletes codes and limits.

use deadpool_redis::redis::{self, Value};

use super::Redis;
use crate::accounts::ports::StoreError;

impl Redis {
    /// Returns how many keys the server, or all primaries of a cluster, have evicted since their start.
    pub async fn evicted_keys(&self) -> Result<u64, StoreError> {
        let info: Value = self.command(redis::cmd("INFO").arg("stats")).await?;
        Ok(evicted_keys(&info))
    }
}

/// Adds up `evicted_keys` of the response to INFO. A cluster's has a text for each node.
fn evicted_keys(info: &Value) -> u64 {
    let of_text = |text: &str| -> u64 {
        let counts = text.lines().filter_map(|line| line.strip_prefix("evicted_keys:")?.trim().parse::<u64>().ok());
        counts.sum()
    };
    match info {
        Value::BulkString(text) => of_text(&String::from_utf8_lossy(text)),
        Value::VerbatimString { text, .. } => of_text(text),
        Value::SimpleString(text) => of_text(text),
        Value::Array(nodes) => nodes.iter().map(evicted_keys).sum(),
        Value::Map(nodes) => nodes.iter().map(|(_, info)| evicted_keys(info)).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evictions_of_all_nodes_are_added_up() {
        let text = |evicted: u64| Value::BulkString(format!("# Stats\r\nevicted_keys:{evicted}\r\n").into_bytes());
        assert_eq!(evicted_keys(&text(7)), 7);
        let node = |n: u16| Value::SimpleString(format!("127.0.0.1:{n}"));
        assert_eq!(evicted_keys(&Value::Map(vec![(node(1), text(2)), (node(2), text(3))])), 5);
        assert_eq!(evicted_keys(&Value::Nil), 0);
    }
}
