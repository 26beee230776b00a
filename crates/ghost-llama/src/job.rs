//! A request on its way to the engine's thread, and what comes back.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use ghost_core::inference::{self, Completion, Provider, Request};
use tokio::sync::mpsc;

/// What the thread is asked.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) work: Work,
    /// Where text and result go. Unbounded, so that a slow reader never stalls the model; an answer's own token
    /// budget bounds what lies in it. Closed, it withdraws the job.
    pub(crate) events: mpsc::UnboundedSender<Event>,
}

/// What a sequence is made of.
#[derive(Debug)]
pub(crate) enum Work {
    /// Somebody's request.
    Request {
        request: Box<Request>,
        /// Whether somebody reads the text as it appears.
        streams: bool,
        /// Nobody waits longer than until then.
        deadline: Option<Instant>,
    },
    /// Made-up tokens, to measure with.
    MadeUp {
        prompt_tokens: usize,
        answer_tokens: usize,
        /// Which tokens.
        seed: u64,
        /// How many of those that are measured together have not read their prompts; none answers before all have.
        unread: Arc<AtomicUsize>,
    },
}

/// What the thread reports of a job.
#[derive(Debug)]
pub(crate) enum Event {
    /// The prompt is read, at this time.
    Read(Instant),
    /// More text.
    Delta(String),
    /// The end, at this time.
    End(Instant, Box<Result<Completion, inference::Error>>),
}

impl Job {
    /// Why nobody waits for it any more; nothing where somebody does.
    pub(crate) fn withdrawal(&self) -> Option<inference::Error> {
        if self.events.is_closed() {
            return Some(inference::Error::Cancelled);
        }
        let Work::Request { request, deadline, .. } = &self.work else { return None };
        if request.cancel.is_cancelled() {
            return Some(inference::Error::Cancelled);
        }
        deadline.filter(|deadline| Instant::now() >= *deadline).map(|_| inference::Error::Timeout {
            provider: Provider::Slm.name().into(),
            waited: request.timeout,
        })
    }

    /// Tells whoever still listens how it ended.
    pub(crate) fn end(&self, result: Result<Completion, inference::Error>) {
        // Nobody may be there to hear it.
        let _ = self.events.send(Event::End(Instant::now(), Box::new(result)));
    }

    /// Hands on text, where somebody reads it as it appears.
    pub(crate) fn hand_on(&self, text: String) {
        if matches!(self.work, Work::Request { streams: true, .. }) {
            // Whether anybody still reads is looked at before the next step.
            let _ = self.events.send(Event::Delta(text));
        }
    }
}
