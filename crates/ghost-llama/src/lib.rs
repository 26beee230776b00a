//! llama.cpp inside our process, as a [`Backend`].
//!
//! [`Llama::load`] starts a thread that owns the model (`engine`); a [`Llama`] is the handle that async code asks.
//! Many answers are in the making at once: `plan` says what a step decodes, `context` decodes it, `layout` cuts up
//! the memory, `pages`, `shapes` and `prefix` save time. An answer (`sequence`) goes through `prompt` (the GGUF's chat
//! template), `constraint` (what its shape allows), `sampling` and `text` (whole characters, stop strings). All C++ of
//! Ghost Swarm is behind this crate.

use std::sync::Arc;
use std::time::Instant;

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
mod owner;
mod pages;
mod plan;
mod prefix;
mod probe;
mod prompt;
pub mod random_model;
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
use owner::Owner;
use statistics::Counters;

/// A loaded model. Dropped, it ends the answer in the making and waits for its thread.
#[derive(Debug)]
pub struct Llama {
    facts: Facts,
    owner: Owner<Group>,
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
    /// The most tokens that are decoded together.
    pub step_tokens: usize,
    /// How many threads decode.
    pub threads: usize,
    /// Bytes of the weights.
    pub weight_bytes: u64,
    /// Bytes of the memory for what it has read.
    pub kv_bytes: u64,
}

/// The crate whose llama.cpp this is.
pub const LLAMA_CPP: &str = "llama-cpp-sys-2 0.1.161";

impl Llama {
    /// Loads a model on a thread of its own and waits until it can be asked: milliseconds for a tiny one, seconds for
    /// a large one. Async code calls it where blocking is allowed.
    ///
    /// # Errors
    /// [`Error`] says what is wrong with the file or the configuration.
    pub fn load(config: Config) -> Result<Self, Error> {
        config.check()?;
        let counters = Arc::new(Counters::default());
        let shared = counters.clone();
        let (owner, facts) = Owner::start("llama", "local model", config.queue, move |ready, groups| {
            engine::run(&config, ready, groups, shared);
        })?;
        Ok(Self { facts, owner, counters })
    }

    /// What was loaded.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What it has done since it was loaded.
    pub fn statistics(&self) -> Statistics {
        self.counters.read(self.owner.queued())
    }

    fn submit(&self, group: Group) -> Result<(), inference::Error> {
        // One place becomes free when one of the answers in the making is done.
        self.owner.submit(group, &self.counters.pace)
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
            follow(reports, deltas).await.unwrap_or_else(|| Err(self.owner.gone()))
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

/// Passes text on until the end, if there is one. A reader that is gone ends the answer.
async fn follow(
    mut reports: mpsc::UnboundedReceiver<Event>,
    deltas: Option<Deltas>,
) -> Option<Result<Completion, inference::Error>> {
    while let Some(event) = reports.recv().await {
        match (event, &deltas) {
            (Event::End(_, result), _) => return Some(*result),
            (Event::Delta(text), Some(deltas)) => {
                if deltas.send(text).await.is_err() {
                    return Some(Err(inference::Error::Cancelled));
                }
            }
            (Event::Delta(_), None) | (Event::Read(_), _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
