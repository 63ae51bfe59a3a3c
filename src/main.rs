//! The `sixty` program.

use std::process::ExitCode;

/// The C library's allocator took a tenth of the CPU time of a registration beyond its hash.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sixty::cli::run()
}
