//! Lua code that several scripts share.

/// Sets `now` to the clock of Redis, in microseconds. All replicas of the service share this clock.
///
/// Scripts must write numbers of this size by `string.format('%.0f')`: Lua's own conversion rounds them.
pub(super) const NOW: &str = r"
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
";
