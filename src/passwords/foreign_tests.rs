//! The hashes were made by other programs: PHP's `password_hash`, glibc's `crypt`, argon2-cffi, passlib and hashlib.

use super::*;

const PASSWORD: &str = "correct horse";

/// Hashes of [`PASSWORD`].
const HASHES: [&str; 12] = [
    "$2y$04$WAiwtzyjkGlk7nkq0vNPZ.fzcjn/flm1t6IgAEBenNPSkEcSJnF3G",
    "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e",
    "$2a$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2",
    "$argon2id$v=19$m=64,t=2,p=1$azVjVUdkcmU4Ni84eTNyYw$lvpGG9bkjSDhh+V0iS9cuT3TWJwENWVJ9fWhVyruZFk",
    "$argon2i$v=19$m=64,t=2,p=1$S0d2NHVxNFdEai9qTG5TNw$WQp39eJRodNZapSVdhKOx/NqkSxS01IvzfxfLFDnMao",
    "$argon2d$v=19$m=64,t=2,p=2$c2FsdHNhbHQ$US0HkBG7/3OKij0VXZSad+ZEt4XDJVSKihFIygFhcHY",
    "$argon2i$v=16$m=64,t=2,p=2$YSBzYWx0IG9mIHR3ZW50eSBvY3Q$F8Nf5B6+NSrkAt5J91jWeA",
    "$argon2i$m=64,t=2,p=2$YSBzYWx0IG9mIHR3ZW50eSBvY3Q$F8Nf5B6+NSrkAt5J91jWeA",
    "$argon2id$v=19$m=64,t=2,p=2$c2l4dGVlbiBvY3RldHMhIQ$rfL2T6UFo+qf4dnr2t5+yg+bdFJJRp1VGf/qiCNFwdQ2iME3Iu73uyvi3zX/qLZUNMTTq+IUL8FjIZ3iB5J5ew",
    "$pbkdf2-sha256$i=1000,l=32$c2l4dGVlbiBvY3RldHMhIQ$NtymXruKfr1iQSBfN3KVKM3JHLCn6mlV6fUpXlk7Mo4",
    "$pbkdf2-sha256$i=4096,l=64$c2l4dGVlbiBvY3RldHMhIQ$+TEA2kB6zkC4Ha5dL3yuCQ8jjUPdTVK1hBtx4CT3xOktVD1DzoOwelAFXWIQ/ZvFgTwmG23Y2sjv+bmNiS12DQ",
    "$pbkdf2-sha256$1000$..................../w$Fmdb1minWw0CnTpIIPJDmN8ycyYjPM0dqKkUiRur7Gk",
];

fn has(hash: &str, password: &str) -> bool {
    let hash = ForeignHash::parse(hash).unwrap_or_else(|error| panic!("{hash}: {error}"));
    hash.evaluate(&Password::present(password).unwrap(), &mut Vec::new())
}

#[test]
fn hashes_of_other_programs_match_their_password_and_no_other() {
    for hash in HASHES {
        assert!(has(hash, PASSWORD), "{hash}");
        assert!(!has(hash, "correct hors"), "{hash}");
        assert!(!has(hash, ""), "{hash}");
        assert_eq!(ForeignHash::parse(hash).unwrap().as_str(), hash);
    }
}

#[test]
fn reused_memory_does_not_change_the_result() {
    let mut memory = Vec::new();
    for hash in HASHES.iter().chain(HASHES.iter().rev()) {
        let hash = ForeignHash::parse(hash).unwrap();
        assert!(hash.evaluate(&Password::present(PASSWORD).unwrap(), &mut memory));
    }
}

#[test]
fn bcrypt_reads_72_octets_as_the_other_programs_do() {
    const OF_100_OCTETS: &str = "$2y$04$GuRow2tVajnmEsQCZ63J9.sOrpRLLYMOc0bWyusCn9CPIPPpzbLta";
    assert!(has(OF_100_OCTETS, &"\u{e4}".repeat(50)));
    assert!(has(OF_100_OCTETS, &"\u{e4}".repeat(36)));
    assert!(!has(OF_100_OCTETS, &"\u{e4}".repeat(35)));
}

#[test]
fn a_password_counts_as_it_was_typed() {
    const COMPOSED: &str = "$2b$04$abcdefghijklmnopqrstuukj5l5aQ/geRn/1i355CJ75/rDqibcUm";
    assert!(has(COMPOSED, "caf\u{e9} noir"));
    assert!(!has(COMPOSED, "cafe\u{301} noir"));
}

