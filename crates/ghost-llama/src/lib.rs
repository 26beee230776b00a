//! llama.cpp inside our process, as a [`Backend`].
//!
//! [`Llama::load`] starts a thread that owns the model (`engine`); a [`Llama`] is the handle that async code asks.
//! An answer goes through `prompt` (the GGUF's chat template), `constraint` (what its shape allows), `sampling`
//! and `text` (whole characters, stop strings). All C++ of Ghost Swarm is behind this crate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use ghost_core::inference::{self, Backend, Completion, Deltas, Provider, Request};
use tokio::sync::mpsc;

mod config;
mod constraint;
pub mod embed;
mod engine;
mod error;
mod examine;
mod hardware;
mod load;
mod log;
mod prompt;
mod sampling;
mod text;
mod tokenizer;
mod vocabulary;

pub use config::Config;
pub use embed::{EmbedConfig, Embedder};
pub use error::Error;
pub use examine::examine;
pub use hardware::has_gpu;

use engine::{Event, Job};

/// What the thread's stack holds: llama.cpp builds its graphs on it, and grammars are read there.
const STACK: usize = 16 << 20;

/// A loaded model. Dropped, it ends the answer in the making and waits for its thread.
#[derive(Debug)]
pub struct Llama {
    facts: Facts,
    /// Taken when the handle is dropped, which ends the thread.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// The milliseconds that the last answer took.
    pace: Arc<AtomicU64>,
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
        let pace = Arc::new(AtomicU64::new(0));
        let thread = thread::Builder::new()
            .name("llama".into())
            .stack_size(STACK)
            .spawn({
                let pace = pace.clone();
                move || engine::run(&config, &ready, queue, &pace)
            })
            .map_err(|error| Error::Start(error.to_string()))?;
        let facts = loaded.recv().map_err(|_| Error::Start("its thread ended while loading".into()))??;
        Ok(Self { facts, jobs: Some(jobs), thread: Some(thread), pace })
    }

    /// What was loaded.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    fn submit(&self, job: Job) -> Result<(), inference::Error> {
        let jobs = self.jobs.as_ref().expect("only dropping takes it");
        jobs.try_send(job).map_err(|refused| match refused {
            // One place becomes free when the answer in the making is done.
            mpsc::error::TrySendError::Full(_) => inference::Error::Overloaded {
                provider: Provider::Slm.name().into(),
                retry_after: Some(Duration::from_millis(self.pace.load(Ordering::Relaxed).clamp(50, 30_000))),
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
            self.submit(Job { request, streams: deltas.is_some(), events })?;
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
            (Event::End(result), _) => return result,
            (Event::Delta(text), Some(deltas)) => {
                deltas.send(text).await.map_err(|_| inference::Error::Cancelled)?;
            }
            (Event::Delta(_), None) => {}
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
