//! Short names for a few models that are known to run here.
//!
//! An entry is a repository and a file name, and nothing else: what could change at the hub is asked there.

/// A model with a short name.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The name to pull it by.
    pub(crate) name: &'static str,
    /// `OWNER/REPO` at the hub.
    pub(crate) repository: &'static str,
    /// The file in it.
    pub(crate) file: &'static str,
}

/// All of them, the recommended one first.
pub(crate) const CATALOGUE: [Entry; 3] = [
    Entry {
        name: "phi-3-mini",
        repository: "microsoft/Phi-3-mini-4k-instruct-gguf",
        file: "Phi-3-mini-4k-instruct-q4.gguf",
    },
    Entry {
        name: "qwen2.5-1.5b",
        repository: "Qwen/Qwen2.5-1.5B-Instruct-GGUF",
        file: "qwen2.5-1.5b-instruct-q4_k_m.gguf",
    },
    Entry {
        name: "qwen2.5-0.5b",
        repository: "Qwen/Qwen2.5-0.5B-Instruct-GGUF",
        file: "qwen2.5-0.5b-instruct-q4_k_m.gguf",
    },
];

/// The entry with this name, in whatever case.
pub(crate) fn entry(name: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.name.eq_ignore_ascii_case(name))
}

/// The short names, for a message.
pub(crate) fn names() -> String {
    CATALOGUE.map(|entry| entry.name).join(", ")
}
