//! W3C Trace Context (<https://www.w3.org/TR/trace-context-1/>): one trace id connects a request with the mail it
//! causes. Log lines contain the trace id. If spans are exported (`spans.rs`), the ids are those of the spans.
//!
//! `tracestate` is dropped: the vendor data of other systems must not reach the mail provider.

use std::fmt;

use crate::rng::Rng;

/// A position in a trace: the trace id, the id of the parent span, and the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    parent: u64,
    flags: u8,
}

/// The `sampled` flag. Without exported spans, the service passes the caller's flag on.
const SAMPLED: u8 = 1;

impl TraceContext {
    pub(super) fn new(trace: [u8; 16], parent: [u8; 8], flags: u8) -> Self {
        Self { trace: u128::from_be_bytes(trace), parent: u64::from_be_bytes(parent), flags: flags & SAMPLED }
    }

    /// Returns the trace id, the id of the parent span, and the flags.
    pub(super) fn parts(self) -> (u128, u64, u8) {
        (self.trace, self.parent, self.flags)
    }

    /// Starts a new trace, not sampled.
    pub fn begin(rng: &Rng) -> Self {
        // Zero is an invalid id. Its probability equals that of a collision.
        let trace = u128::from_be_bytes(rng.bytes()).max(1);
        Self { trace, parent: 0, flags: 0 }.child(rng)
    }

    /// Returns the context of a child span: the same trace with a new parent id.
    pub fn child(self, rng: &Rng) -> Self {
        Self { parent: u64::from_be_bytes(rng.bytes()).max(1), ..self }
    }

    /// Parses a `traceparent` header. Reads the fields of version 00 from a higher version, as section 4.3 of the
    /// specification requires. Returns `None` if the header is invalid; the caller then starts a new trace.
    pub fn parse(traceparent: &str) -> Option<Self> {
        const LENGTH: usize = 55;
        let (version_00, rest) = traceparent.split_at_checked(LENGTH)?;
        let [version, trace, parent, flags] = version_00.split('-').collect::<Vec<_>>().try_into().ok()?;
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

    /// Returns the trace id in hexadecimal, as log lines contain it.
    pub fn id(&self) -> String {
        format!("{:032x}", self.trace)
    }
}

/// Formats the context as a `traceparent` header of version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.parent, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_valid_traceparent_is_continued() {
        let parsed = TraceContext::parse(TRACEPARENT).unwrap();
        assert_eq!(parsed.to_string(), TRACEPARENT);
        let child = parsed.child(&Rng::seeded(60)).to_string();
        assert_eq!(child[..36], TRACEPARENT[..36]);
        assert_ne!(child[36..52], TRACEPARENT[36..52]);
        assert_eq!(child[52..], TRACEPARENT[52..]);
        // A later version may append fields. Only the sampled flag is continued.
        for later in ["01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff", &TRACEPARENT.replacen("00", "cc", 1)] {
            assert_eq!(TraceContext::parse(later), Some(parsed), "{later}");
            assert_eq!(TraceContext::parse(&format!("{later}-more")), Some(parsed), "{later}");
        }
    }

    #[test]
    fn an_invalid_traceparent_is_rejected() {
        let zeros = |digits: usize| "0".repeat(digits);
        for invalid in [
            String::new(),
            TRACEPARENT[1..].to_owned(),
            TRACEPARENT.to_uppercase(),
            format!("{TRACEPARENT}-more"),
            format!("{TRACEPARENT} "),
            format!("01{}more", &TRACEPARENT[2..]),
            format!("ff{}", &TRACEPARENT[2..]),
            TRACEPARENT.replace("0af7651916cd43dd8448eb211c80319c", &zeros(32)),
            TRACEPARENT.replace("b7ad6b7169203331", &zeros(16)),
            TRACEPARENT.replace("b7ad", "+7ad"),
            TRACEPARENT.replace('-', "_"),
            "é".repeat(28),
        ] {
            assert_eq!(TraceContext::parse(&invalid), None, "{invalid}");
        }
    }

    #[test]
    fn a_new_trace_formats_as_a_valid_traceparent() {
        let rng = Rng::seeded(60);
        let (one, other) = (TraceContext::begin(&rng), TraceContext::begin(&rng));
        assert_eq!(TraceContext::parse(&one.to_string()), Some(one));
        assert_ne!(one.id(), other.id());
        assert!(one.to_string().starts_with(&format!("00-{}-", one.id())));
    }
}
