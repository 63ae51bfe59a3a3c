//! Lua code that several scripts share.

/// Sets `now` to the clock of Redis, in microseconds. All replicas of the service share this clock.
///
/// A test scripts the clock: a last argument that is not 0 is the time.
///
/// The clock may be set back, and after a failover another server's clock may be behind. Then stored times are further ahead
/// than a script would ever store them. Scripts must not wait for such a time.
///
/// Scripts must write numbers of this size by `string.format('%.0f')`: Lua's own conversion rounds them.
pub(super) const NOW: &str = r"
    local time = redis.call('TIME')
    local now = tonumber(ARGV[#ARGV])
    if now == 0 then now = time[1] * 1000000 + time[2] end
";
