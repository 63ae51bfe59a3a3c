//! Where this run measures: the commit, the machine and the compiler.

use std::fs;
use std::process::Command;

use crate::accepted::Context;

pub fn of_this_run() -> Context {
    // The threads of the benchmark are pinned, so `available_parallelism` would return less.
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpus = || info.lines().filter_map(|line| line.strip_prefix("model name"));
    Context {
        commit: output("git", &["describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]),
        cpu: cpus().next().map(|cpu| cpu.trim_start_matches([' ', '\t', ':']).to_owned()),
        cores: cpus().count(),
        rustc: output("rustc", &["--version"]),
    }
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
