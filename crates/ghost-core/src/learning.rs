//! Learns from what came of tasks, in a loop that can be watched and turned back.
//!
//! Settled tasks are [`outcomes`]: a prompt, and how good the models' answers to it were. [`retrain`] fits a candidate to
//! most of them and compares it with the model that decides on the rest ([`comparison`]). The candidate then runs in
//! *shadow*: it scores every task that comes, beside the model that decides, and changes no route. [`registry`] keeps the
//! models in the broker, so that every orchestrator has the same, promotes the candidate only where it is better with
//! confidence on prompts that it was not fitted to, and goes back to the model before. [`trainer`] is the seam to whatever
//! fits a model.

use serde::{Deserialize, Serialize};

use self::comparison::{Gain, Scored};
use self::outcomes::Row;
use crate::taskmaster::model::Model;
pub use crate::taskmaster::rows::group;

pub mod comparison;
pub mod outcomes;
pub mod registry;
#[cfg(test)]
mod tests;
pub mod trainer;

/// One row of so many is held back from training.
const HELD_BACK: u32 = 4;
/// The fewest rows to learn from: with fewer, nothing could be told of what was learned.
pub const FEWEST: usize = 40;
/// The most rows that are learned from, the latest ones.
pub const MOST: usize = 20_000;

/// What a candidate is compared by: numbers only, no prompts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What both models said of the rows that were held back, and what was so.
    pub held_back: Vec<Scored>,
    /// The groups of the prompts that it was fitted to: they tell nothing when they come again.
    pub fitted: Vec<u32>,
}

/// A model that is to be compared.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// It.
    pub model: Model,
    /// How many rows it was fitted to.
    pub rows: usize,
    /// How it did on the others.
    pub evidence: Evidence,
    /// By how much it is better on them.
    pub gain: Option<Gain>,
}

/// Why there is no candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} rows say how well the local model does, and {FEWEST} is the fewest to learn from; rate answers (`ghost feedback`), or \
     name rows of your own"
)]
pub struct TooFew(usize);

/// Fits a candidate to most of the rows, from the model that decides, and compares the two on the others.
///
/// # Errors
/// [`TooFew`].
pub fn retrain(live: &Model, rows: &[Row]) -> Result<Candidate, TooFew> {
    let labelled: Vec<&Row> = rows.iter().filter(|row| row.weak.is_some()).collect();
    if labelled.len() < FEWEST {
        return Err(TooFew(labelled.len()));
    }
    let latest = &labelled[labelled.len().saturating_sub(MOST)..];
    // By the prompt, so that the same question is never on both sides.
    let (held_back, fitted): (Vec<&Row>, Vec<&Row>) =
        latest.iter().partition(|row| group(&row.prompt).is_multiple_of(HELD_BACK));
    let model = trainer::train(live, &fitted);
    let scored = held_back.iter().filter_map(|row| {
        Some(Scored {
            live: trainer::score(live, &row.prompt),
            candidate: trainer::score(&model, &row.prompt),
            hard: row.hard()?,
        })
    });
    let mut groups: Vec<u32> = fitted.iter().map(|row| group(&row.prompt)).collect();
    groups.sort_unstable();
    groups.dedup();
    let evidence = Evidence { held_back: scored.collect(), fitted: groups };
    let gain = comparison::gain(&evidence.held_back);
    Ok(Candidate { model, rows: fitted.len(), evidence, gain })
}
