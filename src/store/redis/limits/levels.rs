//! The network levels by which a client is counted, and their keys.

use super::quota::{Quota, QuotaName};
use crate::domain::network::Network;

/// How much larger the limits of a wider level are: an IPv6 /64, /56 and /48.
pub(super) const LEVEL_FACTORS: [u32; 3] = [1, 4, 16];

/// The Redis keys of a client network.
///
/// All keys of one client have one hash tag, so that a script may use all of them on Redis Cluster: the IPv4 address, or
/// the IPv6 /48.
pub(super) struct NetworkKeys {
    /// `<prefix>:limit:{<tag>}`
    base: String,
    tag: Network,
    levels: Vec<Network>,
}

/// The same limit of one level: its key suffix and the factor of its size.
pub(super) struct Level {
    pub key: String,
    pub factor: u32,
}

impl NetworkKeys {
    pub fn new(prefix: &str, network: Network) -> Self {
        let tag = network.fairness_key();
        Self { base: format!("{prefix}:limit:{{{tag}}}"), tag, levels: network.levels() }
    }

    /// Returns the key `name` of each level, the narrowest level first.
    pub fn of_levels(&self, name: &str) -> Vec<Level> {
        let levels = self.levels.iter().zip(LEVEL_FACTORS);
        levels.map(|(level, factor)| Level { key: self.of_level(name, *level), factor }).collect()
    }

    /// Returns the key `name` of the client's own network.
    pub fn own(&self, name: &str) -> String {
        self.of_level(name, self.levels[0])
    }

    fn of_level(&self, name: &str, level: Network) -> String {
        let base = &self.base;
        if level == self.tag { format!("{base}:{name}") } else { format!("{base}:{name}:{level}") }
    }
}

/// What a script does with one quota of one level.
#[derive(Debug, Clone, Copy)]
pub(super) enum Use {
    /// Consume units, or refuse if the quota has not enough. A first guess is never refused.
    Take,
    /// Refuse if the quota is exhausted. Consume nothing.
    Check,
}

/// One quota of one level, as the scripts read it.
pub(super) struct LevelQuota {
    pub key: String,
    pub quota: Quota,
    pub usage: Use,
}

impl NetworkKeys {
    /// Returns a quota at each level; wider levels have more units.
    pub fn quotas(&self, name: QuotaName, quota: Quota, usage: Use) -> Vec<LevelQuota> {
        let at = |Level { key, factor }| LevelQuota { key, quota: quota.times(factor), usage };
        self.of_levels(name.as_str()).into_iter().map(at).collect()
    }
}

impl LevelQuota {
    /// Lua arguments: microseconds of a unit, units, and what to do.
    pub fn arguments(&self) -> (u64, u32, &'static str) {
        let usage = match self.usage {
            Use::Take => "take",
            Use::Check => "check",
        };
        (self.quota.unit_micros(), self.quota.units, usage)
    }
}
