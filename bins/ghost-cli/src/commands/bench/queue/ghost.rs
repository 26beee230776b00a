//! Ghosts that do nothing: what is measured is everything around them.

use std::time::Instant;

use async_trait::async_trait;
use ghost_core::lifecycle::{Answer, DEFAULT_CAPABILITY};
use ghost_worker::ghost::{Ghost, Task, Trouble};
use tokio::sync::mpsc;

/// Tasks that a worker has under way.
const AT_ONCE: usize = 256;

/// Answers at once, and tells when it was asked.
pub(super) struct Idle {
    /// Where it tells.
    pub(super) begun: mpsc::UnboundedSender<Instant>,
}

#[async_trait]
impl Ghost for Idle {
    fn capabilities(&self) -> Vec<String> {
        vec![DEFAULT_CAPABILITY.to_owned()]
    }

    fn max_load(&self) -> usize {
        AT_ONCE
    }

    async fn process_task(&self, task: &Task) -> Result<Answer, Trouble> {
        // Nobody listens where nothing but throughput is measured.
        let _ = self.begun.send(Instant::now());
        Ok(task.answer("done"))
    }
}

/// Never answers.
pub(super) struct Stuck;

#[async_trait]
impl Ghost for Stuck {
    fn capabilities(&self) -> Vec<String> {
        vec![DEFAULT_CAPABILITY.to_owned()]
    }

    async fn process_task(&self, task: &Task) -> Result<Answer, Trouble> {
        task.cancel.cancelled().await;
        Err(Trouble::Cancelled)
    }
}
