//! CPU pinning, CPU time and memory of processes. Only Linux provides them; on other systems the figures that need them
//! are left out.

use std::fs;
use std::path::Path;

/// The CPU cores of this machine: one for the service, the others for the stores, the mail provider and the load.
pub struct CpuCores {
    service: usize,
    others: Vec<usize>,
}

impl CpuCores {
    /// Pins this thread to all cores but one. Threads and processes that it starts inherit the pinning.
    pub fn reserve_one_for_service() -> Self {
        let mut others = allowed_cores();
        let service = others.pop().unwrap_or(0);
        if others.is_empty() {
            others.push(service);
        }
        pin(&others);
        Self { service, others }
    }

    /// Returns the number of cores that the service does not use.
    pub fn other_count(&self) -> usize {
        self.others.len()
    }

    /// Returns whether the service has a core of its own.
    pub fn are_separate(&self) -> bool {
        cfg!(target_os = "linux") && !self.others.contains(&self.service)
    }

    pub fn description(&self) -> String {
        if self.are_separate() {
            format!("{} cores: one for the service, the others for the load and the stores", self.others.len() + 1)
        } else if cfg!(target_os = "linux") {
            "1 core, which the service, the stores and the load share: throughput and latency targets are not meaningful"
                .into()
        } else {
            "this system cannot pin processes to cores: throughput and latency targets are not meaningful".into()
        }
    }

    /// Runs `work` on the service's core. Processes that `work` starts stay on that core.
    pub fn on_service_core<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        run_on(&[self.service], work)
    }

    /// Runs `work`, and the processes that it starts, on any core.
    pub fn on_any_core<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let all: Vec<usize> = self.others.iter().copied().chain([self.service]).collect();
        run_on(&all, work)
    }
}

/// Runs `work` in a new thread that is pinned to `cores`. The pinning of the calling thread stays as it is.
fn run_on<T: Send>(cores: &[usize], work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            pin(cores);
            work()
        });
        thread.join().unwrap()
    })
}

#[cfg(target_os = "linux")]
fn allowed_cores() -> Vec<usize> {
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
fn allowed_cores() -> Vec<usize> {
    (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
}

#[cfg(not(target_os = "linux"))]
fn pin(_: &[usize]) {}

/// CPU time of a process's threads, in nanoseconds.
#[derive(Clone, Copy)]
pub struct CpuTime {
    /// Threads that compute password hashes.
    pub hashers: u64,
    /// All other threads.
    pub others: u64,
}

impl CpuTime {
    pub fn of_process(pid: u32) -> Option<Self> {
        let mut time = Self { hashers: 0, others: 0 };
        for entry in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            let thread = entry.ok()?.path();
            let name = fs::read_to_string(thread.join("comm")).ok()?;
            *(if name.starts_with("hasher") { &mut time.hashers } else { &mut time.others }) +=
                thread_cpu_time(&thread)?;
        }
        Some(time)
    }

    pub fn of_this_thread() -> Option<u64> {
        thread_cpu_time(Path::new("/proc/thread-self"))
    }
}

fn thread_cpu_time(thread: &Path) -> Option<u64> {
    fs::read_to_string(thread.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
}

/// Returns how often the threads of a process that compute no hashes have slept and were woken.
pub fn wake_ups(pid: u32) -> Option<u64> {
    let mut count = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let thread = entry.ok()?.path();
        if !fs::read_to_string(thread.join("comm")).ok()?.starts_with("hasher") {
            let status = fs::read_to_string(thread.join("status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            count += line.trim().parse::<u64>().ok()?;
        }
    }
    Some(count)
}

/// Returns the peak resident memory of a process, in MiB.
pub fn peak_memory(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024.0)
}
