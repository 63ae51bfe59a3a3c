//! Times implementations of argon2id. `measure NAME` prints one line for each time: the name of the build, the cost, the
//! implementation and milliseconds of CPU time, which other programs disturb less than real time. `table` reads such lines and prints their medians.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{self, BufRead as _};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use memmap2::{Advice, MmapMut};
use rustix::time::{ClockId, clock_gettime};

const PASSWORD: &[u8] = b"correct horse battery";
const SALT: [u8; 16] = [60; 16];
/// m in KiB and t. p is 1.
const COSTS: [(u32, u32); 2] = [(19456, 2), (65536, 3)];
/// Hashes of each implementation in one call of `measure`. They alternate.
const HASHES: usize = 5;

type Digest = [u8; 32];
type Hash = Box<dyn FnMut() -> Digest>;

/// An implementation: its name, how it chooses instructions, and a function that prepares it for a cost.
struct Implementation {
    name: &'static str,
    instructions: &'static str,
    /// `None` in a build without it.
    prepare: Option<fn(u32, u32) -> Hash>,
}

const RUSTCRYPTO: &str = "AVX2 at run time";

const IMPLEMENTATIONS: &[Implementation] = &[
    Implementation { name: "argon2, memory reused", instructions: RUSTCRYPTO, prepare: Some(reused) },
    Implementation { name: "argon2, memory fresh", instructions: RUSTCRYPTO, prepare: Some(fresh) },
    Implementation { name: "argon2, reused, huge pages", instructions: RUSTCRYPTO, prepare: Some(huge_pages) },
    Implementation { name: "rust-argon2, fresh", instructions: "as compiled", prepare: Some(rust_argon2) },
    Implementation {
        name: "C reference opt.c, reused",
        instructions: "this CPU's",
        #[cfg(feature = "reference")]
        prepare: Some(reference::prepare),
        #[cfg(not(feature = "reference"))]
        prepare: None,
    },
    Implementation {
        name: "libsodium, fresh",
        instructions: "SSSE3, AVX2, AVX-512 at run time",
        #[cfg(feature = "libsodium")]
        prepare: Some(libsodium::prepare),
        #[cfg(not(feature = "libsodium"))]
        prepare: None,
    },
];

fn argon2(m: u32, t: u32) -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(m, t, 1, Some(32)).unwrap())
}

fn reused(m: u32, t: u32) -> Hash {
    let argon2 = argon2(m, t);
    let mut memory = vec![Block::default(); argon2.params().block_count()];
    Box::new(move || {
        let mut digest = [0; 32];
        argon2.hash_password_into_with_memory(PASSWORD, &SALT, &mut digest, &mut memory).unwrap();
        digest
    })
}

fn fresh(m: u32, t: u32) -> Hash {
    let argon2 = argon2(m, t);
    Box::new(move || {
        let mut digest = [0; 32];
        argon2.hash_password_into(PASSWORD, &SALT, &mut digest).unwrap();
        digest
    })
}

fn huge_pages(m: u32, t: u32) -> Hash {
    let argon2 = argon2(m, t);
    let mut memory = MmapMut::map_anon(argon2.params().block_count() * Block::SIZE).unwrap();
    memory.advise(Advice::HugePage).unwrap();
    Box::new(move || {
        let mut digest = [0; 32];
        // SAFETY: a block consists of integers, for which any octets are valid. `align_to_mut` respects the alignment.
        let (before, blocks, after) = unsafe { memory.align_to_mut::<Block>() };
        assert!(before.is_empty() && after.is_empty());
        argon2.hash_password_into_with_memory(PASSWORD, &SALT, &mut digest, blocks).unwrap();
        digest
    })
}

fn rust_argon2(m: u32, t: u32) -> Hash {
    let config = rust_argon2::Config {
        hash_length: 32,
        lanes: 1,
        mem_cost: m,
        time_cost: t,
        variant: rust_argon2::Variant::Argon2id,
        version: rust_argon2::Version::Version13,
        ..Default::default()
    };
    Box::new(move || rust_argon2::hash_raw(PASSWORD, &SALT, &config).unwrap().try_into().unwrap())
}

#[cfg(feature = "reference")]
mod reference {
    use std::ptr::null_mut;
    use std::sync::atomic::{AtomicPtr, Ordering};

    use argon2_sys::{ARGON2_OK, ARGON2_VERSION_13, Argon2_Context, argon2id_ctx};

    use super::{Block, Hash, PASSWORD, SALT};

    /// The memory that the next hash of the reference implementation uses.
    static MEMORY: AtomicPtr<u8> = AtomicPtr::new(null_mut());

