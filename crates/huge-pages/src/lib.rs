//! Asks the kernel to back memory with huge pages. A program that walks through many MiB then spends less time on the
//! translation of addresses.
//!
//! This crate has the only `unsafe` code of the workspace: one call. The crates for memory maps offer the advice for octets
//! only, and turning octets into other types is `unsafe`, too.

use std::io;
use std::mem::MaybeUninit;

/// Asks the kernel to back `memory` with huge pages, where it has none yet: call this before the first use. The contents do
/// not change. The kernel decides, by its setting `/sys/kernel/mm/transparent_hugepage/enabled` and the free memory that it has.
///
/// Concerns only the whole pages within `memory`. Elsewhere than on Linux this does nothing.
///
/// # Errors
/// The kernel was built without transparent huge pages, or a sandbox forbids the call. The memory can be used all the same.
#[cfg(target_os = "linux")]
pub fn advise<T>(memory: &mut [MaybeUninit<T>]) -> io::Result<()> {
    let page = rustix::param::page_size();
    let octets = memory.as_mut_ptr_range();
    let (start, end) = (octets.start.cast::<u8>(), octets.end.cast::<u8>());
    let before = start.align_offset(page);
    let whole = (end.addr() - start.addr()).saturating_sub(before) / page * page;
    if whole == 0 {
        return Ok(());
    }
    let start = start.wrapping_add(before).cast();
    // SAFETY: the pages lie within `memory`, which the caller has borrowed to this function alone, and this advice changes
    // neither their contents nor whether they may be used.
    #[expect(unsafe_code, reason = "the only way to give the advice for memory of any type")]
    let advised = unsafe { rustix::mm::madvise(start, whole, rustix::mm::Advice::LinuxHugepage) };
    Ok(advised?)
}

/// Does nothing: only Linux knows this advice.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn advise<T>(_: &mut [MaybeUninit<T>]) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    /// Returns whether the kernel was advised about the mapping of an address: the flag `hg` (proc_pid_smaps(5)).
    fn is_advised(address: usize) -> bool {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_inside = false;
        for line in smaps.lines() {
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            if let Some((start, end)) = first.split_once('-') {
                let bound = |text| usize::from_str_radix(text, 16).unwrap();
                is_inside = (bound(start)..bound(end)).contains(&address);
            } else if is_inside && first == "VmFlags:" {
                return rest.split(' ').any(|flag| flag == "hg");
            }
        }
        panic!("the address has no mapping");
    }

    #[test]
    fn the_kernel_is_advised_and_contents_stay() {
        let mut memory: Vec<u64> = Vec::with_capacity(2_500_000);
        memory.extend(0..100_000);
        let middle = memory.as_ptr().wrapping_add(1_250_000).addr();
        // An error: this kernel has no transparent huge pages.
        if advise(memory.spare_capacity_mut()).is_ok() {
            assert!(is_advised(middle));
        }
        memory.extend(100_000..2_500_000);
        assert!(memory.iter().copied().eq(0..2_500_000));
    }

    #[test]
    fn memory_without_a_whole_page_is_left_alone() {
        advise(&mut [MaybeUninit::<u64>::uninit(); 3]).unwrap();
    }
}