#[test]
fn what_is_no_hash_is_refused_with_the_reason() {
    let [bcrypt, .., pbkdf2] = HASHES;
    let argon2 = HASHES[3];
    for (hash, reason) in [
        ("", Scheme),
        ("correct horse", Scheme),
        ("5f4dcc3b5aa765d61d8327deb882cf99", Scheme),
        ("$6$rounds=5000$salt$hash", Scheme),
        ("$scrypt$ln=15,r=8,p=1$c2FsdHNhbHQ$US0HkBG7", Scheme),
        ("$pbkdf2-sha512$i=1000,l=32$c2FsdA$US0HkBG7", Scheme),
        ("$pbkdf2$1000$c2FsdA$US0HkBG7", Scheme),
        (&bcrypt.replace("$2y", "$2x"), Scheme),
        (&bcrypt.replace("$2y", "$2"), Malformed),
        ("$2b$10$", Malformed),
        (&bcrypt[..59], Malformed),
        (&format!("{bcrypt}a"), Malformed),
        (&bcrypt.replace("jkG", "j!G"), Malformed),
        (&bcrypt.replace("$04$", "$4$$"), Malformed),
        (&bcrypt.replace("$04$", "$03$"), BcryptCost),
        (&bcrypt.replace("$04$", "$15$"), BcryptCost),
        (&bcrypt.replace("$04$", "$31$"), BcryptCost),
        (&pbkdf2.replace("$1000$", "$0$"), Malformed),
        (&pbkdf2.replace("$1000$", "$4000001$"), Pbkdf2Work),
        (&pbkdf2.replace("$1000$", "$i=4294967295,l=32$"), Pbkdf2Work),
        (&pbkdf2.replace("$1000$", "$i=1000,l=31$"), Malformed),
        (&pbkdf2.replace("$1000$", "$i=1000$"), Malformed),
        (&pbkdf2.replace("$1000$", "$l=32,i=1000$"), Malformed),
        (&pbkdf2.replace("ur7Gk", ""), Malformed),
        (&argon2.replace("m=64", "m=262145"), Argon2Cost),
        (&argon2.replace("m=64,t=2", "m=262144,t=5"), Argon2Cost),
        (&argon2.replace("t=2", "t=4294967295"), Argon2Cost),
        (&argon2.replace("p=1", "p=17"), Argon2Cost),
        (&argon2.replace("m=64", "m=7"), Malformed),
        (&argon2.replace("m=64,t=2", "t=2,m=64"), Malformed),
        (&argon2.replace("p=1", "p=1,keyid=AAAA"), Malformed),
        (&argon2.replace("v=19", "v=20"), Malformed),
        (&argon2.replace("azVjVUdkcmU4Ni84eTNyYw", "azVj"), Malformed),
        (&argon2.replace("$lvpGG9bkjSDhh+V0iS9cuT3TWJwENWVJ9fWhVyruZFk", "$lvpGG9bkjSDhh+V0iS8"), Malformed),
        (&format!("{argon2}{}", "A".repeat(500)), Malformed),
    ] {
        assert_eq!(ForeignHash::parse(hash).map(|hash| hash.cost), Err(reason), "{hash}");
    }
}

#[test]
fn limits_are_inclusive() {
    let [bcrypt, .., pbkdf2] = HASHES;
    for hash in [
        bcrypt.replace("$04$", "$14$"),
        pbkdf2.replace("$1000$", "$4000000$"),
        pbkdf2.replace("$1000$", "$i=4000000,l=32$"),
        HASHES[3].replace("m=64,t=2,p=1", "m=262144,t=4,p=16"),
    ] {
        assert!(ForeignHash::parse(&hash).is_ok(), "{hash}");
    }
}

#[test]
fn a_decoy_has_its_cost_and_matches_nothing() {
    for hash in HASHES {
        let cost = ForeignHash::parse(hash).unwrap().cost();
        let decoy = ForeignHash::decoy(cost);
        assert_eq!(decoy.cost(), cost);
        assert!(!decoy.evaluate(&Password::present(PASSWORD).unwrap(), &mut Vec::new()));
    }
}

#[test]
fn debug_shows_neither_salt_nor_digest() {
    let shown = format!("{:?}", ForeignHash::parse(HASHES[0]).unwrap());
    assert_eq!(shown, "ForeignHash { cost: Bcrypt { cost: 4 }, .. }");
}
