//! The machine that a figure was measured on.

use std::fs;
use std::num::NonZeroUsize;
use std::process::Command;

use serde::Serialize;

/// What a reader must know of it to compare.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// The CPU's model, where the system tells.
    pub cpu: Option<String>,
    /// Cores that this process may use.
    pub cores: usize,
    /// Operating system and architecture.
    pub system: String,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        Self {
            cpu: fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| cpu(&text)),
            cores: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// What `redis-server` is called here; none where it is not there.
pub(crate) fn redis() -> Option<String> {
    let output = Command::new("redis-server").arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    Some(format!("Redis {version}"))
}

/// The memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// The most that it ever had, with what it maps of files and shares with others, as weights are.
    pub peak: u64,
    /// What it has now, shared or not.
    pub resident: u64,
    /// What it has now for itself alone.
    pub own: u64,
}

impl Memory {
    /// This process's, as it is now; none where the system does not tell.
    pub(crate) fn now() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// That of the process with this number.
    pub(crate) fn of(process: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/status")).ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let bytes = |name: &str| -> Option<u64> {
            let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kibibytes << 10)
        };
        Some(Self { peak: bytes("VmHWM:")?, resident: bytes("VmRSS:")?, own: bytes("RssAnon:")? })
    }
}

fn cpu(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_words_are_understood() {
        let info = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nflags\t\t: fpu\n";
        assert_eq!(cpu(info).as_deref(), Some("Some CPU @ 2.00GHz"));
        let status = "VmPeak:\t 9 kB\nVmHWM:\t   2048 kB\nVmRSS:\t 1 kB\nRssAnon:\t    1024 kB\n";
        assert_eq!(Memory::parse(status), Some(Memory { peak: 2 << 20, resident: 1 << 10, own: 1 << 20 }));
        assert_eq!((cpu(""), Memory::parse("VmHWM: many")), (None, None));
    }
}
