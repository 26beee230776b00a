//! How much a prompt needs the strong model: learned from how a weak and a strong model did on other prompts.
//!
//! What is learned is by how much the strong model does better: on a prompt that both get wrong a call is money lost.
//! A ridge regression over the [`Measures`] of the prompt, alone and in pairs, the [`Sign`]s, and the words, with an
//! expert of its own for each [`Sort`] of prompt. Each has its own view: what makes a multiple-choice question hard is seen
//! in pairs of fifty measures, and of problems over numbers there are so few rows that more than their length and their
//! numbers misleads. The gain then is calibrated to the probability that the weak model's answer would not do.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::features::{Document, Features};
use super::measures::{MEASURES, Measures, NAMES, VOCABULARY};
use super::signs::Sign;

/// How far from the mean a measure counts, in standard deviations.
const FARTHEST: f32 = 4.0;
/// How much each sign may say.
const SIGNS: f32 = 0.007;
/// How much an expert's own offset may say: few rows suffice to find it.
const OFFSET: f32 = 1.0;

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
            () if measures.quantities >= 2 && measures.questions > 0 => Sort::Problem,
            () => Sort::Other,
        }
    }
}

/// What the expert for a sort of prompt looks at. How much something may say is told as the variance of its weight.
struct View {
    /// The places of its measures, and what each is multiplied with: the root of how much it may say.
    measures: Vec<(usize, f32)>,
    /// How much all pairs of measures may say together; none are looked at where it is zero.
    pairs: f32,
    /// How much the words may say.
    words: f32,
}

impl View {
    /// Pairs of measures that together may say as much as each for itself.
    fn paired(names: &str, words: f32) -> Self {
        let mut view = Self { pairs: 0.25, words, ..Self::plain(names, 0.0) };
        let each = (0.5 / view.measures.len() as f32).sqrt();
        view.measures.iter_mut().for_each(|(_, scale)| *scale = each);
        view
    }

    /// Measures for themselves, since there are few rows.
    fn plain(names: &str, variance: f32) -> Self {
        let place = |name: &str| NAMES.iter().position(|(known, ..)| *known == name).expect("a measure");
        let measures = names.split_whitespace().map(|name| (place(name), variance.sqrt())).collect();
        Self { measures, pairs: 0.0, words: 0.0 }
    }

    /// What the square of a measure and the product of two are multiplied with.
    fn pair_values(&self) -> (f32, f32) {
        let square = self.pairs.sqrt() / self.measures.len() as f32;
        (square, square * std::f32::consts::SQRT_2)
    }

    /// How many weights it has beside those of the words: the offset, the signs, the measures, their pairs.
    fn weights(&self) -> usize {
        let measures = self.measures.len();
        FIRST_MEASURE + measures + if self.pairs > 0.0 { measures * (measures + 1) / 2 } else { 0 }
    }
}

const FIRST_SIGN: usize = 1;
const FIRST_MEASURE: usize = FIRST_SIGN + Sign::COUNT;

/// In the order of [`Sort`]. Which measures help was settled by cross-validation (models/taskmaster-v3.md).
static VIEWS: LazyLock<[View; SORTS]> = LazyLock::new(|| {
    let options = "bytes words question_bytes question_words option_bytes longest_option shortest_option \
        option_spread option_deviation option_share option_words single_options digit_options all_numeric \
        numeric_options capital_options option_overlap option_echo question_numbers option_numbers numbers equals \
        operators single_letters blank ends_asking ends_with_colon ends_with_stop ends_open emphatic_negation \
        negation sentences long_words quotes brackets commas names asked_names asked_name_share persons law hedging \
        logic begins_which begins_what begins_how begins_who begins_when begins_the begins_a begins_in begins_if \
        begins_let";
    let formula = "words sentences numbers backslashes dollars short_words capitals brackets equals single_letters \
        operators";
    let problem = "sentences numbers distinct_numbers number_words steps fractions dollars decimals";
    let every: Vec<&str> = NAMES.iter().map(|(name, ..)| *name).collect();
    let mut problem = View::plain(problem, 0.007);
    // Long problems are hard; the rest is told from a thousand rows.
    problem.measures.extend(View::plain("words", 0.07).measures);
    [
        View::paired(options, 0.25),
        // Nothing that is measured told which programs are hard.
        View::plain("bytes", 0.007),
        View::plain(formula, 0.007),
        problem,
        View::paired(&every.join(" "), 0.5),
    ]
});

