//! Fits linear models by AdaGrad over sparse features.

use std::borrow::Cow;

use ghost_core::taskmaster::features::Features;
use ghost_core::taskmaster::kinds::{ROWS, rows};

use crate::data::KindRow;

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
}

/// Fits a model to `examples` in an order that the seed shuffles. `gradient` is the loss's, by output.
pub(crate) fn fit<const N: usize>(
    recipe: &Recipe,
    examples: &[&KindRow],
    gradient: impl Fn(usize, &[f32; N]) -> [f32; N],
) -> Linear<N> {
    let mut model = Linear { bias: [0.0; N], weights: vec![[0.0; N]; ROWS] };
    let mut squares = Linear { bias: [recipe.caution; N], weights: vec![[recipe.caution; N]; ROWS] };
    let mut random = fastrand::Rng::with_seed(recipe.seed);
    let mut order: Vec<usize> = (0..examples.len()).collect();
    for epoch in 0..recipe.epochs {
        random.shuffle(&mut order);
        let rate = recipe.rate * (1.0 - epoch as f32 / recipe.epochs as f32);
        for &i in &order {
            let row = examples[i];
            let features = blanked(&row.features, recipe.blank, &mut random);
            let outputs = model.outputs(&features);
            let push = gradient(row.class, &outputs).map(|g| g * row.weight);
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
