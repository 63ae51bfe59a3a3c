//! The Lua scripts of the login throttle. `auth_throttle.rs` describes the keys.

use std::sync::LazyLock;

use deadpool_redis::redis::Script;

use crate::store::redis::lua::NOW;

/// Lua: the rule of each key, and the wait that a number of failures causes. ARGV: the number of keys, then four numbers
/// for each key.
const RULES: &str = r"
    local count = tonumber(ARGV[1])
    local free, forget, first, longest = {}, {}, {}, {}
    for i = 1, count do
        local at = 4 * i - 2
        free[i], forget[i] = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
        first[i], longest[i] = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    end
    local function wait_after(i, forgiven)
        local failures = math.ceil((forgiven - now) / forget[i])
        return failures < free[i] and 0 or math.min(longest[i], first[i] * 2 ^ (failures - free[i]))
    end
";

/// Admits an attempt unless the pair or one of the networks has a wait, and reserves the waits.
///
/// KEYS: the throttled keys, the time to come back, and the count of such times. ARGV after the rules: the unit and the
/// units of the patient lane, the factor of each network, PATIENCE, PATIENCE_WINDOW, MAX_PATIENT, LONGEST_DEFER.
///
/// Returns the wait in microseconds (0: admitted), whether the patient lane admitted it, and the reserved values of `until`.
pub(super) static ADMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{RULES}{}",
        r"
        local base = 4 * count + 2
        local patient_unit, patient_units = tonumber(ARGV[base]), tonumber(ARGV[base + 1])
        local function factor(i) return tonumber(ARGV[base + i]) end
        local rest = base + count + 1
        local patience, window, max_patient = tonumber(ARGV[rest]), tonumber(ARGV[rest + 1]), tonumber(ARGV[rest + 2])
        local longest_defer = tonumber(ARGV[rest + 3])
        local back, back_count = KEYS[count + 1], KEYS[count + 2]

        local forgiven, patient, pair_wait, network_wait = {}, {}, 0, 0
        for i = 1, count do
            local state = redis.call('HMGET', KEYS[i], 'forgiven', 'until', 'patient')
            local patient_full = now + patient_units * patient_unit
            forgiven[i] = tonumber(state[1] or 0)
            patient[i] = math.max(math.min(tonumber(state[3] or 0), patient_full), now)
            -- DEFER may store a longer wait than a failure. A time further ahead means that the clock was set back.
            local wait = math.min(tonumber(state[2] or 0) - now, i == 1 and math.max(longest[i], longest_defer) or longest[i])
            if i == 1 then pair_wait = wait else network_wait = math.max(network_wait, wait) end
        end
        local function refused(wait) return {math.ceil(wait), 0, {}} end
        if pair_wait > 0 then return refused(math.max(pair_wait, network_wait)) end

        local is_patient = false
        if network_wait > 0 then
            -- An address that has failed from here shares the lane for everybody.
            if forgiven[1] > now then return refused(network_wait) end
            local lane_wait = 0
            for i = 2, count do
                local full = now + patient_units * patient_unit
                lane_wait = math.max(lane_wait, patient[i] + patient_unit / factor(i) - full)
            end
            local due = tonumber(redis.call('GET', back) or 0)
            if due > now + math.max(patience, patient_unit) + 1000000 then due = 0 end
            if due > now then return refused(due - now) end
            if due == 0 or due + window < now or lane_wait > 0 then
                local wait = math.ceil(math.max(patience, lane_wait) / 1000000) * 1000000
                local marks = redis.call('INCR', back_count)
                if marks == 1 then redis.call('PEXPIRE', back_count, math.ceil(window / 1000)) end
                if marks <= max_patient then
                    redis.call('SET', back, string.format('%.0f', now + wait), 'PX', math.ceil((wait + window) / 1000))
                    return refused(wait)
                end
                return refused(math.max(network_wait, wait))
            end
            is_patient = true
            redis.call('DEL', back)
            for i = 2, count do
                redis.call('HSET', KEYS[i], 'patient', string.format('%.0f', patient[i] + patient_unit / factor(i)))
            end
        end

        local reservations = {}
        for i = 1, count do
            local wait = wait_after(i, forgiven[i])
            local reserved = ''
            if wait > 0 and not (is_patient and i > 1) then
                reserved = string.format('%.0f', now + wait)
                redis.call('HSET', KEYS[i], 'until', reserved)
            end
            reservations[i] = reserved
        end
        return {0, is_patient and 1 or 0, reservations}
        "
    ))
});

/// Counts a failed attempt for each key. A failure of the patient lane does not delay the lane for everybody. ARGV after
/// the rules: whether the patient lane admitted the attempt.
pub(super) static RECORD_FAILURE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{RULES}{}",
        r"
        local is_patient = ARGV[4 * count + 2] == '1'
        for i = 1, count do
            local key = KEYS[i]
            -- Failures beyond those that cause the longest wait would only be remembered longer, so they are not counted.
            local counted = free[i] + math.ceil(math.log(longest[i] / first[i]) / math.log(2))
            local forgiven = math.max(tonumber(redis.call('HGET', key, 'forgiven') or 0), now) + forget[i]
            forgiven = math.min(forgiven, now + counted * forget[i])
            redis.call('HSET', key, 'forgiven', string.format('%.0f', forgiven))
            local wait = wait_after(i, forgiven)
            if wait > 0 and not (is_patient and i > 1) then
                redis.call('HSET', key, 'until', string.format('%.0f', now + wait))
            end
            redis.call('PEXPIRE', key, math.ceil(math.max(forgiven - now, wait) / 1000))
        end
        "
    ))
});

/// Ends the reservations of an attempt that did not fail.
pub(super) static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        for i, key in ipairs(KEYS) do
            -- A different value is the reservation of another attempt.
            if redis.call('HGET', key, 'until') == ARGV[i] then redis.call('HDEL', key, 'until') end
        end
        ",
    )
});

/// Lets no attempt of a pair run for a time. ARGV: the time in microseconds.
pub(super) static DEFER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{}",
        r"
        local wait = tonumber(ARGV[1])
        local ttl = redis.call('PTTL', KEYS[1])
        redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + wait))
        redis.call('PEXPIRE', KEYS[1], math.max(ttl, math.ceil(wait / 1000)))
        "
    ))
});