/// What one sort of prompt is like, and what its features say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expert {
    /// The mean of each measure.
    pub mean: Vec<f32>,
    /// Its standard deviation.
    pub spread: Vec<f32>,
    /// As many as [`dense_weights`] says: the offset, the signs, the measures, their pairs.
    pub weights: Vec<f32>,
    /// What turns a gain into log-odds that the weak answer would not do.
    pub calibration: Calibration,
}

/// How many weights the expert for a sort of prompt has beside those of the words.
pub fn dense_weights(sort: usize) -> usize {
    VIEWS[sort].weights()
}

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
        let words =
            features.measures.vocabulary.iter().map(|bucket| i64::from(self.words[word(sort, *bucket)]));
        let words = words.sum::<i64>() as f32 * self.word_unit * word_value(sort, &features.measures);
        self.bias + self.experts[sort as usize].gain(sort, features) + words
    }

    /// What speaks most for a high or (`side` −1) a low need, strongest first: signs and measures in words, each once.
    pub fn reasons(&self, features: &Features, side: f32, most: usize) -> Vec<&'static str> {
        let sort = Sort::of(features);
        let expert = &self.experts[sort as usize];
        let view = &VIEWS[sort as usize];
        let measures =
            view.measures.iter().zip(&expert.weights[FIRST_MEASURE..]).map(|((place, scale), weight)| {
                let (_, much, little) = NAMES[*place];
                let value = expert.standard(*place, &features.measures);
                (side * value * weight * scale, if value > 0.0 { much } else { little })
            });
        let signs = features
            .signs
            .iter()
            .map(|sign| (side * expert.weights[FIRST_SIGN + *sign as usize] * SIGNS.sqrt(), sign.words()));
        let mut found: Vec<_> =
            measures.chain(signs).filter(|(share, words)| *share > 0.0 && !words.is_empty()).collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut reasons = Vec::new();
        for (_, words) in found {
            if reasons.len() == most {
                break;
            }
            // Several measures see the same thing.
            if !reasons.contains(&words) {
                reasons.push(words);
            }
        }
        reasons
    }

    /// Whether every part has its size and every number is finite.
    pub fn is_sound(&self) -> bool {
        let sized = |(sort, expert): (usize, &Expert)| {
            (expert.mean.len(), expert.spread.len()) == (MEASURES, MEASURES)
                && expert.weights.len() == dense_weights(sort)
        };
        let numbers = |expert: &Expert| {
            let Expert { mean, spread, weights, calibration } = expert;
            calibration.is_sound()
                && mean.iter().chain(spread).chain(weights).all(|number| number.is_finite())
        };
        self.experts.len() == SORTS
            && self.experts.iter().enumerate().all(sized)
            && self.experts.iter().all(numbers)
            && self.words.len() == VOCABULARY
            && [self.bias, self.word_unit, self.doubt].iter().all(|number| number.is_finite())
    }
}

impl Expert {
    /// What it weighs, for a prompt of its sort.
    pub fn dense(&self, sort: Sort, features: &Features) -> Vec<f32> {
        let view = &VIEWS[sort as usize];
        let mut dense = vec![0.0; FIRST_MEASURE];
        dense.reserve_exact(view.weights() - FIRST_MEASURE);
        dense[0] = OFFSET.sqrt();
        features.signs.iter().for_each(|sign| dense[FIRST_SIGN + *sign as usize] = SIGNS.sqrt());
        let standard = self.standard_of(view, features);
        dense.extend(view.measures.iter().zip(&standard).map(|((_, scale), value)| value * scale));
        if view.pairs > 0.0 {
            let (square, cross) = view.pair_values();
            for (at, value) in standard.iter().enumerate() {
                dense.extend(standard[..at].iter().map(|other| value * other * cross));
                dense.push(value * value * square);
            }
        }
        dense
    }

