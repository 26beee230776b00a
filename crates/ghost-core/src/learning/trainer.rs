//! The seam to what fits a model: rows go in, a model comes out, and a model scores a prompt.
//!
//! A swarm's own rows refine what the model that decides knows of need, and leave kinds and drafts as they are: they are few
//! and say nothing of those.

use super::outcomes::Row;
use crate::task::TaskRequest;
use crate::taskmaster::features::Features;
use crate::taskmaster::model::Model;
use crate::taskmaster::train::{self, Example};
use crate::taskmaster::{rows, sigmoid};

/// A model that foretells [`Row::hard`] of rows like these; it begins with `base`. Where nobody knows how good the LLM's
/// answer was, it counts as good. The same rows give the same model.
pub fn train(base: &Model, rows: &[&Row]) -> Model {
    let examples: Vec<Example> = rows
        .iter()
        .filter_map(|row| {
            let weak = 1.0 - row.hard()? as f32;
            let strong = row.strong.map_or(1.0, |strong| strong as f32).max(weak);
            let group = rows::group(&row.prompt);
            Some(Example { features: features(&row.prompt), group, weak, strong, weight: 1.0 })
        })
        .collect();
    Model { need: train::train(&examples, Some(&base.need)), ..base.clone() }
}

/// The probability that the local model's answer to this prompt would not do, 0 to 1.
pub fn score(model: &Model, prompt: &str) -> f64 {
    sigmoid(f64::from(model.need.log_odds(&features(prompt))))
}

fn features(prompt: &str) -> Features {
    Features::of(&TaskRequest::new("any", prompt))
}
