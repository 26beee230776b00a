//! llama.cpp inside our process, as a [`Backend`].
//!
//! [`Llama::load`] starts a thread that owns the model (`engine`); a [`Llama`] is the handle that async code asks.
//! Many answers are in the making at once: `plan` says what a step decodes, `context` decodes it, `layout` cuts up
//! the memory, `shapes` and `prefix` save time. An answer (`sequence`) goes through `prompt` (the GGUF's chat
//! template), `constraint` (what its shape allows), `sampling` and `text` (whole characters, stop strings). All C++ of
//! Ghost Swarm is behind this crate.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ghost_core::inference::{self, Backend, Completion, Deltas, Provider, Request};
use tokio::sync::mpsc;

mod config;
mod constraint;
mod context;
pub mod embed;
mod engine;
mod error;
mod examine;
mod hardware;
mod job;
mod layout;
mod load;
mod log;
mod plan;
mod prefix;
mod probe;
mod prompt;
mod raw;
mod sampling;
mod sequence;
mod shapes;
mod statistics;
mod text;
mod threads;
mod tokenizer;
mod vocabulary;

pub use config::Config;
pub use embed::{EmbedConfig, Embedder};
pub use error::Error;
pub use examine::examine;
pub use hardware::has_gpu;
pub use probe::{Probe, Timing};
pub use statistics::Statistics;

use engine::Group;
use job::{Event, Job, Work};
use statistics::Counters;

/// What the thread's stack holds: llama.cpp builds its graphs on it, and grammars are read there.
const STACK: usize = 16 << 20;

/// A loaded model. Dropped, it ends the answer in the making and waits for its thread.
#[derive(Debug)]
pub struct Llama {
    facts: Facts,
    /// Taken when the handle is dropped, which ends the thread.
    jobs: Option<mpsc::Sender<Group>>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
}

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The model's name: its file's, without the extension.
    pub model: String,
    /// How many parameters it has.
    pub parameters: u64,
    /// The most tokens that a prompt and its answer may have together.
    pub context_tokens: u32,
    /// The most answers in the making at once.
    pub sequences: usize,
    /// The most tokens that all prompts and answers in the making may have together.
    pub cells: usize,
    /// How many threads decode.
    pub threads: usize,
}

impl Llama {
    /// Loads a model on a thread of its own and waits until it can be asked: milliseconds for a tiny one, seconds for
    /// a large one. Async code calls it where blocking is allowed.
    ///
    /// # Errors
    /// [`Error`] says what is wrong with the file or the configuration.
    pub fn load(config: Config) -> Result<Self, Error> {
        config.check()?;
        let (jobs, queue) = mpsc::channel(config.queue);
        let (ready, loaded) = std::sync::mpsc::sync_channel(1);
        let counters = Arc::new(Counters::default());
        let thread = thread::Builder::new()
            .name("llama".into())
            .stack_size(STACK)
            .spawn({
                let counters = counters.clone();
                move || engine::run(&config, &ready, queue, counters)
            })
            .map_err(|error| Error::Start(error.to_string()))?;
        let facts = loaded.recv().map_err(|_| Error::Start("its thread ended while loading".into()))??;
        Ok(Self { facts, jobs: Some(jobs), thread: Some(thread), counters })
    }

    /// What was loaded.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What it has done since it was loaded.
    pub fn statistics(&self) -> Statistics {
        let jobs = self.jobs();
        self.counters.read(jobs.max_capacity() - jobs.capacity())
    }

    fn jobs(&self) -> &mpsc::Sender<Group> {
        self.jobs.as_ref().expect("only dropping takes it")
    }

    fn submit(&self, group: Group) -> Result<(), inference::Error> {
        self.jobs().try_send(group).map_err(|refused| match refused {
            // One place becomes free when one of the answers in the making is done.
            mpsc::error::TrySendError::Full(_) => inference::Error::Overloaded {
                provider: Provider::Slm.name().into(),
                retry_after: Some(Duration::from_millis(
                    self.counters.pace.load(Ordering::Relaxed).clamp(50, 30_000),
                )),
            },
            mpsc::error::TrySendError::Closed(_) => gone(),
        })
    }
}

#[async_trait]
impl Backend for Llama {
    fn provider(&self) -> Provider {
        Provider::Slm
    }

    fn model(&self) -> &str {
        &self.facts.model
    }

    async fn generate(
        &self,
        request: Request,
        deltas: Option<Deltas>,
    ) -> Result<Completion, inference::Error> {
        let cancel = request.cancel.clone();
        let timeout = request.timeout;
        let (events, reports) = mpsc::unbounded_channel();
        // Leaving this function early drops `reports`, and that withdraws the job.
        let answer = async {
            let deadline = Instant::now().checked_add(timeout);
            let work = Work::Request { request: Box::new(request), streams: deltas.is_some(), deadline };
            self.submit(vec![Job { work, events }])?;
            follow(reports, deltas).await
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(inference::Error::Cancelled),
            answer = tokio::time::timeout(timeout, answer) => answer.unwrap_or_else(|_| {
                Err(inference::Error::Timeout { provider: Provider::Slm.name().into(), waited: timeout })
            }),
        }
    }
}

/// Passes text on until the end. A reader that is gone ends the answer.
async fn follow(
    mut reports: mpsc::UnboundedReceiver<Event>,
    deltas: Option<Deltas>,
) -> Result<Completion, inference::Error> {
    while let Some(event) = reports.recv().await {
        match (event, &deltas) {
            (Event::End(_, result), _) => return result,
            (Event::Delta(text), Some(deltas)) => {
                deltas.send(text).await.map_err(|_| inference::Error::Cancelled)?;
            }
            (Event::Delta(_), None) | (Event::Read(_), _) => {}
        }
    }
    Err(gone())
}

fn gone() -> inference::Error {
    inference::Error::Unavailable("the thread of the local model has ended; see the log".into())
}

impl Drop for Llama {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod random_model;
#[cfg(test)]
mod tests;