    /// What its weights make of a prompt of its sort: the same as over [`dense`](Self::dense), which need not be built.
    fn gain(&self, sort: Sort, features: &Features) -> f32 {
        let view = &VIEWS[sort as usize];
        let (first, mut pairs) = self.weights.split_at(FIRST_MEASURE + view.measures.len());
        let (offset_and_signs, alone) = first.split_at(FIRST_MEASURE);
        let signs: f32 =
            features.signs.iter().map(|sign| offset_and_signs[FIRST_SIGN + *sign as usize]).sum();
        let standard = self.standard_of(view, features);
        let measures = view.measures.iter().zip(&standard).zip(alone);
        let measures: f32 = measures.map(|(((_, scale), value), weight)| value * scale * weight).sum();
        let mut gain = offset_and_signs[0] * OFFSET.sqrt() + signs * SIGNS.sqrt() + measures;
        if view.pairs > 0.0 {
            let (square, cross) = view.pair_values();
            for (at, value) in standard.iter().enumerate() {
                let (row, rest) = pairs.split_at(at + 1);
                gain += value * (cross * product(&standard[..at], row) + square * value * row[at]);
                pairs = rest;
            }
        }
        gain
    }

    /// The measures of its view.
    fn standard_of(&self, view: &View, features: &Features) -> Vec<f32> {
        view.measures.iter().map(|(place, _)| self.standard(*place, &features.measures)).collect()
    }

    /// A measure in standard deviations from the mean of its sort of prompt.
    fn standard(&self, place: usize, measures: &Measures) -> f32 {
        let deviation = (measures.values[place] - self.mean[place]) / self.spread[place].max(1e-6);
        deviation.clamp(-FARTHEST, FARTHEST)
    }
}

/// The sum of the products of neighbours, as far as both go; in eight lanes, so that it is quick.
fn product(one: &[f32], other: &[f32]) -> f32 {
    let (lanes, rest) = one.as_chunks::<8>();
    let (other_lanes, _) = other.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in lanes.iter().zip(other_lanes) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = rest.iter().zip(&other[8 * lanes.len()..]).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// Where a word's weight stands: the same word says other things in other sorts of prompt.
pub fn word(sort: Sort, bucket: u16) -> usize {
    (usize::from(bucket) + sort as usize * (VOCABULARY / SORTS)) % VOCABULARY
}

/// The weight of each word of a prompt, so that many words do not shout.
pub fn word_value(sort: Sort, measures: &Measures) -> f32 {
    (VIEWS[sort as usize].words / measures.vocabulary.len().max(8) as f32).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskRequest;

    /// One whose weights are these by their places.
    fn expert(sort: Sort, weight: impl Fn(usize) -> f32) -> Expert {
        let weights = (0..dense_weights(sort as usize)).map(weight).collect();
        Expert {
            mean: vec![0.1; MEASURES],
            spread: vec![0.7; MEASURES],
            weights,
            calibration: Calibration::default(),
        }
    }

    #[test]
    fn a_reason_that_several_measures_have_is_told_once() {
        let prompt = "Which is it?\nA. one of these two long ones\nB. a\nC. the other of these two";
        let features = Features::of(&TaskRequest::new("any", prompt));
        let need = Need {
            experts: (0..SORTS).map(|_| expert(Sort::Options, |_| 1.0)).collect(),
            bias: 0.0,
            words: vec![0; VOCABULARY],
            word_unit: 0.0,
            doubt: 1.0,
        };
        let reasons = need.reasons(&features, 1.0, usize::MAX);
        let told = |words| reasons.iter().filter(|reason| **reason == words).count();
        assert_eq!(told("offers options of different lengths"), 1, "{reasons:?}");
        assert_eq!(told("offers long options"), 1, "{reasons:?}");
    }

    #[test]
    fn the_quick_way_to_a_gain_is_the_sum_over_all_that_an_expert_weighs() {
        let prompts = [
            "Which is it?\nA. one\nB. two\nC. three",
            "Tom has 12 apples and eats a third. How many has he?",
            "If $x^2 = 4$ and $x > 0$, what is $x$?",
            "def f(x):\n    return x + 1",
            "Write a poem about the sea.",
        ];
        for (prompt, sort) in
            prompts.into_iter().zip([Sort::Options, Sort::Problem, Sort::Formula, Sort::Code, Sort::Other])
        {
            let features = Features::of(&TaskRequest::new("any", prompt));
            assert_eq!(Sort::of(&features), sort, "{prompt}");
            let expert = expert(sort, |at| (at as f32).sin());
            let dense = expert.dense(sort, &features);
            assert_eq!(dense.len(), expert.weights.len());
            let sum: f32 = dense.iter().zip(&expert.weights).map(|(a, b)| a * b).sum();
            assert!((expert.gain(sort, &features) - sum).abs() < 1e-3, "{prompt}");
        }
    }
}
