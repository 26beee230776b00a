//! Says by how much one model's scores are better than another's, and how sure that is.
//!
//! A score is a probability, so it is judged by the square of its distance from what was so (the Brier score): that
//! rewards order and calibration both, and thresholds rest on both. The two models score the same rows, so the difference
//! is taken row by row, and its interval by the bootstrap: rows are drawn again, with replacement.

use serde::{Deserialize, Serialize};

/// Draws of the bootstrap: the ends of a 95 % interval then rest on fifty each.
const DRAWS: usize = 2_000;
/// Chance is seeded: the same rows give the same interval.
const SEED: u64 = 0x006c_6561_726e;

/// What two models said of one row, and what was so.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The score of the model that decides.
    pub live: f64,
    /// The candidate's.
    pub candidate: f64,
    /// How far the local model's answer did not do, 0 to 1.
    pub hard: f64,
}

/// By how much a candidate is better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// On how many rows.
    pub rows: usize,
    /// The mean squared error of the model that decides.
    pub live: f64,
    /// The candidate's.
    pub candidate: f64,
    /// The first less the second.
    pub gain: f64,
    /// The lower end of its 95 % interval,
    pub low: f64,
    /// and the upper one.
    pub high: f64,
}

/// The gain on these rows; none where there are none.
pub fn gain(rows: &[Scored]) -> Option<Gain> {
    if rows.is_empty() {
        return None;
    }
    let error = |score: f64, row: &Scored| (score - row.hard).powi(2);
    let mean = |of: &dyn Fn(&Scored) -> f64| rows.iter().map(of).sum::<f64>() / rows.len() as f64;
    let (live, candidate) = (mean(&|row| error(row.live, row)), mean(&|row| error(row.candidate, row)));
    let differences: Vec<f64> =
        rows.iter().map(|row| error(row.live, row) - error(row.candidate, row)).collect();
    let mut chance = fastrand::Rng::with_seed(SEED);
    let mut draws: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let sum: f64 = (0..rows.len()).map(|_| differences[chance.usize(0..rows.len())]).sum();
            sum / rows.len() as f64
        })
        .collect();
    draws.sort_by(f64::total_cmp);
    let at = |share: f64| draws[((share * DRAWS as f64) as usize).min(DRAWS - 1)];
    Some(Gain { rows: rows.len(), live, candidate, gain: live - candidate, low: at(0.025), high: at(0.975) })
}
