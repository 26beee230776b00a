//! Fits linear models: AdaGrad over sparse features, and Platt's calibration on rows held back.

use std::borrow::Cow;

use ghost_core::taskmaster::features::Features;
use ghost_core::taskmaster::model::{ROWS, rows};

use crate::data::Row;

/// A linear model with `N` outputs.
#[derive(Clone)]
pub(crate) struct Linear<const N: usize> {
    pub(crate) bias: [f32; N],
    pub(crate) weights: Vec<[f32; N]>,
}

/// How to fit.
pub(crate) struct Recipe {
    pub(crate) epochs: usize,
    pub(crate) rate: f32,
    /// How fast a weight falls back to zero each time that it is seen.
    pub(crate) decay: f32,
    /// The squares that AdaGrad starts from: the more, the less a rare feature may learn.
    pub(crate) caution: f32,
    /// The share of words and letters that an example is shown without, afresh each time.
    pub(crate) blank: f32,
    pub(crate) seed: u64,
}

impl<const N: usize> Linear<N> {
    pub(crate) fn outputs(&self, features: &Features) -> [f32; N] {
        let mut outputs = self.bias;
        for (row, value) in rows(features) {
            (0..N).for_each(|output| outputs[output] += value * self.weights[row][output]);
        }
        outputs
    }

    /// Replaces every output `o` by `slope * o + offset`.
    pub(crate) fn stretch(&mut self, slope: f32, offset: f32) {
        self.weights.iter_mut().flatten().for_each(|weight| *weight *= slope);
        self.bias.iter_mut().for_each(|bias| *bias = *bias * slope + offset);
    }
}

/// Fits a model to `examples` in an order that the seed shuffles. `gradient` is the loss's, by output.
pub(crate) fn fit<T, const N: usize>(
    recipe: &Recipe,
    examples: &[(&Row, T)],
    weight: impl Fn(&Row) -> f32,
    gradient: impl Fn(&T, &[f32; N]) -> [f32; N],
) -> Linear<N> {
    let mut model = Linear { bias: [0.0; N], weights: vec![[0.0; N]; ROWS] };
    let mut squares = Linear { bias: [recipe.caution; N], weights: vec![[recipe.caution; N]; ROWS] };
    let mut random = fastrand::Rng::with_seed(recipe.seed);
    let mut order: Vec<usize> = (0..examples.len()).collect();
    for epoch in 0..recipe.epochs {
        random.shuffle(&mut order);
        let rate = recipe.rate * (1.0 - epoch as f32 / recipe.epochs as f32);
        for &i in &order {
            let (row, target) = &examples[i];
            let features = blanked(&row.features, recipe.blank, &mut random);
            let outputs = model.outputs(&features);
            let push = gradient(target, &outputs).map(|g| g * weight(row));
            if push.iter().all(|g| g.abs() < 1e-4) {
                continue;
            }
            (0..N).for_each(|output| {
                let bias = &mut squares.bias[output];
                *bias += push[output] * push[output];
                model.bias[output] -= rate * push[output] / bias.sqrt();
            });
            for (feature, value) in rows(&features) {
                let (weights, squares) = (&mut model.weights[feature], &mut squares.weights[feature]);
                for output in 0..N {
                    let step = push[output] * value + recipe.decay * weights[output];
                    squares[output] += step * step;
                    weights[output] -= rate * step / squares[output].sqrt();
                }
            }
        }
    }
    model
}

/// The features without some of the words and letters, so that no single one of them decides.
fn blanked<'a>(features: &'a Features, share: f32, random: &mut fastrand::Rng) -> Cow<'a, Features> {
    if share == 0.0 {
        return Cow::Borrowed(features);
    }
    let mut features = features.clone();
    features.words.retain(|_| random.f32() >= share);
    features.letters.retain(|_| random.f32() >= share);
    Cow::Owned(features)
}

pub(crate) fn softmax<const N: usize>(outputs: &[f32; N]) -> [f32; N] {
    let most = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers = outputs.map(|output| (output - most).exp());
    let total: f32 = powers.iter().sum();
    powers.map(|power| power / total)
}

pub(crate) fn sigmoid(log_odds: f32) -> f32 {
    1.0 / (1.0 + (-log_odds).exp())
}

/// The slope and offset that turn a model's outputs into calibrated log-odds on `rows` (Newton's method).
pub(crate) fn platt(model: &Linear<1>, rows: &[&Row]) -> (f32, f32) {
    let points: Vec<(f64, f64, f64)> = rows
        .iter()
        .map(|row| {
            let output = f64::from(model.outputs(&row.features)[0]);
            (output, f64::from(row.hard.expect("labelled rows")), f64::from(row.hard_weight))
        })
        .collect();
    let (mut slope, mut offset) = (1.0_f64, 0.0_f64);
    for _ in 0..50 {
        let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (0.0, 0.0, 1e-6, 0.0, 1e-6);
        for (x, y, w) in &points {
            let p = 1.0 / (1.0 + (-(slope * x + offset)).exp());
            let (residual, curve) = (w * (p - y), w * p * (1.0 - p));
            ga += residual * x;
            gb += residual;
            haa += curve * x * x;
            hab += curve * x;
            hbb += curve;
        }
        let determinant = haa * hbb - hab * hab;
        slope -= (hbb * ga - hab * gb) / determinant;
        offset -= (haa * gb - hab * ga) / determinant;
    }
    (slope as f32, offset as f32)
}
