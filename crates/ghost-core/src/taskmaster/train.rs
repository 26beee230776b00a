//! Learns the [`Need`] from how two models did: ridge regression by conjugate gradients, then calibration on
//! predictions for prompts that their model never saw.
//!
//! No random number takes part: the same rows in the same order give the same model.

use super::calibration::{Calibration, Logistic, Point};
use super::features::Features;
use super::measures::{MEASURES, VOCABULARY};
use super::need::{Expert, Need, SORTS, Sort, dense_weights, word, word_value};

/// How strongly weights are held near zero, against one row.
const RIDGE: f32 = 8.0;
const ITERATIONS: usize = 150;
/// How many rows the means of all prompts count beside those of all rows.
const PRIOR_ROWS: f64 = 40.0;
const FOLDS: u32 = 5;
/// Fewer rows of a sort of prompt do not change how it is calibrated.
const FEW: usize = 20;

/// A prompt and how the two models did.
#[derive(Debug, Clone)]
pub struct Example {
    /// What the prompt is made of.
    pub features: Features,
    /// Equal groups stay together wherever rows are divided.
    pub group: u32,
    /// The quality of the weak model's answer, 0 to 1.
    pub weak: f32,
    /// The quality of the strong model's answer, 0 to 1.
    pub strong: f32,
    /// How many rows it counts as.
    pub weight: f32,
}

/// Learns from the examples; with a base, what it knows already holds wherever they say nothing else.
pub fn train(examples: &[Example], base: Option<&Need>) -> Need {
    let all: Vec<&Example> = examples.iter().collect();
    let mut need = fit(&all, base);
    calibrate(&mut need, &all, &out_of_fold(&all, base));
    need.doubt = doubt(&all, &need, base);
    need
}

/// For each example the gain that a model of the other folds expects.
pub fn out_of_fold(examples: &[&Example], base: Option<&Need>) -> Vec<f32> {
    let mut gains = vec![0.0; examples.len()];
    for fold in 0..FOLDS {
        let fitted: Vec<&Example> = examples.iter().copied().filter(|e| e.group % FOLDS != fold).collect();
        let need = fit(&fitted, base);
        for (example, gain) in examples.iter().zip(&mut gains).filter(|(e, _)| e.group % FOLDS == fold) {
            *gain = need.gain(&example.features);
        }
    }
    gains
}

/// By how much models of two halves differ in their log-odds: twice the variance of one, and one of half the data
/// varies twice as much as that of all.
fn doubt(examples: &[&Example], need: &Need, base: Option<&Need>) -> f32 {
    let half = |parity: u32| -> Need {
        let of = |example: &&Example| example.group / FOLDS % 2 == parity;
        let mut half = fit(&examples.iter().copied().filter(of).collect::<Vec<_>>(), base);
        for (expert, whole) in half.experts.iter_mut().zip(&need.experts) {
            expert.calibration = whole.calibration.clone();
        }
        half
    };
    let (even, odd) = (half(0), half(1));
    let squares: f32 =
        examples.iter().map(|e| (even.log_odds(&e.features) - odd.log_odds(&e.features)).powi(2)).sum();
    (squares / examples.len().max(1) as f32).sqrt() / 2.0
}

/// A model that is calibrated as its base is, or not at all.
fn fit(examples: &[&Example], base: Option<&Need>) -> Need {
    let start = base.cloned().unwrap_or_else(|| blank(examples));
    let rows: Vec<Row> = examples.iter().map(|example| Row::of(example, &start)).collect();
    add(start, &solve(&rows))
}

/// A model that expects the mean gain everywhere.
fn blank(examples: &[&Example]) -> Need {
    let total: f32 = examples.iter().map(|example| example.weight).sum();
    let gains: f32 = examples.iter().map(|example| example.weight * (example.strong - example.weak)).sum();
    Need {
        experts: experts(examples),
        bias: gains / total.max(1e-6),
        words: vec![0; VOCABULARY],
        word_unit: 0.0,
        doubt: 1.0,
    }
}

/// What each sort of prompt is like: its own means, leaning on those of all where it has few rows.
fn experts(examples: &[&Example]) -> Vec<Expert> {
    let moments = |of: &dyn Fn(&Example) -> bool| {
        let (mut count, mut sums, mut squares) = (0.0, [0.0_f64; MEASURES], [0.0_f64; MEASURES]);
        for example in examples.iter().filter(|example| of(example)) {
            let weight = f64::from(example.weight);
            count += weight;
            for (place, value) in example.features.measures.values.iter().enumerate() {
                sums[place] += weight * f64::from(*value);
                squares[place] += weight * f64::from(*value).powi(2);
            }
        }
        (count, sums, squares)
    };
    let (whole, all_sums, all_squares) = moments(&|_| true);
    (0..SORTS)
        .map(|sort| {
            let (count, sums, squares) = moments(&|example| Sort::of(&example.features) as usize == sort);
            let lean = PRIOR_ROWS / whole.max(1e-9);
            let mean = |of: &[f64; MEASURES], all: &[f64; MEASURES], place: usize| {
                (of[place] + lean * all[place]) / (count + PRIOR_ROWS)
            };
            let means: Vec<f64> = (0..MEASURES).map(|place| mean(&sums, &all_sums, place)).collect();
            let spread = |place: usize| {
                (mean(&squares, &all_squares, place) - means[place].powi(2)).max(0.0).sqrt().max(1e-3) as f32
            };
            Expert {
                spread: (0..MEASURES).map(spread).collect(),
                mean: means.iter().map(|mean| *mean as f32).collect(),
                weights: vec![0.0; dense_weights(sort)],
                calibration: Calibration::default(),
            }
        })
        .collect()
}

