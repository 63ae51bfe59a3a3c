//! The memory limit of this process: of its cgroup and of all cgroups above it (version 1 or 2), and of the machine.

use std::fs;
use std::path::Path;

/// Version 1 writes about 2^63 if there is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// Returns the limit in octets. `None` if the system does not tell.
pub(super) fn memory_limit() -> Option<u64> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_cgroups = cgroup_limit(&cgroups, Path::new("/sys/fs/cgroup"));
    let of_machine = fs::read_to_string("/proc/meminfo").ok().and_then(|info| machine_memory(&info));
    [of_cgroups, of_machine].into_iter().flatten().min()
}

/// Returns the lowest limit of the cgroups in `/proc/self/cgroup` and of those above them. `root` is the folder where they
/// are mounted.
///
/// A container often sees the path of its cgroup on the host, but only its own cgroup, mounted as the root. So folders that
/// do not exist are skipped.
fn cgroup_limit(cgroups: &str, root: &Path) -> Option<u64> {
    let limits = cgroups.lines().filter_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            // Beside version 1, systemd mounts version 2 in a folder of its own.
            let mounts = [root.to_owned(), root.join("unified")];
            mounts.iter().filter_map(|mount| lowest_limit(mount, path, "memory.max")).min()
        } else if controllers.split(',').any(|controller| controller == "memory") {
            lowest_limit(&root.join("memory"), path, "memory.limit_in_bytes")
        } else {
            None
        }
    });
    limits.min()
}

/// Returns the lowest limit in the files of this name, from `mount`/`path` up to `mount`.
fn lowest_limit(mount: &Path, path: &str, file: &str) -> Option<u64> {
    let limit = |folder: &Path| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok();
    let folders = mount.join(path);
    let within_mount = folders.ancestors().take_while(|folder| folder.starts_with(mount));
    within_mount.filter_map(limit).filter(|limit| *limit < NO_LIMIT).min()
}

/// Returns the memory of the machine, from `/proc/meminfo`.
fn machine_memory(info: &str) -> Option<u64> {
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the limit with these files below a made-up root.
    fn limit(test: &str, cgroups: &str, files: &[(&str, &str)]) -> Option<u64> {
        let root = std::env::temp_dir().join(format!("sixty-cgroup-{test}-{}", std::process::id()));
        for (file, content) in files {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        let limit = cgroup_limit(cgroups, &root);
        let _ = fs::remove_dir_all(&root);
        limit
    }

    const MIB: &str = "1048576\n";
    const GIB: &str = "1073741824\n";
    const UNLIMITED_V1: &str = "9223372036854771712\n";

    #[test]
    fn the_lowest_limit_up_to_the_root_counts_in_version_2() {
        let files = [("a/memory.max", MIB), ("a/b/memory.max", GIB), ("a/b/c/memory.max", "max\n")];
        assert_eq!(limit("v2", "0::/a/b/c\n", &files), Some(1 << 20));
        assert_eq!(
            limit("v2-other", "0::/a/b/c\n", &[("a/b/c/memory.max", GIB), ("other/memory.max", MIB)]),
            Some(1 << 30)
        );
        // A container without a path of its own, and one that sees the path on the host.
        assert_eq!(limit("v2-root", "0::/\n", &[("memory.max", MIB)]), Some(1 << 20));
        assert_eq!(limit("v2-host", "0::/docker/0a1b\n", &[("memory.max", MIB)]), Some(1 << 20));
        assert_eq!(limit("v2-outside", "0::/../..\n", &[("memory.max", MIB)]), Some(1 << 20));
        assert_eq!(limit("v2-max", "0::/a\n", &[("a/memory.max", "max\n")]), None);
        assert_eq!(limit("v2-none", "0::/a\n", &[]), None);
    }

    #[test]
    fn the_lowest_limit_up_to_the_root_counts_in_version_1() {
        let cgroups = "9:cpu,cpuacct:/a\n4:hugetlb,memory:/a/b\n0::/\n";
        let file = |folder: &str| format!("memory/{folder}memory.limit_in_bytes");
        let (root, a, b) = (file(""), file("a/"), file("a/b/"));
        assert_eq!(limit("v1", cgroups, &[(&root, UNLIMITED_V1), (&a, MIB), (&b, GIB)]), Some(1 << 20));
        assert_eq!(limit("v1-host", cgroups, &[(&root, GIB)]), Some(1 << 30));
        assert_eq!(limit("v1-none", cgroups, &[(&root, UNLIMITED_V1), (&a, UNLIMITED_V1)]), None);
    }

    #[test]
    fn version_2_is_found_beside_version_1() {
        let files = [("unified/a/memory.max", MIB), ("memory/memory.limit_in_bytes", UNLIMITED_V1)];
        assert_eq!(limit("hybrid", "4:memory:/\n0::/a\n", &files), Some(1 << 20));
    }

    #[test]
    fn the_memory_of_the_machine_is_read_from_meminfo() {
        assert_eq!(machine_memory("MemTotal:       16303108 kB\nMemFree: 1 kB\n"), Some(16_303_108 * 1024));
        assert_eq!(machine_memory(""), None);
    }
}
