//! Large pages for a model's memory.
//!
//! Writing a token reads every weight once, and with pages of 4 KiB the CPU looks an address up 512 times as often as with
//! pages of 2 MiB: 2 to 6 % of the time of a model with a billion weights. llama.cpp takes its memory from malloc, which
//! asks Linux for large pages only where the environment said so before the process began. So what a model's loading
//! added to the process is found among its mappings, and Linux is asked to put it into large pages. It may not: all
//! that is lost then is that time.

use std::ops::Range;

use tracing::debug;

/// What a large page holds, on all CPUs that have small ones of 4 KiB.
const LARGE: usize = 2 << 20;
/// Mappings of less gain nothing that could be measured.
const WORTH: usize = 8 << 20;
/// How Linux says whether there are large pages, the present answer in brackets.
const ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// Has Linux put what was added since then into large pages, unless its administrator wants none.
pub(crate) fn enlarge(before: &Mappings) {
    let wanted = std::fs::read_to_string(ENABLED).is_ok_and(|answer| !answer.contains("[never]"));
    if !wanted {
        return;
    }
    let added = Mappings::now().beyond(before);
    for range in added.into_iter().filter(|range| range.len() >= WORTH).map(inside) {
        // For what will be written there later; then page by page, since one that cannot be moved would keep those
        // behind it from being moved too.
        advise(range.start, range.len(), Advice::Enlarge);
        let pages = range.step_by(LARGE);
        let all = pages.len();
        let moved = pages.filter(|&page| advise(page, LARGE, Advice::Move)).count();
        debug!("moved {moved} of {all} pieces of memory into large pages");
    }
}

/// Where the process has memory of its own, which is no part of a file.
pub(crate) struct Mappings(Vec<Range<usize>>);

impl Mappings {
    /// As they are now; none where the system does not tell.
    pub(crate) fn now() -> Self {
        Self(parse(&std::fs::read_to_string("/proc/self/maps").unwrap_or_default()))
    }

    /// What there is here and was not there before.
    fn beyond(&self, before: &Self) -> Vec<Range<usize>> {
        let mut added = Vec::new();
        for mapping in &self.0 {
            let mut start = mapping.start;
            // Neighbours are told as one mapping, so a new one may be a part of an old one that has grown.
            for old in before.0.iter().filter(|old| old.start < mapping.end && old.end > mapping.start) {
                added.push(start..old.start.max(start));
                start = old.end.max(start);
            }
            added.push(start..mapping.end.max(start));
        }
        added
    }
}

/// The mappings that can be read and written and that no file, stack or the like is behind. The heap counts: malloc may
/// take large memory there.
fn parse(maps: &str) -> Vec<Range<usize>> {
    let own = |line: &str| {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        let name = words.nth(3).unwrap_or_default();
        let (start, end) = range.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        (rights == "rw-p" && (name.is_empty() || name == "[heap]")).then_some(address(start)?..address(end)?)
    };
    maps.lines().filter_map(own).collect()
}

/// The large pages that lie in a range.
fn inside(range: Range<usize>) -> Range<usize> {
    let start = range.start.next_multiple_of(LARGE);
    start..(range.end / LARGE * LARGE).max(start)
}

/// What Linux is told of a range.
#[derive(Clone, Copy)]
enum Advice {
    /// What is written there for the first time goes into large pages.
    Enlarge,
    /// What is there goes into large pages now.
    Move,
}

/// Tells Linux what so many bytes are for; whether it did what that asks for.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a system call over addresses")]
fn advise(address: usize, bytes: usize, advice: Advice) -> bool {
    let advice = match advice {
        Advice::Enlarge => libc::MADV_HUGEPAGE,
        Advice::Move => libc::MADV_COLLAPSE,
    };
    // SAFETY: both pieces of advice leave what is in memory as it is, and Linux refuses addresses that are nobody's.
    unsafe { libc::madvise(std::ptr::without_provenance_mut(address), bytes, advice) == 0 }
}

/// Nobody else has memory that can be told of like this.
#[cfg(not(target_os = "linux"))]
fn advise(_address: usize, _bytes: usize, _advice: Advice) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
        5600000000-5600100000 r-xp 00000000 fd:01 77 /usr/bin/ghost\n\
        5600100000-5600200000 rw-p 00000000 00:00 0 [heap]\n\
        7f00000000-7f10000000 r--s 00000000 fd:01 78 /models/a.gguf\n\
        7f20000000-7f21000000 rw-p 00000000 00:00 0 \n\
        7f30000000-7f30100000 ---p 00000000 00:00 0 \n\
        7ffe000000-7ffe100000 rw-p 00000000 00:00 0 [stack]\n";

    #[test]
    fn memory_of_our_own_is_told_from_files_and_stacks() {
        assert_eq!(parse(MAPS), [0x56_0010_0000..0x56_0020_0000, 0x7f_2000_0000..0x7f_2100_0000]);
        assert!(parse("nonsense\n7f-zz rw-p 0 0 0\n").is_empty());
    }

    #[test]
    fn what_was_added_is_what_was_not_there_though_mappings_grow_together() {
        let before = Mappings(vec![100..200, 300..400]);
        let now = Mappings(vec![50..450, 600..700]);
        let added: Vec<_> = now.beyond(&before).into_iter().filter(|range| !range.is_empty()).collect();
        assert_eq!(added, [50..100, 200..300, 400..450, 600..700]);
        assert!(before.beyond(&before).iter().all(Range::is_empty));
    }

    #[test]
    fn what_is_asked_for_is_whole_pages_and_leaves_memory_as_it_is() {
        assert_eq!(inside(1..(6 << 20) + 1), 2 << 20..6 << 20);
        assert!(inside(1..2 << 20).is_empty());
        let before = Mappings::now();
        let memory: Vec<u8> = (0..64 << 20).map(|at| (at % 251) as u8).collect();
        enlarge(&before);
        assert!(memory.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
    }
}
