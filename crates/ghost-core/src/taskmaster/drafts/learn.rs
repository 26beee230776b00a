//! Learns the [`Rule`] from prompts whose drafts and outcomes are known.

use super::{Answer, Rule, VIEWS, views};
use crate::taskmaster::calibration::{Calibration, Point};
use crate::taskmaster::features::Features;
use crate::taskmaster::need::{SORTS, Sort};
use crate::taskmaster::train::{Example, calibrations, conjugate_gradients};

const RIDGE: f32 = 20.0;
const FOLDS: u32 = 5;
/// Beside what all sorts of prompt share, what each may add of its own.
const OWN: f32 = 0.7;

/// A prompt with its drafts, and how the first of them and the strong model did.
#[derive(Debug, Clone)]
pub struct Drafted {
    /// What the prompt is made of.
    pub features: Features,
    /// What there is to see in its drafts.
    pub views: [f32; VIEWS],
    /// Equal groups stay together wherever rows are divided.
    pub group: u32,
    /// The quality of the first draft, 0 to 1.
    pub weak: f32,
    /// The quality of the strong model's answer, 0 to 1.
    pub strong: f32,
    /// How many rows it counts as.
    pub weight: f32,
}

impl Drafted {
    /// A prompt with all of its drafts.
    pub fn new(example: &Example, prompt: &str, drafts: &[Option<Answer>], gain: f32) -> Self {
        let Example { features, group, weak, strong, weight } = example.clone();
        Self { views: views(prompt, drafts, gain), features, group, weak, strong, weight }
    }

    /// The prompt with each set of drafts that a user may have: the first with one, with two, and with all others, which
    /// together count as one row.
    pub fn sets(example: &Example, prompt: &str, drafts: &[Option<Answer>], gain: f32) -> Vec<Self> {
        let others = 1..drafts.len();
        let pairs = others.clone().flat_map(|second| (1..second).map(move |first| vec![first, second]));
        let mut sets: Vec<Vec<usize>> = others.clone().map(|other| vec![other]).chain(pairs).collect();
        if drafts.len() > 3 {
            sets.push(others.collect());
        }
        let shared = Example { weight: example.weight / sets.len().max(1) as f32, ..example.clone() };
        let chosen = |set: &Vec<usize>| -> Vec<Option<Answer>> {
            std::iter::once(&0).chain(set).map(|place| drafts[*place].clone()).collect()
        };
        sets.iter().map(|set| Self::new(&shared, prompt, &chosen(set), gain)).collect()
    }
}

/// Learns from the rows.
pub fn train(rows: &[Drafted]) -> Rule {
    let all: Vec<&Drafted> = rows.iter().collect();
    let mut points = Vec::with_capacity(rows.len());
    for fold in 0..FOLDS {
        let (held_out, fitted): (Vec<&Drafted>, Vec<&Drafted>) =
            rows.iter().partition(|row| row.group % FOLDS == fold);
        let rule = fit(&fitted);
        points.extend(held_out.into_iter().map(|row| {
            let value = rule.gain(&row.features, &row.views).into();
            let point = Point { value, share: (1.0 - row.weak).into(), weight: row.weight.into() };
            (Sort::of(&row.features), point)
        }));
    }
    Rule { calibration: calibrations(&points), ..fit(&all) }
}

fn fit(rows: &[&Drafted]) -> Rule {
    let total: f32 = rows.iter().map(|row| row.weight).sum::<f32>().max(1e-6);
    let mean =
        |of: &dyn Fn(&Drafted) -> f32| rows.iter().map(|row| row.weight * of(row)).sum::<f32>() / total;
    let means: [f32; VIEWS] = std::array::from_fn(|view| mean(&|row| row.views[view]));
    let spread = std::array::from_fn(|view| mean(&|row| (row.views[view] - means[view]).powi(2)).sqrt());
    let mut rule = Rule {
        mean: means,
        spread,
        bias: mean(&|row| row.strong - row.weak),
        weights: vec![[0.0; VIEWS]; SORTS],
        calibration: vec![Calibration::default(); SORTS],
    };
    // The shared weights come first, then those of each sort of prompt.
    let place = |sort: usize| (1 + sort) * VIEWS;
    let seen: Vec<([f32; VIEWS], usize)> =
        rows.iter().map(|row| (rule.standard(&row.views), Sort::of(&row.features) as usize)).collect();
    let add = |to: &mut [f32], (views, sort): &([f32; VIEWS], usize), push: f32| {
        for (view, value) in views.iter().enumerate() {
            to[view] += push * value;
            to[place(*sort) + view] += OWN * push * value;
        }
    };
    let output = |weights: &[f32], (views, sort): &([f32; VIEWS], usize)| -> f32 {
        let own = &weights[place(*sort)..];
        views.iter().enumerate().map(|(view, value)| value * (weights[view] + OWN * own[view])).sum()
    };
    let mut right = vec![0.0; place(SORTS)];
    for (row, seen) in rows.iter().zip(&seen) {
        add(&mut right, seen, row.weight * (row.strong - row.weak - rule.bias));
    }
    let weights = conjugate_gradients(right, |weights| {
        let mut result: Vec<f32> = weights.iter().map(|weight| RIDGE * weight).collect();
        for (row, seen) in rows.iter().zip(&seen) {
            add(&mut result, seen, row.weight * output(weights, seen));
        }
        result
    });
    for (sort, own) in rule.weights.iter_mut().enumerate() {
        *own = std::array::from_fn(|view| weights[view] + OWN * weights[place(sort) + view]);
    }
    rule
}
