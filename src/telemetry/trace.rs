//! Where in a trace something happens, so that one id finds a registration from the request to its mail: W3C Trace
//! Context, <https://www.w3.org/TR/trace-context-1/>. Nothing is exported; the log's lines carry the id.
//!
//! `tracestate` is not continued: what other systems say of a trace among themselves is no business of a mail provider.

use std::fmt;

use crate::rng::Rng;

/// A trace, and what in it caused what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    parent: u64,
    flags: u8,
}

/// Whether a trace is recorded elsewhere is for its caller to say, and passed on. We record no spans ourselves.
const SAMPLED: u8 = 1;

impl TraceContext {
    /// A trace that begins here.
    pub fn begin(rng: &Rng) -> Self {
        // Zero is invalid, and as likely as two traces with the same id.
        let trace = u128::from_be_bytes(rng.bytes()).max(1);
        Self { trace, parent: 0, flags: 0 }.child(rng)
    }

    /// The next step of the same trace.
    pub fn child(self, rng: &Rng) -> Self {
        Self { parent: u64::from_be_bytes(rng.bytes()).max(1), ..self }
    }

    /// Reads a `traceparent`. Of a version that is not known yet, what version 00 has (section 4.3). `None`: it is
    /// invalid, and a new trace begins.
    pub fn parse(traceparent: &str) -> Option<Self> {
        const LENGTH: usize = 55;
        let (known, rest) = traceparent.split_at_checked(LENGTH)?;
        let [version, trace, parent, flags] = known.split('-').collect::<Vec<_>>().try_into().ok()?;
        let hex = |text: &str, digits: usize| {
            let lower = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            (text.len() == digits && lower).then(|| u128::from_str_radix(text, 16).ok()).flatten()
        };
        match hex(version, 2)? {
            0 if rest.is_empty() => {}
            1..0xff if rest.is_empty() || rest.starts_with('-') => {}
            _ => return None,
        }
        let (trace, parent) = (hex(trace, 32)?, hex(parent, 16)? as u64);
        let flags = hex(flags, 2)? as u8 & SAMPLED;
        (trace != 0 && parent != 0).then_some(Self { trace, parent, flags })
    }

    /// As logs show it.
    pub fn id(&self) -> String {
        format!("{:032x}", self.trace)
    }
}

/// As a `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.parent, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_valid_goes_on() {
        let given = TraceContext::parse(GIVEN).unwrap();
        assert_eq!(given.to_string(), GIVEN);
        let next = given.child(&Rng::seeded(60)).to_string();
        assert_eq!(next[..36], GIVEN[..36]);
        assert_ne!(next[36..52], GIVEN[36..52]);
        assert_eq!(next[52..], GIVEN[52..]);
        // A later version may say more; of its flags only the one that is known goes on.
        for later in ["01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff", &GIVEN.replacen("00", "cc", 1)] {
            assert_eq!(TraceContext::parse(later), Some(given), "{later}");
            assert_eq!(TraceContext::parse(&format!("{later}-more")), Some(given), "{later}");
        }
    }

    #[test]
    fn what_is_invalid_does_not() {
        let zeros = |digits: usize| "0".repeat(digits);
        for invalid in [
            String::new(),
            GIVEN[1..].to_owned(),
            GIVEN.to_uppercase(),
            format!("{GIVEN}-more"),
            format!("{GIVEN} "),
            format!("01{}more", &GIVEN[2..]),
            format!("ff{}", &GIVEN[2..]),
            GIVEN.replace("0af7651916cd43dd8448eb211c80319c", &zeros(32)),
            GIVEN.replace("b7ad6b7169203331", &zeros(16)),
            GIVEN.replace("b7ad", "+7ad"),
            GIVEN.replace('-', "_"),
            "é".repeat(28),
        ] {
            assert_eq!(TraceContext::parse(&invalid), None, "{invalid}");
        }
    }

    #[test]
    fn a_trace_that_begins_here_can_be_continued() {
        let rng = Rng::seeded(60);
        let (one, other) = (TraceContext::begin(&rng), TraceContext::begin(&rng));
        assert_eq!(TraceContext::parse(&one.to_string()), Some(one));
        assert_ne!(one.id(), other.id());
        assert!(one.to_string().starts_with(&format!("00-{}-", one.id())));
    }
}
