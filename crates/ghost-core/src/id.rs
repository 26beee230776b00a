//! Names of things, each a type of its own so that no two can be confused.
//!
//! What comes from outside ([`TaskId`], [`AgentId`], [`Tenant`]) is checked once, when it is parsed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest id that anybody may give, in bytes.
pub const MAX_ID_LENGTH: usize = 128;

/// An id that was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An empty string names nothing.
    #[error("an id must not be empty")]
    Empty,
    /// Longer than [`MAX_ID_LENGTH`].
    #[error("an id has at most {MAX_ID_LENGTH} characters, not {0}")]
    TooLong(usize),
    /// Something other than printable ASCII.
    #[error("an id is printable ASCII, but character {position} is {character:?}")]
    NotPrintable {
        /// Counted from 1.
        position: usize,
        /// What stands there.
        character: char,
    },
    /// Not a batch id.
    #[error("a batch id is a UUID as `ghost run` prints it")]
    NotABatch,
}

fn checked(text: String) -> Result<String, Error> {
    if text.is_empty() {
        return Err(Error::Empty);
    }
    if let Some((at, character)) = text.chars().enumerate().find(|(_, c)| !matches!(c, ' '..='~')) {
        return Err(Error::NotPrintable { position: at + 1, character });
    }
    if text.len() > MAX_ID_LENGTH {
        return Err(Error::TooLong(text.len()));
    }
    Ok(text)
}

/// Four ids with one rule; a macro, because the rule must never differ between them.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                checked(text).map(Self)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                checked(text.to_owned()).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// A task's id, 1–128 printable ASCII characters, echoed unchanged; also its idempotency key.
    TaskId
}
text_id! {
    /// A process of the swarm: an orchestrator, a worker, an evaluator, or a user's own ghost.
    AgentId
}
text_id! {
    /// A message between agents; the same id again is the same message.
    MessageId
}
text_id! {
    /// On whose behalf a task runs; tenants take turns in the queue.
    Tenant
}

impl TaskId {
    /// A fresh id (UUIDv7, so that ids sort by time) for a task that came without one.
    pub fn generate() -> Self {
        Self(Uuid::now_v7().to_string())
    }
}

impl AgentId {
    /// A fresh id, unique per process start: `worker-018f…`.
    pub fn generate(role: &str) -> Self {
        Self(format!("{role}-{}", Uuid::now_v7().simple()))
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

/// One `ghost run`: ids are unique within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(Uuid);

impl BatchId {
    /// A fresh batch; later batches sort after earlier ones.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BatchId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Uuid::try_parse(text).map(Self).map_err(|_| Error::NotABatch)
    }
}

/// What a store knows a task by: its id, and the batch within which that id is unique (none for a lone submit).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskKey {
    /// The `ghost run` it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// The id that its sender gave, or that we made.
    pub id: TaskId,
}

impl TaskKey {
    /// The key of a task that belongs to no batch.
    pub fn lone(id: TaskId) -> Self {
        Self { batch: None, id }
    }
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.batch {
            Some(batch) => write!(f, "{batch}/{}", self.id),
            None => self.id.fmt(f),
        }
    }
}

/// The time-bound right of one holder to one task, fresh and random for every claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseToken(Uuid);

impl LeaseToken {
    /// What those see in its place who may look at a task but not act for its holder.
    pub const HIDDEN: Self = Self(Uuid::nil());

    /// A token that nobody held before.
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }

    /// The token that [`fmt::Display`] wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_id_is_echoed_unchanged() {
        let id: TaskId = "Order #4711 / retry~".parse().expect("printable ASCII");
        assert_eq!(id.to_string(), "Order #4711 / retry~");
    }

    #[test]
    fn what_is_empty_too_long_or_unprintable_is_refused_with_its_reason() {
        assert_eq!("".parse::<TaskId>(), Err(Error::Empty));
        assert_eq!("x".repeat(129).parse::<TaskId>(), Err(Error::TooLong(129)));
        assert_eq!("a\nb".parse::<TaskId>(), Err(Error::NotPrintable { position: 2, character: '\n' }));
        assert_eq!("né".parse::<TaskId>(), Err(Error::NotPrintable { position: 2, character: 'é' }));
    }

    #[test]
    fn later_batches_sort_after_earlier_ones() {
        let first = BatchId::generate();
        assert!(BatchId::generate() > first);
    }
}
