//! The token of the "this was not me" link. With it the owner of an address deletes a registration made by somebody else.

use std::time::Duration;

use sha2::{Digest, Sha256};

/// Lifetime of a link, from the latest attempt to send its mail.
pub const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The secret part of a link: 128 bits that only the mail contains.
#[derive(Clone, PartialEq, Eq)]
pub struct NotMeToken([u8; 16]);

/// SHA-256 of a token, as stored in PostgreSQL. A token of 128 random bits needs no slow hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NotMeHash(pub [u8; 32]);

impl NotMeToken {
    pub fn new(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// Encodes the token in the letters `a` to `p`, four bits each. People and programs could mistake digits for the code.
    pub fn letters(&self) -> String {
        let letter = |bits: u8| char::from(b'a' + bits);
        self.0.iter().flat_map(|octet| [letter(octet >> 4), letter(octet & 15)]).collect()
    }

    /// Parses 32 letters from `a` to `p`. Returns `None` for any other text.
    pub fn parse(letters: &str) -> Option<Self> {
        let bits = |letter: u8| letter.checked_sub(b'a').filter(|bits| *bits < 16);
        let mut token = [0; 16];
        if letters.len() != 2 * token.len() {
            return None;
        }
        for (octet, pair) in token.iter_mut().zip(letters.as_bytes().chunks_exact(2)) {
            *octet = bits(pair[0])? << 4 | bits(pair[1])?;
        }
        Some(Self(token))
    }

    pub fn hash(&self) -> NotMeHash {
        NotMeHash(Sha256::digest(self.0).into())
    }
}

impl std::fmt::Debug for NotMeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NotMeToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn token_of_32_letters_parses_back(octets in any::<[u8; 16]>()) {
            let letters = NotMeToken::new(octets).letters();
            prop_assert_eq!(letters.len(), 32);
            prop_assert!(letters.bytes().all(|byte| (b'a'..=b'p').contains(&byte)));
            prop_assert_eq!(NotMeToken::parse(&letters), Some(NotMeToken::new(octets)));
        }

        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            NotMeToken::parse(&text);
        }
    }

    #[test]
    fn other_letters_are_refused() {
        let good = "a".repeat(32);
        for bad in ["", &good[1..], &format!("{good}a"), &good.replacen('a', "q", 1), &good.replacen('a', "A", 1)] {
            assert_eq!(NotMeToken::parse(bad), None, "{bad}");
        }
        assert_eq!(NotMeToken::parse(&"é".repeat(16)), None, "32 octets, but not 32 letters");
    }
}
