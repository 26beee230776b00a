//! The seam to whatever fits a model: rows go in, a model comes out, and a model scores a prompt.
//!
//! What stands here refines the head for complexity of the model that decides, by AdaGrad on the logistic loss, and leaves
//! the kinds as they are: a swarm's own rows are few and say nothing of kinds.

use super::outcomes::Row;
use crate::task::TaskRequest;
use crate::taskmaster::features::Features;
use crate::taskmaster::model::{COMPLEXITY, Model, ROWS, rows as feature_rows};

const EPOCHS: usize = 12;
const RATE: f32 = 0.1;
/// The squares that AdaGrad starts from: the more, the less a rare feature may learn.
const CAUTION: f32 = 1.0;
/// How fast what was learned falls back to the model that it began with, each time that its feature is seen.
const DECAY: f32 = 1e-3;

/// A model that foretells [`Row::hard`] of rows like these; it begins with `base`. The same seed gives the same model.
pub fn train(base: &Model, rows: &[&Row], seed: u64) -> Model {
    let examples: Vec<(Features, f32)> =
        rows.iter().filter_map(|row| Some((features(&row.prompt), row.hard()? as f32))).collect();
    let (mut bias, mut bias_squares) = (0.0_f32, CAUTION);
    let mut learned = vec![0.0_f32; ROWS];
    let mut squares = vec![CAUTION; ROWS];
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut order: Vec<usize> = (0..examples.len()).collect();
    for epoch in 0..EPOCHS {
        chance.shuffle(&mut order);
        let rate = RATE * (1.0 - epoch as f32 / EPOCHS as f32);
        for &at in &order {
            let (features, hard) = &examples[at];
            let more: f32 = feature_rows(features).map(|(row, value)| value * learned[row]).sum();
            let push = sigmoid(base.outputs(features)[COMPLEXITY] + bias + more) - hard;
            bias_squares += push * push;
            bias -= rate * push / bias_squares.sqrt();
            for (row, value) in feature_rows(features) {
                let step = push * value + DECAY * learned[row];
                squares[row] += step * step;
                learned[row] -= rate * step / squares[row].sqrt();
            }
        }
    }
    refined(base, bias, &learned)
}

/// The probability that the local model's answer to this prompt would not do, 0 to 1.
pub fn score(model: &Model, prompt: &str) -> f64 {
    f64::from(sigmoid(model.outputs(&features(prompt))[COMPLEXITY]))
}

fn features(prompt: &str) -> Features {
    Features::of(&TaskRequest::new("any", prompt))
}

fn sigmoid(log_odds: f32) -> f32 {
    1.0 / (1.0 + (-log_odds).exp())
}

/// The model with this added to its head for complexity.
fn refined(base: &Model, bias: f32, learned: &[f32]) -> Model {
    let mut model = base.clone();
    let weight =
        |row: usize| base.scale[COMPLEXITY] * f32::from(base.weights[row][COMPLEXITY]) + learned[row];
    let most = (0..ROWS).map(|row| weight(row).abs()).fold(f32::MIN_POSITIVE, f32::max);
    let scale = most / f32::from(i16::MAX);
    for row in 0..ROWS {
        model.weights[row][COMPLEXITY] = (weight(row) / scale).round() as i16;
    }
    model.scale[COMPLEXITY] = scale;
    model.bias[COMPLEXITY] += bias;
    model
}