    unsafe extern "C" fn allocate(memory: *mut *mut u8, _octets: usize) -> i32 {
        // SAFETY: argon2 passes a valid pointer.
        unsafe { *memory = MEMORY.load(Ordering::Relaxed) };
        0
    }

    unsafe extern "C" fn keep(_memory: *mut u8, _octets: usize) {}

    pub fn prepare(m: u32, t: u32) -> Hash {
        let mut memory = vec![Block::default(); m as usize];
        Box::new(move || {
            MEMORY.store(memory.as_mut_ptr().cast(), Ordering::Relaxed);
            let (mut digest, mut password, mut salt) = ([0; 32], PASSWORD.to_vec(), SALT);
            let mut context = Argon2_Context {
                out: digest.as_mut_ptr(),
                outlen: 32,
                pwd: password.as_mut_ptr(),
                pwdlen: password.len() as u32,
                salt: salt.as_mut_ptr(),
                saltlen: 16,
                secret: null_mut(),
                secretlen: 0,
                ad: null_mut(),
                adlen: 0,
                t_cost: t,
                m_cost: m,
                lanes: 1,
                threads: 1,
                version: ARGON2_VERSION_13,
                allocate_cbk: Some(allocate),
                free_cbk: Some(keep),
                flags: 0,
            };
            // SAFETY: all pointers are valid during the call, with these lengths. `memory` has m blocks.
            assert_eq!(unsafe { argon2id_ctx(&mut context) }, ARGON2_OK);
            digest
        })
    }
}

#[cfg(feature = "libsodium")]
mod libsodium {
    use libsodium_sys as sodium;

    use super::{Hash, PASSWORD, SALT};

    pub fn prepare(m: u32, t: u32) -> Hash {
        // SAFETY: it has no preconditions.
        assert!(unsafe { sodium::sodium_init() } >= 0);
        Box::new(move || {
            let mut digest = [0; 32];
            // SAFETY: all pointers are valid during the call, with these lengths.
            let result = unsafe {
                sodium::crypto_pwhash_argon2id(
                    digest.as_mut_ptr(),
                    32,
                    PASSWORD.as_ptr().cast(),
                    PASSWORD.len() as u64,
                    SALT.as_ptr(),
                    t.into(),
                    m as usize * 1024,
                    sodium::crypto_pwhash_argon2id_ALG_ARGON2ID13 as i32,
                )
            };
            assert_eq!(result, 0);
            digest
        })
    }
}

/// Returns the CPU time of all threads, in milliseconds.
fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

fn measure(build: &str) {
    for (m, t) in COSTS {
        let expected = reused(m, t)();
        let mut hashes: Vec<(&str, Hash)> = IMPLEMENTATIONS
            .iter()
            .filter_map(|implementation| Some((implementation.name, implementation.prepare?(m, t))))
            .collect();
        // The first round is the warm-up. It also shows that all implementations compute the same.
        for round in 0..=HASHES {
            for (name, hash) in &mut hashes {
                let started = cpu_time();
                let digest = black_box(hash());
                let time = cpu_time() - started;
                assert_eq!(digest, expected, "{name}");
                if round > 0 {
                    println!("{build}\tm={m} t={t}\t{name}\t{time}");
                }
            }
        }
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Prints the medians and their ratios to the first implementation of the first build.
fn print_table() {
    let mut builds: Vec<String> = Vec::new();
    let mut times: BTreeMap<(String, String, String), Vec<f64>> = BTreeMap::new();
    for line in io::stdin().lock().lines() {
        let line = line.unwrap();
        let [build, cost, name, time] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        if !builds.iter().any(|known| known == build) {
            builds.push(build.to_owned());
        }
        times.entry((build.to_owned(), cost.to_owned(), name.to_owned())).or_default().push(time.parse().unwrap());
    }
    println!("| argon2id, p=1 | instructions | {} |", builds.join(" | "));
    println!("|---|---|{}", "---|".repeat(builds.len()));
    for (m, t) in COSTS {
        let cost = format!("m={m} t={t}");
        let mut cell = |build: &str, name: &str| {
            times.get_mut(&(build.to_owned(), cost.clone(), name.to_owned())).map(|times| median(times))
        };
        let base = cell(&builds[0], IMPLEMENTATIONS[0].name).unwrap();
        for Implementation { name, instructions, .. } in IMPLEMENTATIONS {
            let cells: Vec<String> = builds
                .iter()
                .map(|build| cell(build, name).map_or("–".into(), |time| format!("{time:.2} ({:.2})", time / base)))
                .collect();
            println!("| {cost}: {name} | {instructions} | {} |", cells.join(" | "));
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["measure", build] => measure(build),
        ["table"] => print_table(),
        _ => panic!("expected `measure NAME` or `table`"),
    }
}
