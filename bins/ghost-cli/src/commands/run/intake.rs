//! Submits the tasks of a file, as fast as the store takes them.

use std::sync::atomic::{AtomicU64, Ordering};

use ghost_core::broker::{MAX_BATCH, Submission};
use ghost_core::id::BatchId;
use ghost_core::retry::Retry;
use ghost_core::task::TaskRequest;
use ghost_orchestrator::Handle;

use super::input::Input;
use crate::output::talk;
use ghost_core::task_file::{Line, Rejection};

/// So many rejected lines are named; a file that is no task file at all must not flood the terminal.
const NAMED: u64 = 100;

/// Counts what was accepted and what was not.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    accepted: AtomicU64,
    rejected: AtomicU64,
}

impl Intake {
    /// How many tasks the store has.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many lines were no task.
    pub(crate) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Counts tasks that the store had already.
    pub(crate) fn accept(&self, tasks: u64) {
        self.accepted.fetch_add(tasks, Ordering::Relaxed);
    }

    /// Submits every task of the file; those that were submitted before are known by their ids.
    pub(crate) async fn submit(&self, input: &Input, handle: &Handle, batch: BatchId) -> anyhow::Result<()> {
        let mut waiting = Vec::with_capacity(MAX_BATCH);
        for line in input.tasks()? {
            match line? {
                Line::Task(request) => waiting.push(request),
                Line::Rejected(Rejection { line, reason }) => {
                    self.reject(format!("{}:{line}: {reason}", input.name));
                }
            }
            if waiting.len() == MAX_BATCH {
                self.send(std::mem::take(&mut waiting), handle, batch).await?;
            }
        }
        self.send(waiting, handle, batch).await
    }

    async fn send(&self, requests: Vec<TaskRequest>, handle: &Handle, batch: BatchId) -> anyhow::Result<()> {
        if requests.is_empty() {
            return Ok(());
        }
        let submissions = loop {
            match handle.submit(Some(batch), requests.clone()).await {
                Ok(submissions) => break submissions,
                // A full queue is no failure of a long file: its workers make room.
                Err(error) => match error.retry() {
                    Retry::After(wait) => tokio::time::sleep(wait).await,
                    Retry::Now | Retry::Never => return Err(error.into()),
                },
            }
        };
        for submission in submissions {
            match submission {
                Submission::New(_) | Submission::Known(_) => self.accept(1),
                Submission::Conflict(key) => {
                    self.reject(format!("task {} was submitted with other contents before", key.id));
                }
            }
        }
        Ok(())
    }

    fn reject(&self, words: String) {
        let before = self.rejected.fetch_add(1, Ordering::Relaxed);
        if before < NAMED {
            talk(words);
        } else if before == NAMED {
            talk("… more rejected lines are counted, but not named");
        }
    }
}
