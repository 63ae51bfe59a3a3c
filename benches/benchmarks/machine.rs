//! Where things run, and what the kernel says that they took. Linux pins and tells; elsewhere the figures that need
//! it are left out.

use std::fs;
use std::path::Path;

/// One core for the service, the others for all else: stores, provider and load.
pub struct Cores {
    service: usize,
    rest: Vec<usize>,
}

impl Cores {
    /// Keeps this thread, and all that will be started from it, on the rest.
    pub fn of_this_machine() -> Self {
        let mut rest = allowed();
        let service = rest.pop().unwrap_or(0);
        if rest.is_empty() {
            rest.push(service);
        }
        pin(&rest);
        Self { service, rest }
    }

    /// How many the rest is.
    pub fn others(&self) -> usize {
        self.rest.len()
    }

    /// Whether the service can have a core for itself.
    pub fn are_apart(&self) -> bool {
        cfg!(target_os = "linux") && !self.rest.contains(&self.service)
    }

    pub fn described(&self) -> String {
        if self.are_apart() {
            format!("{} cores: where the service has one, the load and the stores have the rest", self.rest.len() + 1)
        } else if cfg!(target_os = "linux") {
            "1 core, for the service, the stores and the load: bars of throughput and latency cannot be judged here"
                .into()
        } else {
            "no pinning on this system: bars of throughput and latency cannot be judged here".into()
        }
    }

    /// Runs it on the service's core; what it starts stays there.
    pub fn on_service_core<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on(&[self.service], work)
    }

    /// Runs it, and what it starts, wherever the kernel likes.
    pub fn anywhere<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let all: Vec<usize> = self.rest.iter().copied().chain([self.service]).collect();
        on(&all, work)
    }
}

/// In a thread of its own, because where a thread runs is inherited by what it starts.
fn on<T: Send>(cores: &[usize], work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            pin(cores);
            work()
        });
        thread.join().unwrap()
    })
}

#[cfg(target_os = "linux")]
fn allowed() -> Vec<usize> {
    use nix::sched::{CpuSet, sched_getaffinity};
    let set = sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
    (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap()).collect()
}

#[cfg(target_os = "linux")]
fn pin(cores: &[usize]) {
    use nix::sched::{CpuSet, sched_setaffinity};
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core).unwrap());
    sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).unwrap();
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> Vec<usize> {
    (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
}

#[cfg(not(target_os = "linux"))]
fn pin(_: &[usize]) {}

/// The time that the threads of a process have computed, in nanoseconds.
#[derive(Clone, Copy)]
pub struct CpuTime {
    pub hashers: u64,
    pub others: u64,
}

impl CpuTime {
    pub fn of(pid: u32) -> Option<Self> {
        let mut time = Self { hashers: 0, others: 0 };
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            let task = task.ok()?.path();
            let name = fs::read_to_string(task.join("comm")).ok()?;
            *(if name.starts_with("hasher") { &mut time.hashers } else { &mut time.others }) += spent(&task)?;
        }
        Some(time)
    }

    pub fn of_this_thread() -> Option<u64> {
        spent(Path::new("/proc/thread-self"))
    }
}

fn spent(task: &Path) -> Option<u64> {
    fs::read_to_string(task.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
}

/// The most memory that a process has had, in MiB.
pub fn peak_memory(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024.0)
}
