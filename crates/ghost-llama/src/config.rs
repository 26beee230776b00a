//! What a [`Llama`](crate::Llama) is loaded with.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::Error;

/// Where the model is and what it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The GGUF file. No default.
    pub path: PathBuf,
    /// Threads that decode; a model of less than 50 million parameters takes one whatever is asked, since more only
    /// wait for each other. Default: the cores this process may use.
    pub threads: usize,
    /// Layers that a GPU holds, where the build has one. Default: 0.
    pub gpu_layers: u32,
    /// The most tokens that a prompt and its answer may have together; never more than the model was trained for.
    /// Default: what the model was trained for, at most 8,192, since memory grows with it.
    pub context_tokens: Option<u32>,
    /// The most answers in the making at once. Default: 16; on CPUs more gain little.
    pub sequences: usize,
    /// Memory for what the model has read, in bytes, shared by all sequences. Default: as the layout decides, twice
    /// the size of the weights, at least one and a half contexts and at most 2 GiB.
    pub kv_bytes: Option<u64>,
    /// Memory for prompts that may come again, in bytes; never more than a quarter of what the sequences have
    /// (a context, where there is one sequence), and 0 to remember none. Default: 256 MiB.
    pub prefix_cache_bytes: u64,
    /// Requests that may wait while others are answered; more are refused as overload. Default: 32, a few seconds of
    /// work for a tiny model.
    pub queue: usize,
    /// The seed of every answer that is drawn by chance and brings none of its own. Default: 0.
    pub seed: u64,
    /// One answer at a time and no prefix cache, so that the same request gets the same answer to the last bit,
    /// whatever else is asked meanwhile. Default: false; a batch of another size may round otherwise.
    pub deterministic: bool,
}

/// The most context that is taken unasked.
const CONTEXT_CAP: u32 = 8192;
/// The least context that llama.cpp is set up with.
const CONTEXT_MIN: u32 = 16;
/// Below this many parameters, decode threads cost more than they bring.
const TINY_PARAMETERS: u64 = 50_000_000;
/// More answers at once than any machine we know gains by.
const SEQUENCES_MAX: usize = 64;
/// More decode threads than any machine we know has use for.
const THREADS_MAX: usize = 512;

impl Config {
    /// This file with the defaults.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            threads: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            gpu_layers: 0,
            context_tokens: None,
            sequences: 16,
            kv_bytes: None,
            prefix_cache_bytes: 256 << 20,
            queue: 32,
            seed: 0,
            deterministic: false,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.threads == 0 || self.threads > THREADS_MAX {
            return Err(Error::Config(format!("threads must be 1 to {THREADS_MAX}, not {}", self.threads)));
        }
        if self.sequences == 0 || self.sequences > SEQUENCES_MAX {
            return Err(Error::Config(format!(
                "sequences must be 1 to {SEQUENCES_MAX}, not {}",
                self.sequences
            )));
        }
        if self.queue == 0 {
            return Err(Error::Config("queue must be at least 1".into()));
        }
        if self.context_tokens.is_some_and(|tokens| tokens < CONTEXT_MIN) {
            return Err(Error::Config(format!("context_tokens must be at least {CONTEXT_MIN}")));
        }
        Ok(())
    }

    /// The context for a model that was trained with `trained` tokens.
    pub(crate) fn context_for(&self, trained: u32) -> u32 {
        self.context_tokens.unwrap_or(CONTEXT_CAP).min(trained).max(CONTEXT_MIN)
    }

    /// The decode threads for a model of this many parameters.
    pub(crate) fn threads_for(&self, parameters: u64) -> usize {
        if self.is_tiny(parameters) { 1 } else { self.threads }
    }

    /// Whether a model of this many parameters gains nothing by what costs time at load.
    pub(crate) fn is_tiny(&self, parameters: u64) -> bool {
        parameters < TINY_PARAMETERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiny_model_gets_one_thread_and_a_large_one_what_is_asked() {
        let config = Config { threads: 8, ..Config::new("model.gguf") };
        assert_eq!(config.threads_for(3_000_000), 1);
        assert_eq!(config.threads_for(1_000_000_000), 8);
    }

    #[test]
    fn the_context_never_exceeds_what_the_model_was_trained_for() {
        let default = Config::new("model.gguf");
        assert_eq!(default.context_for(1024), 1024);
        assert_eq!(default.context_for(131_072), 8192);
        let asked = Config { context_tokens: Some(32_768), ..default };
        assert_eq!(asked.context_for(131_072), 32_768);
        assert_eq!(asked.context_for(4096), 4096);
    }

    #[test]
    fn a_configuration_that_cannot_work_is_refused() {
        let fine = Config::new("model.gguf");
        assert!(fine.check().is_ok());
        assert!(Config { threads: 0, ..fine.clone() }.check().is_err());
        assert!(Config { threads: 100_000, ..fine.clone() }.check().is_err());
        assert!(Config { sequences: 0, ..fine.clone() }.check().is_err());
        assert!(Config { sequences: 1000, ..fine.clone() }.check().is_err());
        assert!(Config { queue: 0, ..fine.clone() }.check().is_err());
        assert!(Config { context_tokens: Some(0), ..fine }.check().is_err());
    }
}
