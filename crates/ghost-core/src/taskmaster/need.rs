//! How much a prompt needs the strong model: learned from how a weak and a strong model did on other prompts.
//!
//! What is learned is by how much the strong model does better: on a prompt that both get wrong a call is money lost.
//! A ridge regression over the [`Measures`] of the prompt, waves of them (random Fourier features, so that measures act
//! together as in a Gaussian process), the [`Sign`]s, and the words, with an expert of its own for each [`Sort`] of
//! prompt. The gain then is calibrated to the probability that the weak model's answer would not do.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::features::{Document, Features};
use super::measures::{MEASURES, Measures, NAMES, VOCABULARY};
use super::signs::Sign;

/// How many waves there are.
pub const WAVES: usize = 512;
/// How finely the waves tell prompts apart.
const FINENESS: f32 = 0.5;
/// How far from the mean a measure counts, in standard deviations.
const FARTHEST: f32 = 3.0;
/// What all measures count beside their waves (as variances, of 1 for the waves).
const LINEAR: f32 = 0.1;
/// What all words count.
const WORDS: f32 = 0.5;
/// What each sign counts.
const SIGNS: f32 = 0.02;
/// What an expert's own offset counts: few rows suffice to find it.
const OFFSET: f32 = 4.0;

/// What sort of prompt it is: each has an expert, since what makes a multiple-choice question hard says little about a
/// program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Sort {
    /// Options to choose from.
    Options,
    /// Program code.
    Code,
    /// Formulas.
    Formula,
    /// A question over numbers.
    Problem,
    /// All others.
    Other,
}

/// How many sorts there are.
pub const SORTS: usize = Sort::Other as usize + 1;

impl Sort {
    /// The sort of a prompt.
    pub fn of(features: &Features) -> Self {
        let measures = &features.measures;
        let shows = |sign| features.signs.contains(&sign);
        match () {
            () if measures.options >= 3 => Sort::Options,
            () if measures.formulas > 0 && measures.dollars > 1 => Sort::Formula,
            () if features.document == Document::Code || shows(Sign::CodeLines) => Sort::Code,
            () if measures.formulas > 0 => Sort::Formula,
            () if measures.numbers >= 2 && measures.questions > 0 => Sort::Problem,
            () => Sort::Other,
        }
    }
}

/// What one sort of prompt is like, and what its features say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expert {
    /// The mean of each measure.
    pub mean: Vec<f32>,
    /// Its standard deviation.
    pub spread: Vec<f32>,
    /// [`DENSE`] weights: the offset, the measures, the signs, the waves.
    pub weights: Vec<f32>,
    /// What turns a gain into log-odds that the weak answer would not do.
    pub calibration: Calibration,
}

/// How many weights an expert has beside those of the words.
pub const DENSE: usize = FIRST_WAVE + WAVES;
const FIRST_SIGN: usize = 1 + MEASURES;
const FIRST_WAVE: usize = FIRST_SIGN + Sign::COUNT;

/// The learned need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Need {
    /// One for each [`Sort`].
    pub experts: Vec<Expert>,
    /// The gain to start from.
    pub bias: f32,
    /// What a word is worth in a sort of prompt ([`word`]), in units of `word_unit`.
    pub words: Vec<i16>,
    /// See `words`.
    pub word_unit: f32,
    /// By how much two models of half the data each differ in their log-odds (one standard deviation).
    pub doubt: f32,
}

impl Need {
    /// The log-odds that the weak model's answer would not do.
    pub fn log_odds(&self, features: &Features) -> f32 {
        self.experts[Sort::of(features) as usize].calibration.log_odds(self.gain(features))
    }

    /// By how much the strong model is expected to do better, about 0 to 1.
    pub fn gain(&self, features: &Features) -> f32 {
        let sort = Sort::of(features);
        let expert = &self.experts[sort as usize];
        let dense = expert.dense(features);
        let dense: f32 = dense.iter().zip(&expert.weights).map(|(value, weight)| value * weight).sum();
        let words =
            features.measures.vocabulary.iter().map(|bucket| i64::from(self.words[word(sort, *bucket)]));
        let words = words.sum::<i64>() as f32 * self.word_unit * word_value(&features.measures);
        self.bias + dense + words
    }

    /// What speaks most for a high or (`side` −1) a low need, strongest first: signs and measures in words.
    pub fn reasons(&self, features: &Features, side: f32) -> Vec<(f32, &'static str)> {
        let expert = &self.experts[Sort::of(features) as usize];
        let standard = expert.standard(&features.measures);
        let measures =
            standard.iter().zip(&expert.weights[1..]).zip(&NAMES).map(|((value, weight), name)| {
                (side * value * weight * linear_value(), if *value > 0.0 { name.1 } else { name.2 })
            });
        let signs = features
            .signs
            .iter()
            .map(|sign| (side * expert.weights[FIRST_SIGN + *sign as usize] * SIGNS.sqrt(), sign.words()));
        let mut found: Vec<_> =
            measures.chain(signs).filter(|(share, words)| *share > 0.0 && !words.is_empty()).collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found
    }

