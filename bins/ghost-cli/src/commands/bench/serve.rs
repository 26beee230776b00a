//! Clients that ask at the same time, each its next question as soon as the last one is answered.
//!
//! Ours and llama-server are asked through the same trait, with the same prompts and budgets of many lengths, so what is
//! measured is all that lies behind it: of ours the engine, of llama-server also its HTTP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ghost_core::inference::{self, Backend, Request, Sampling};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::engine::words;
use super::rows::percentile;

/// Who asks for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Clients at once.
    pub clients: usize,
    /// Questions of each.
    pub requests: usize,
    /// The most letters of a prompt; a model of random weights takes each for a token. The least are a quarter.
    pub letters: usize,
    /// The highest token budget of an answer; the lowest is a quarter.
    pub answer_tokens: u32,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Served {
    tokens: u64,
    wall: Duration,
    /// Until the first text, in milliseconds.
    first: Vec<f64>,
    /// Until the end, in milliseconds.
    whole: Vec<f64>,
}

impl Served {
    /// Tokens answered in a second.
    pub(crate) fn throughput(&self) -> f64 {
        self.tokens as f64 / self.wall.as_secs_f64()
    }

    /// The milliseconds within which 99 % of the requests had their first text.
    pub(crate) fn first_p99(&self) -> f64 {
        percentile(&self.first, 99).unwrap_or(f64::NAN)
    }

    /// The milliseconds within which 99 % of the requests were answered.
    pub(crate) fn whole_p99(&self) -> f64 {
        percentile(&self.whole, 99).unwrap_or(f64::NAN)
    }
}

/// Lets the clients ask; each has one of the backends. Another `seed` makes other prompts.
///
/// # Errors
/// The first failure of any of them.
pub(crate) async fn serve(
    backends: &[Arc<dyn Backend>],
    load: Load,
    seed: u64,
) -> Result<Served, inference::Error> {
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..load.clients {
        let backend = backends[client % backends.len()].clone();
        clients.spawn(async move {
            let mut served = Served::default();
            let mut chance = fastrand::Rng::with_seed(seed << 16 | client as u64);
            for _ in 0..load.requests {
                // Of different lengths, as people ask: equal ones would keep all clients in step.
                let letters = chance.usize(load.letters / 4..=load.letters);
                let answer_tokens = chance.u32(load.answer_tokens / 4..=load.answer_tokens);
                ask(&*backend, words(&mut chance, letters), answer_tokens, &mut served).await?;
            }
            Ok(served)
        });
    }
    let mut all = Served::default();
    while let Some(served) = clients.join_next().await {
        let served = served.map_err(|error| inference::Error::Unavailable(error.to_string()))??;
        all.tokens += served.tokens;
        all.first.extend(served.first);
        all.whole.extend(served.whole);
    }
    all.wall = begin.elapsed();
    Ok(all)
}

async fn ask(
    backend: &dyn Backend,
    text: String,
    max_tokens: u32,
    served: &mut Served,
) -> Result<(), inference::Error> {
    let sampling = Sampling { temperature: Some(0.0), ..Sampling::default() };
    let timeout = Duration::from_secs(600);
    let request = Request { max_tokens, sampling, timeout, ..Request::new(text) };
    // Room for a whole answer, so that nobody waits for this reader.
    let (deltas, mut read) = mpsc::channel(max_tokens as usize + 1);
    let begin = Instant::now();
    let first = async {
        let first = read.recv().await.map(|_| begin.elapsed());
        while read.recv().await.is_some() {}
        first
    };
    let (answer, first) = tokio::join!(backend.generate(request, Some(deltas)), first);
    let (answer, whole) = (answer?, begin.elapsed());
    served.tokens += answer.usage.output_tokens;
    // An answer without a text has no first one.
    served.first.push(first.unwrap_or(whole).as_secs_f64() * 1e3);
    served.whole.push(whole.as_secs_f64() * 1e3);
    Ok(())
}
