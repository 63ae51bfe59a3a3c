//! Secrets of 128 bits as text for people: 32 letters from `a` to `p`, four bits each.
//!
//! The text has no digits, because people and programs could mistake digits for a code.

/// Encodes a secret as 32 letters.
pub(super) fn encode(secret: &[u8; 16]) -> String {
    let letter = |bits: u8| char::from(b'a' + bits);
    secret.iter().flat_map(|octet| [letter(octet >> 4), letter(octet & 15)]).collect()
}

/// Decodes 32 letters from `a` to `p`. Returns `None` for any other text.
pub(super) fn decode(letters: &str) -> Option<[u8; 16]> {
    let bits = |letter: u8| letter.checked_sub(b'a').filter(|bits| *bits < 16);
    let mut secret = [0; 16];
    if letters.len() != 2 * secret.len() {
        return None;
    }
    for (octet, pair) in secret.iter_mut().zip(letters.as_bytes().chunks_exact(2)) {
        *octet = bits(pair[0])? << 4 | bits(pair[1])?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn secret_of_32_letters_decodes_back(secret in any::<[u8; 16]>()) {
            let letters = encode(&secret);
            prop_assert_eq!(letters.len(), 32);
            prop_assert!(letters.bytes().all(|byte| (b'a'..=b'p').contains(&byte)));
            prop_assert_eq!(decode(&letters), Some(secret));
        }

        #[test]
        fn decoding_never_panics(text in ".{0,40}") {
            decode(&text);
        }
    }

    #[test]
    fn other_letters_are_refused() {
        let good = "a".repeat(32);
        for bad in ["", &good[1..], &format!("{good}a"), &good.replacen('a', "q", 1), &good.replacen('a', "A", 1)] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        assert_eq!(decode(&"é".repeat(16)), None, "32 octets, but not 32 letters");
    }
}