    /// Whether every part has its size and every number is finite.
    pub fn is_sound(&self) -> bool {
        let sized = |expert: &Expert| {
            (expert.mean.len(), expert.spread.len(), expert.weights.len()) == (MEASURES, MEASURES, DENSE)
        };
        let numbers = |expert: &Expert| {
            let Expert { mean, spread, weights, calibration } = expert;
            calibration.is_sound()
                && mean.iter().chain(spread).chain(weights).all(|number| number.is_finite())
        };
        self.experts.len() == SORTS
            && self.experts.iter().all(|expert| sized(expert) && numbers(expert))
            && self.words.len() == VOCABULARY
            && [self.bias, self.word_unit, self.doubt].iter().all(|number| number.is_finite())
    }
}

impl Expert {
    /// What it weighs: 1 for its offset, the measures, the signs, the waves.
    pub fn dense(&self, features: &Features) -> [f32; DENSE] {
        let standard = self.standard(&features.measures);
        let mut dense = [0.0; DENSE];
        dense[0] = OFFSET.sqrt();
        for (place, value) in dense[1..FIRST_SIGN].iter_mut().zip(&standard) {
            *place = value * linear_value();
        }
        features.signs.iter().for_each(|sign| dense[FIRST_SIGN + *sign as usize] = SIGNS.sqrt());
        DIRECTIONS.heights(&standard, &mut dense[FIRST_WAVE..]);
        dense
    }

    /// The measures in standard deviations from the mean of their sort of prompt.
    fn standard(&self, measures: &Measures) -> [f32; MEASURES] {
        std::array::from_fn(|place| {
            let deviation = (measures.values[place] - self.mean[place]) / self.spread[place].max(1e-6);
            deviation.clamp(-FARTHEST, FARTHEST)
        })
    }
}

/// Where a word's weight stands: the same word says other things in other sorts of prompt.
pub fn word(sort: Sort, bucket: u16) -> usize {
    (usize::from(bucket) + sort as usize * (VOCABULARY / SORTS)) % VOCABULARY
}

static DIRECTIONS: LazyLock<Waves> = LazyLock::new(Waves::default);

/// The directions in which the waves run: fixed for all models, drawn from a seed of their own.
struct Waves {
    directions: Vec<[f32; WAVES]>,
    starts: [f32; WAVES],
}

impl Default for Waves {
    fn default() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            // SplitMix64: the same on every machine and in every version.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 53) as f64
        };
        // In turns instead of radians, since the cosine is taken of a fraction of a turn.
        let width = f64::from(2.0 * FINENESS / MEASURES as f32).sqrt() / std::f64::consts::TAU;
        let mut directions = vec![[0.0; WAVES]; MEASURES];
        for row in &mut directions {
            for direction in row.iter_mut() {
                let (radius, angle) = ((-2.0 * (1.0 - next()).ln()).sqrt(), std::f64::consts::TAU * next());
                *direction = (width * radius * angle.cos()) as f32;
            }
        }
        Self { directions, starts: std::array::from_fn(|_| next() as f32) }
    }
}

impl Waves {
    /// How high each wave stands where the measures are.
    fn heights(&self, standard: &[f32; MEASURES], heights: &mut [f32]) {
        let mut turns = self.starts;
        for (value, direction) in standard.iter().zip(&self.directions) {
            for (turn, direction) in turns.iter_mut().zip(direction) {
                *turn += value * direction;
            }
        }
        let highest = (2.0 / WAVES as f32).sqrt();
        for (height, turn) in heights.iter_mut().zip(turns) {
            *height = highest * cosine(turn);
        }
    }
}

/// The weight of each word of a prompt, so that many words do not shout.
pub fn word_value(measures: &Measures) -> f32 {
    (WORDS / measures.vocabulary.len().max(8) as f32).sqrt()
}

fn linear_value() -> f32 {
    (LINEAR / MEASURES as f32).sqrt()
}

/// The cosine of so many turns, to four digits and without a branch.
fn cosine(turns: f32) -> f32 {
    // The nearest whole number, by an addition that pushes the fraction out.
    const PUSH: f32 = 12_582_912.0;
    let fraction = turns - ((turns + PUSH) - PUSH);
    let quarter = 1.0 - 4.0 * fraction.abs();
    let square = quarter * quarter;
    quarter
        * (std::f32::consts::FRAC_PI_2
            - square * (0.645_964_1 - square * (0.079_692_6 - square * 0.004_681_8)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cosine_is_one() {
        for step in -400..400 {
            let turns = step as f32 / 97.0;
            assert!((cosine(turns) - (std::f32::consts::TAU * turns).cos()).abs() < 2e-4, "{turns}");
        }
    }

    #[test]
    fn waves_of_near_prompts_are_near() {
        let waves = Waves::default();
        let likeness = |a: &[f32; MEASURES], b: &[f32; MEASURES]| -> f32 {
            let (mut there, mut here) = ([0.0; WAVES], [0.0; WAVES]);
            waves.heights(a, &mut there);
            waves.heights(b, &mut here);
            there.iter().zip(&here).map(|(a, b)| a * b).sum()
        };
        let zero = [0.0; MEASURES];
        let mut near = zero;
        near[3] = 0.5;
        assert!((likeness(&zero, &zero) - 1.0).abs() < 0.1);
        assert!(likeness(&zero, &near) > 0.9);
        assert!(likeness(&zero, &[2.0; MEASURES]) < 0.3);
    }
}
