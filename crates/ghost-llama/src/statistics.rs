//! What the engine has done since it was loaded.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the model was loaded, and how many requests are with it now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Batches decoded.
    pub steps: u64,
    /// Tokens of prompts, those from the prefix cache included.
    pub prompt_tokens: u64,
    /// Of these, tokens that the prefix cache spared the model.
    pub prompt_tokens_cached: u64,
    /// Tokens answered.
    pub answer_tokens: u64,
    /// Requests taken up, whatever came of them.
    pub requests: u64,
    /// Answers in the making.
    pub running: u64,
    /// Requests that wait for their turn.
    pub waiting: u64,
}

/// The counters as the thread keeps them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) steps: AtomicU64,
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) prompt_tokens_cached: AtomicU64,
    pub(crate) answer_tokens: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) running: AtomicU64,
    /// Those that the thread has taken from its queue and not begun.
    pub(crate) waiting: AtomicU64,
    /// The milliseconds after which a place is likely to become free.
    pub(crate) pace: AtomicU64,
}

impl Counters {
    /// What they say now, with so many in the queue.
    pub(crate) fn read(&self, queued: usize) -> Statistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            steps: read(&self.steps),
            prompt_tokens: read(&self.prompt_tokens),
            prompt_tokens_cached: read(&self.prompt_tokens_cached),
            answer_tokens: read(&self.answer_tokens),
            requests: read(&self.requests),
            running: read(&self.running),
            waiting: read(&self.waiting) + queued as u64,
        }
    }
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}
