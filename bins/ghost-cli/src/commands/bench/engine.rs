//! The engine of ours that is measured, and its own measurements: how fast it reads and answers, and what it remembers.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ghost_core::inference::{Backend as _, Request};
use ghost_llama::{Config, Llama, Probe};

/// What an engine is loaded with; the reference gets the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup<'a> {
    /// The GGUF file.
    pub model: &'a Path,
    /// Threads, where somebody said how many.
    pub threads: Option<usize>,
    /// Layers on a GPU.
    pub gpu_layers: u32,
    /// Answers at once.
    pub sequences: usize,
    /// Tokens of a prompt and its answer together.
    pub context: usize,
}

/// Cells of their own for every sequence, whatever they take.
const ALL_THE_MEMORY: u64 = 1 << 40;
/// The least tokens that a second request has in common with the first.
const PREFIX: u64 = 512;
/// Letters of the text by which is found how many of them make a token.
const SAMPLE: usize = 200;
/// What a request may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(600);

impl Setup<'_> {
    /// Loads it.
    pub(crate) fn load(&self) -> anyhow::Result<Llama> {
        let default = Config::new(self.model);
        let llama = tokio::task::block_in_place(|| {
            Llama::load(Config {
                threads: self.threads.unwrap_or(default.threads),
                gpu_layers: self.gpu_layers,
                sequences: self.sequences,
                context_tokens: u32::try_from(self.context).ok(),
                kv_bytes: Some(ALL_THE_MEMORY),
                ..default
            })
        })?;
        let most = llama.facts().context_tokens as usize;
        anyhow::ensure!(
            most >= self.context,
            "the model has a context of {most} tokens, and this takes {}",
            self.context
        );
        Ok(llama)
    }
}

/// Tokens a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pace {
    /// Of prompts read.
    pub prefill: f64,
    /// Of answers written.
    pub decode: f64,
}

/// How fast so many answers at once are made.
pub(crate) fn pace(llama: &Llama, probe: Probe) -> anyhow::Result<Pace> {
    let timing = tokio::task::block_in_place(|| llama.probe(probe))?;
    // The first token of each answer comes with its prompt.
    let decoded = probe.sequences * (probe.answer_tokens - 1);
    let read = probe.sequences * probe.prompt_tokens;
    Ok(Pace {
        prefill: read as f64 / timing.prefill.as_secs_f64(),
        decode: decoded as f64 / timing.decode.as_secs_f64(),
    })
}

/// What a second prompt takes that begins as the first did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Remembered {
    /// Until the first prompt was read.
    pub first: Duration,
    /// Until the second was.
    pub second: Duration,
    /// What a new prompt takes of as many tokens as were left to read of the second.
    pub unread: Duration,
    /// Tokens of the second that were remembered.
    pub cached_tokens: u64,
    /// Tokens of the second that were left to read.
    pub unread_tokens: u64,
}

/// Asks twice with the same long beginning, which is another one for each `seed`.
pub(crate) async fn remembered(llama: &Llama, seed: u64) -> anyhow::Result<Remembered> {
    let mut chance = fastrand::Rng::with_seed(seed);
    // How many letters make a token is the model's business.
    let (_, tokens, _) = ask(llama, None, &words(&mut chance, SAMPLE)).await?;
    let (_, frame, _) = ask(llama, None, "a").await?;
    let in_sample = tokens.saturating_sub(frame).max(1);
    let letters = |tokens: u64| (SAMPLE * tokens as usize / in_sample as usize).max(1);
    let prefix = words(&mut chance, letters(PREFIX) + 16);
    let (first, _, _) = ask(llama, Some(&prefix), "one").await?;
    let (second, tokens, cached_tokens) = ask(llama, Some(&prefix), "two").await?;
    let unread_tokens = tokens - cached_tokens;
    // As many tokens as a prompt of its own, what frames every prompt included.
    let text = words(&mut chance, letters(unread_tokens.saturating_sub(frame)));
    let (unread, _, _) = ask(llama, None, &text).await?;
    Ok(Remembered { first, second, unread, cached_tokens, unread_tokens })
}

/// How long a prompt takes, how many tokens it has, and how many of them were remembered.
async fn ask(llama: &Llama, system: Option<&str>, text: &str) -> anyhow::Result<(Duration, u64, u64)> {
    let request =
        Request { system: system.map(str::to_owned), max_tokens: 1, timeout: PATIENCE, ..Request::new(text) };
    let (begin, before) = (Instant::now(), llama.statistics().prompt_tokens_cached);
    let answer = llama.generate(request, None).await.context("the engine does not answer")?;
    let took = begin.elapsed();
    Ok((took, answer.usage.input_tokens, llama.statistics().prompt_tokens_cached - before))
}

/// Random words of so many letters in all.
pub(crate) fn words(chance: &mut fastrand::Rng, letters: usize) -> String {
    (0..letters).map(|at| if at % 6 == 5 { ' ' } else { chance.lowercase() }).collect()
}