/// An example as the regression sees it.
struct Row<'a> {
    vocabulary: &'a [u16],
    sort: Sort,
    /// Where the weights of its expert begin.
    expert: usize,
    dense: Vec<f32>,
    word_value: f32,
    weight: f32,
    target: f32,
}

impl<'a> Row<'a> {
    fn of(example: &'a Example, start: &Need) -> Self {
        let features = &example.features;
        let sort = Sort::of(features);
        Self {
            vocabulary: &features.measures.vocabulary,
            sort,
            expert: expert_weights(sort as usize),
            dense: start.experts[sort as usize].dense(sort, features),
            word_value: word_value(sort, &features.measures),
            weight: example.weight,
            target: example.strong - example.weak - start.gain(features),
        }
    }

    /// The part of the weights that its expert holds.
    fn expert(&self) -> std::ops::Range<usize> {
        self.expert..self.expert + self.dense.len()
    }

    fn output(&self, weights: &[f32]) -> f32 {
        let dense: f32 = self.dense.iter().zip(&weights[self.expert()]).map(|(a, b)| a * b).sum();
        let words: f32 = self.vocabulary.iter().map(|bucket| weights[word(self.sort, *bucket)]).sum();
        dense + self.word_value * words
    }

    fn add(&self, push: f32, to: &mut [f32]) {
        for (place, value) in to[self.expert()].iter_mut().zip(&self.dense[..]) {
            *place += push * value;
        }
        self.vocabulary.iter().for_each(|bucket| to[word(self.sort, *bucket)] += push * self.word_value);
    }
}

/// Where the weights of an expert begin: the words come first, then one expert after the other.
fn expert_weights(sort: usize) -> usize {
    VOCABULARY + (0..sort).map(dense_weights).sum::<usize>()
}

/// The weights that make the squares of what remains, and RIDGE times their own, least.
fn solve(rows: &[Row]) -> Vec<f32> {
    let mut right = vec![0.0_f32; expert_weights(SORTS)];
    rows.iter().for_each(|row| row.add(row.weight * row.target, &mut right));
    conjugate_gradients(right, |weights| {
        let mut result: Vec<f32> = weights.iter().map(|weight| RIDGE * weight).collect();
        rows.iter().for_each(|row| row.add(row.weight * row.output(weights), &mut result));
        result
    })
}

/// Solves `matrix · x = right` for a symmetric, positive matrix that is given as what it makes of a vector.
pub(super) fn conjugate_gradients(right: Vec<f32>, matrix: impl Fn(&[f32]) -> Vec<f32>) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let mut solution = vec![0.0_f32; right.len()];
    let mut direction = right.clone();
    let mut residual = right;
    let mut squares = dot(&residual, &residual);
    let enough = squares * 1e-8;
    for _ in 0..ITERATIONS {
        if squares <= enough {
            break;
        }
        let image = matrix(&direction);
        let step = (squares / dot(&direction, &image)) as f32;
        for place in 0..solution.len() {
            solution[place] += step * direction[place];
            residual[place] -= step * image[place];
        }
        let left = dot(&residual, &residual);
        let keep = (left / squares) as f32;
        squares = left;
        for (direction, residual) in direction.iter_mut().zip(&residual) {
            *direction = residual + keep * *direction;
        }
    }
    solution
}

/// The model with these weights on top of its own.
fn add(mut need: Need, weights: &[f32]) -> Need {
    for (sort, expert) in need.experts.iter_mut().enumerate() {
        let more = &weights[expert_weights(sort)..];
        expert.weights.iter_mut().zip(more).for_each(|(weight, more)| *weight += more);
    }
    let words: Vec<f32> =
        need.words.iter().zip(weights).map(|(word, more)| f32::from(*word) * need.word_unit + more).collect();
    let most = words.iter().fold(f32::MIN_POSITIVE, |most, weight| most.max(weight.abs()));
    need.word_unit = most / f32::from(i16::MAX);
    need.words = words.iter().map(|weight| (weight / need.word_unit).round() as i16).collect();
    need
}

/// Turns gains that models of other folds expected into log-odds that the weak answer would not do.
fn calibrate(need: &mut Need, examples: &[&Example], gains: &[f32]) {
    let points = examples.iter().zip(gains).map(|(example, gain)| {
        let Example { features, weak, weight, .. } = example;
        (
            Sort::of(features),
            Point { value: (*gain).into(), share: (1.0 - weak).into(), weight: (*weight).into() },
        )
    });
    let points: Vec<(Sort, Point)> = points.collect();
    for (sort, (expert, calibration)) in need.experts.iter_mut().zip(calibrations(&points)).enumerate() {
        // A sort of prompt of which there are next to no rows stays calibrated as it is.
        if points.iter().filter(|(found, _)| *found as usize == sort).count() >= FEW
            || !known(&expert.calibration)
        {
            expert.calibration = calibration;
        }
    }
}

fn known(calibration: &Calibration) -> bool {
    *calibration != Calibration::default()
}

/// For each sort of prompt a curve of its own, leaning on that of all where it has few rows.
pub(super) fn calibrations(points: &[(Sort, Point)]) -> Vec<Calibration> {
    let of = |wanted: &dyn Fn(Sort) -> bool| -> Vec<Point> {
        points.iter().filter(|(sort, _)| wanted(*sort)).map(|(_, point)| *point).collect()
    };
    let all = Logistic::fit(&of(&|_| true), Logistic { slope: 1.0, offset: 0.0 }, 1e-3);
    let own = |sort: usize| {
        let own = of(&|found| found as usize == sort);
        let logistic = Logistic::fit(&own, all, 1.0);
        Calibration::fit(own, logistic)
    };
    (0..SORTS).map(own).collect()
}
