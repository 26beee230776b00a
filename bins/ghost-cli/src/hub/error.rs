//! What can go wrong between a name and its file, what to try then, and whether the same may go well the next time.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ghost_core::retry::Retry;

use super::hash::Hash;
use super::lock_file::Pin;
use crate::output;

/// Why a model is not here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No answer, or not all of it.
    #[error("the connection to {host} failed: {reason}")]
    Connection {
        /// With whom.
        host: String,
        /// In the words of the network.
        reason: String,
    },
    /// Too many ask, or the server rests.
    #[error("{host} has too much to do (HTTP {status}){}", asked(.wait))]
    Busy {
        /// Who.
        host: String,
        /// 429 or 503.
        status: u16,
        /// How long it asks to wait.
        wait: Option<Duration>,
    },
    /// The server failed.
    #[error("{host} failed (HTTP {status})")]
    Server {
        /// Who.
        host: String,
        /// 5xx or 408.
        status: u16,
    },
    /// Who asks is not known.
    #[error("{host} wants to know who asks for {repository} (HTTP 401): {}", .next)]
    Unauthorized {
        /// Who.
        host: String,
        /// What was asked for.
        repository: String,
        /// What to try: it depends on whether a token was sent.
        next: &'static str,
    },
    /// Who asks may not have it.
    #[error(
        "{host} does not give {repository} to this token (HTTP 403): accept the model's conditions on its page there, \
         and set HF_TOKEN to a token of the same account that may read it"
    )]
    Forbidden {
        /// Who.
        host: String,
        /// What was asked for.
        repository: String,
    },
    /// There is no such thing.
    #[error("{host} has no such {what} (HTTP 404): {sought}; look for its exact name there")]
    NotFound {
        /// Who.
        host: String,
        /// A repository, a revision, a file, or one of them.
        what: &'static str,
        /// What was asked for.
        sought: String,
    },
    /// Any other refusal.
    #[error("{host} refuses (HTTP {status}{}); check HF_ENDPOINT", said(.message))]
    Refused {
        /// Who.
        host: String,
        /// The status.
        status: u16,
        /// In its words, if it has any.
        message: String,
    },
    /// It answers as no hub does.
    #[error("{host} does not answer like a hub: {what}; check HF_ENDPOINT")]
    NoHub {
        /// Who.
        host: String,
        /// What is odd.
        what: String,
    },
    /// Another file than the one that was pinned.
    #[error(
        "the hub has another file now: {} pins sha256 {} ({} bytes), the hub offers {} ({} bytes). If its owner published a \
         new version and you want that, add --update; {}", .lock.display(), .pinned.sha256, .pinned.size, .offered.sha256,
        .offered.size, older(&.pinned.commit)
    )]
    Changed {
        /// The lock file.
        lock: PathBuf,
        /// What was pinned.
        pinned: Box<Pin>,
        /// What is offered.
        offered: Box<Pin>,
    },
    /// All of it came, but it is something else.
    #[error(
        "what came is not what the hub announced: it has sha256 {received}, not {announced}; it was thrown away. Try \
         again; if it stays so, something on the way changes it, or the mirror at HF_ENDPOINT has another file"
    )]
    Altered {
        /// What the hub said.
        announced: Hash,
        /// What came.
        received: Hash,
    },
    /// More or less than announced.
    #[error(
        "{host} sends {received} bytes where the hub announced {announced}; it was thrown away. Try again; if it stays so, \
         the mirror at HF_ENDPOINT has another file"
    )]
    Size {
        /// Who.
        host: String,
        /// In bytes.
        announced: u64,
        /// In bytes.
        received: u64,
    },
    /// No model in it.
    #[error("what {host} sends is no GGUF file; it was thrown away. Choose a file that llama.cpp can load")]
    NotGguf {
        /// Who.
        host: String,
    },
    /// It would not fit.
    #[error(
        "there is too little room: {} more are needed in {} and {} are free; make room, or choose another directory with \
         --data DIR", output::bytes(*.needed), .folder.display(), output::bytes(*.free)
    )]
    Disk {
        /// Where.
        folder: PathBuf,
        /// In bytes.
        needed: u64,
        /// In bytes.
        free: u64,
    },
    /// Somebody else is pulling it.
    #[error("{holder} is pulling this file here; wait for it")]
    Held {
        /// Who, in words.
        holder: String,
    },
    /// The lock file makes no sense.
    #[error(
        "{} cannot be used: {reason}. Put it right, or move it away and pull again what you need", .file.display()
    )]
    Lock {
        /// The lock file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The disk does not do as it is told.
    #[error("{} cannot be used", .path.display())]
    File {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No client for HTTP.
    #[error("no HTTP client can be made: {0}")]
    Client(String),
}

impl Error {
    /// What a caller may do.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            Error::Connection { .. } | Error::Server { .. } => Retry::Now,
            Error::Busy { wait, .. } => wait.map_or(Retry::Now, Retry::After),
            _ => Retry::Never,
        }
    }

    /// An error of the disk.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Error::File { path: path.into(), source }
    }
}

fn asked(wait: &Option<Duration>) -> String {
    wait.map(|wait| format!(" and asks to wait for {}", output::duration(wait.as_millis() as u64)))
        .unwrap_or_default()
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(", \"{}\"", output::short(message, 200)) }
}

fn older(commit: &Option<String>) -> String {
    match commit {
        Some(commit) => format!("to have the pinned one, add --revision {commit}"),
        None => "to have the pinned one, name the commit that has it with --revision".to_owned(),
    }
}
