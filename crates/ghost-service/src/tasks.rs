//! Whoever spawns, waits: the owner of the async tasks that a process runs beside its main line.
//!
//! A task that panics or fails takes the others down in good order: its owner's token is cancelled, and
//! [`Owned::wait`] says which one it was.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use ghost_core::executor::words_of;
use tokio::task::{Id, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

/// Named tasks that end together.
#[derive(Debug)]
pub struct Owned {
    tasks: JoinSet<Result<(), Error>>,
    names: HashMap<Id, String>,
    shutdown: CancellationToken,
}

/// Why tasks did not end well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// One panicked.
    #[error("{name} panicked: {message}")]
    Panicked {
        /// The task's name.
        name: String,
        /// What the panic said.
        message: String,
    },
    /// One gave up.
    #[error("{name} failed: {message}")]
    Failed {
        /// The task's name.
        name: String,
        /// Why.
        message: String,
    },
    /// Some were still busy when the time to end was over; they were stopped where they stood.
    #[error("{} did not end within {grace:?} and was stopped", .names.join(", "))]
    Stuck {
        /// Their names.
        names: Vec<String>,
        /// The time they had.
        grace: Duration,
    },
}

/// What a task may end with: nothing, or a [`Result`] whose error ends the others.
pub trait Ending {
    /// Why it failed, if it did.
    fn failure(self) -> Option<String>;
}

impl Ending for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Display> Ending for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

impl Owned {
    /// An owner without tasks. The token is the one that its tasks take as their shutdown.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), names: HashMap::new(), shutdown }
    }

    /// Starts a task. It should end soon after the token is cancelled, and may end before.
    pub fn spawn<F>(&mut self, name: &str, task: F)
    where
        F: Future<Output: Ending> + Send + 'static,
    {
        let (shutdown, name) = (self.shutdown.clone(), name.to_owned());
        let names = name.clone();
        let handle = self.tasks.spawn(async move {
            let error = match AssertUnwindSafe(task).catch_unwind().await.map(Ending::failure) {
                Ok(None) => return Ok(()),
                Ok(Some(message)) => Error::Failed { name, message },
                Err(panic) => Error::Panicked { name, message: words_of(&*panic).to_owned() },
            };
            error!(%error, "{error}; the process ends");
            shutdown.cancel();
            Err(error)
        });
        self.names.insert(handle.id(), names);
    }

    /// Waits until all have ended; once the token is cancelled, not longer than `grace`.
    ///
    /// # Errors
    /// The first [`Error`].
    pub async fn wait(mut self, grace: Duration) -> Result<(), Error> {
        let shutdown = self.shutdown.clone();
        let mut first = Ok(());
        let all = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                // Nobody aborts a task and its panics are caught, so a task that ended has something to say.
                let Ok((id, outcome)) = ended else { continue };
                let name = self.names.remove(&id).unwrap_or_default();
                debug!(name, "{name} ended");
                if first.is_ok() {
                    first = outcome;
                }
            }
        };
        let late = async {
            shutdown.cancelled().await;
            sleep(grace).await;
        };
        tokio::select! {
            biased;
            () = all => {}
            () = late => {
                let mut names: Vec<_> = self.names.into_values().collect();
                names.sort();
                self.tasks.shutdown().await;
                return first.and(Err(Error::Stuck { names, grace }));
            }
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn tasks_that_end_by_themselves_are_waited_for() {
        let mut tasks = Owned::new(CancellationToken::new());
        tasks.spawn("one", async {});
        tasks.spawn("two", async { Ok::<(), Error>(()) });
        assert_eq!(tasks.wait(LONG).await, Ok(()));
    }

    #[tokio::test]
    async fn a_cancelled_token_lets_all_end() {
        let shutdown = CancellationToken::new();
        let mut tasks = Owned::new(shutdown.clone());
        tasks.spawn("listener", shutdown.clone().cancelled_owned());
        shutdown.cancel();
        assert_eq!(tasks.wait(LONG).await, Ok(()));
    }

    #[tokio::test]
    async fn a_panic_ends_the_others_in_good_order_and_is_named() {
        let shutdown = CancellationToken::new();
        let mut tasks = Owned::new(shutdown.clone());
        tasks.spawn("listener", shutdown.clone().cancelled_owned());
        let pulse = false;
        tasks.spawn("heartbeat", async move { assert!(pulse, "no pulse") });
        let error = Error::Panicked { name: "heartbeat".to_owned(), message: "no pulse".to_owned() };
        assert_eq!(tasks.wait(LONG).await, Err(error));
        assert!(shutdown.is_cancelled());
    }

    #[tokio::test]
    async fn an_error_ends_the_others_too() {
        let shutdown = CancellationToken::new();
        let mut tasks = Owned::new(shutdown.clone());
        tasks.spawn("listener", shutdown.clone().cancelled_owned());
        tasks.spawn("store", async { Err("the disk is full") });
        assert_eq!(
            tasks.wait(LONG).await.expect_err("it failed").to_string(),
            "store failed: the disk is full"
        );
    }

    #[tokio::test]
    async fn what_does_not_end_in_time_is_stopped_and_named() {
        let shutdown = CancellationToken::new();
        let mut tasks = Owned::new(shutdown.clone());
        tasks.spawn("stubborn", std::future::pending::<()>());
        shutdown.cancel();
        let grace = Duration::ZERO;
        let error = tasks.wait(grace).await.expect_err("one is stuck");
        assert_eq!(error, Error::Stuck { names: vec!["stubborn".to_owned()], grace });
    }
}
