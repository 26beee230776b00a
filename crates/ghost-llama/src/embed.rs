//! Embeddings: texts become unit vectors that lie close together where the texts mean the same.
//!
//! [`Embedder::load`] starts a thread with a model and a context of its own, so that an embedder works beside a
//! [`Llama`](crate::Llama) without either waiting for the other. Each text is one sequence, several are read in one
//! batch, and all of a text lies in one micro-batch, since pooling sees no further. [`batches`] is the plan.
//!
//! llama.cpp maps a model's file, so processes and embedders that use the same file share its pages. That is not so for
//! weights that it repacks for this CPU (most quantised formats on a CPU with AVX2 or newer): each load holds
//! a copy of those.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ghost_core::inference::{self, Provider, Usage};
use tokio::sync::oneshot;

use crate::owner::Owner;
use crate::{Config, Error};
use engine::Job;

mod engine;

/// The most texts in one request, as many as hosted services take.
pub const TEXTS_MAX: usize = 2048;
/// The most bytes in one text: far more than any model reads, few enough to count its tokens in a moment.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// The most texts in one batch.
const SEQUENCES: usize = 32;

/// What an [`Embedder`] is loaded with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedConfig {
    /// The GGUF file. No default.
    pub path: PathBuf,
    /// Threads that compute; a tiny model takes one whatever is asked. Default: the cores this process may use.
    pub threads: usize,
    /// How the tokens of a text become one vector. Default: as the model's file says, the mean where it says nothing.
    pub pooling: Option<Pooling>,
    /// Layers that a GPU holds, where the build has one. Default: 0.
    pub gpu_layers: u32,
    /// The most tokens that a text may have; never more than the model was trained for. Default: what the model was
    /// trained for, at most 1,024, since working memory grows with it.
    pub context_tokens: Option<u32>,
    /// Requests that may wait while one is answered; more are refused as overload. Default: 32.
    pub queue: usize,
}

impl EmbedConfig {
    /// This file with the defaults.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let Config { path, threads, gpu_layers, context_tokens, queue, .. } = Config::new(path);
        Self { path, threads, pooling: None, gpu_layers, context_tokens, queue }
    }

    /// As a model is loaded that answers.
    fn load(&self) -> Config {
        Config {
            threads: self.threads,
            gpu_layers: self.gpu_layers,
            context_tokens: self.context_tokens,
            queue: self.queue,
            ..Config::new(&self.path)
        }
    }
}

/// How the tokens of a text become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of all.
    Mean,
    /// The first, which BERT-like models train for it.
    Cls,
    /// The last, which has seen all others in a model that reads forwards.
    Last,
}

/// What becomes of a text with more tokens than the model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TooLong {
    /// The request is refused, with both numbers.
    #[default]
    Refuse,
    /// The text's end is left out, and its [`Embedding`] says so.
    Cut,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// One for each text, in the order of the texts.
    pub embeddings: Vec<Embedding>,
    /// The tokens that were read.
    pub usage: Usage,
    /// The model's name.
    pub model: String,
}

/// The embedding of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// Of length 1: the dot product of two is the cosine between them.
    pub vector: Vec<f32>,
    /// The tokens that were read.
    pub tokens: u64,
    /// The tokens of the whole text, where its end was left out.
    pub cut_from: Option<u64>,
}

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedFacts {
    /// The model's name: its file's, without the extension.
    pub model: String,
    /// How many parameters it has.
    pub parameters: u64,
    /// How many numbers a vector has.
    pub dimensions: usize,
    /// The most tokens that a text may have.
    pub context_tokens: usize,
    /// How the tokens of a text become one vector.
    pub pooling: Pooling,
    /// How many threads compute.
    pub threads: usize,
}

/// A loaded model. Dropped, it ends its work after the batch in the making and waits for its thread.
#[derive(Debug)]
pub struct Embedder {
    facts: EmbedFacts,
    owner: Owner<Job>,
    /// The milliseconds that the last request took.
    pace: Arc<AtomicU64>,
}

impl Embedder {
    /// Loads a model on a thread of its own and waits until it can be asked. Async code calls it where blocking is
    /// allowed.
    ///
    /// # Errors
    /// [`Error`] says what is wrong with the file or the configuration.
    pub fn load(config: EmbedConfig) -> Result<Self, Error> {
        config.load().check()?;
        let pace = Arc::new(AtomicU64::new(0));
        let shared = pace.clone();
        let (owner, facts) =
            Owner::start("embedder", "embedding model", config.queue, move |ready, jobs| {
                engine::run(&config, ready, jobs, &shared);
            })?;
        Ok(Self { facts, owner, pace })
    }

    /// What was loaded.
    pub fn facts(&self) -> &EmbedFacts {
        &self.facts
    }

    /// Embeds texts. What looks like a special token is plain text. A caller that no longer waits withdraws the
    /// request: it ends with the batch in the making.
    ///
    /// # Errors
    /// [`inference::Error::InvalidRequest`] where there is no text, or one without anything to read, or too many or too
    /// large ones; [`inference::Error::ContextTooLong`] with both numbers; [`inference::Error::Overloaded`] where the
    /// queue is full; [`inference::Error::Engine`] where the model computes no direction.
    pub async fn embed(&self, texts: &[String], too_long: TooLong) -> Result<Embeddings, inference::Error> {
        check(texts)?;
        let (reply, answer) = oneshot::channel();
        self.owner.submit(Job { texts: texts.to_vec(), too_long, reply }, &self.pace)?;
        answer.await.unwrap_or_else(|_| Err(self.owner.gone()))
    }
}

/// Refuses what no model could read.
fn check(texts: &[String]) -> Result<(), inference::Error> {
    if texts.is_empty() || texts.len() > TEXTS_MAX {
        return Err(invalid(format!("a request holds 1 to {TEXTS_MAX} texts, not {}", texts.len())));
    }
    for (number, text) in (1..).zip(texts) {
        if text.len() > TEXT_BYTES_MAX {
            return Err(invalid(format!(
                "text {number} has {} bytes, of {TEXT_BYTES_MAX} at most; divide it",
                text.len()
            )));
        }
        if text.trim().is_empty() {
            return Err(nothing(number));
        }
    }
    Ok(())
}

/// Which texts are read together, given the tokens of each: as many as fit into a batch, in their order.
fn batches(tokens: &[usize], budget: usize) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut begin, mut sum) = (0, 0);
    for (index, &count) in tokens.iter().enumerate() {
        if index > begin && (sum + count > budget || index - begin == SEQUENCES) {
            batches.push(begin..index);
            (begin, sum) = (index, 0);
        }
        sum += count;
    }
    if begin < tokens.len() {
        batches.push(begin..tokens.len());
    }
    batches
}

fn invalid(message: String) -> inference::Error {
    inference::Error::InvalidRequest { provider: Provider::Slm.name().into(), message }
}

fn nothing(number: usize) -> inference::Error {
    invalid(format!("text {number} holds nothing to embed"))
}

#[cfg(test)]
mod random_bert;
#[cfg(test)]
mod tests;
