//! Which kind of simple task a prompt shows, or none: a linear model over signs, sizes, and hashed words and letters.
//!
//! A verdict is a sum and can be taken apart. `examples/train_taskmaster` fits it, from rows that the tiny SLM's generator writes.

use serde::{Deserialize, Serialize};

use super::features::{BUCKETS, DOCUMENTS, Features, SIZES};
use super::signs::Sign;
use crate::task::Kind;

/// The outputs: the kinds in the order of [`Kind::ALL`], and "none of them".
pub const CLASSES: usize = 1 + Kind::ALL.len();
/// The output for "none of the kinds".
pub const BEYOND: usize = CLASSES - 1;
/// How many weights each output has: signs, sizes (for all prompts, then by sort of document), buckets.
pub const ROWS: usize = HASHED + BUCKETS;
const HASHED: usize = Sign::COUNT + SIZES * (1 + DOCUMENTS);

/// The trained head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kinds {
    /// A kind is only named from this probability on.
    pub threshold: f32,
    /// What each output starts from.
    pub bias: [f32; CLASSES],
    /// What one unit of each output's weights is worth.
    pub unit: [f32; CLASSES],
    /// The weights, `ROWS` times one for each output.
    pub weights: Vec<[i16; CLASSES]>,
}

impl Kinds {
    /// Rounds weights to sixteen bits.
    pub fn new(threshold: f32, bias: [f32; CLASSES], weights: &[[f32; CLASSES]]) -> Self {
        let most =
            |class: usize| weights.iter().map(|row| row[class].abs()).fold(f32::MIN_POSITIVE, f32::max);
        let unit: [f32; CLASSES] = std::array::from_fn(|class| most(class) / f32::from(i16::MAX));
        let round =
            |row: &[f32; CLASSES]| std::array::from_fn(|class| (row[class] / unit[class]).round() as i16);
        Self { threshold, bias, unit, weights: weights.iter().map(round).collect() }
    }

    /// The unnormalised log-probabilities of the kinds and of none.
    pub fn outputs(&self, features: &Features) -> [f32; CLASSES] {
        let mut sums = [0.0; CLASSES];
        rows(features).for_each(|(row, value)| {
            let weights = &self.weights[row];
            (0..CLASSES).for_each(|class| sums[class] += value * f32::from(weights[class]));
        });
        std::array::from_fn(|class| self.bias[class] + self.unit[class] * sums[class])
    }

    /// The kind that the prompt shows, if one is likely enough.
    pub fn shown(&self, features: &Features) -> Option<Kind> {
        let (kind, probability) = self.likeliest(features);
        (probability >= self.threshold).then_some(kind)
    }

    /// The likeliest kind and its probability among all kinds and none; zero where the prompt lacks the document that
    /// such a task is about, however much its words sound like one.
    pub fn likeliest(&self, features: &Features) -> (Kind, f32) {
        let outputs = self.outputs(features);
        let most = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = outputs.iter().map(|output| (output - most).exp()).sum();
        let best =
            (0..BEYOND).max_by(|a, b| outputs[*a].total_cmp(&outputs[*b])).expect("there are six kinds");
        let kind = Kind::ALL[best];
        let shows = |sign| features.signs.contains(&sign);
        let possible = match kind {
            Kind::JsonField => shows(Sign::Json),
            Kind::EmailParse => shows(Sign::EmailHeaders) || shows(Sign::EmailAddress),
            Kind::Classify | Kind::KeyValue | Kind::ExtractValue | Kind::StatusUpdate => true,
        };
        (kind, if possible { (outputs[best] - most).exp() / total } else { 0.0 })
    }

    /// Whether every part has its size and every number is finite.
    pub fn is_sound(&self) -> bool {
        let numbers = self.bias.iter().chain(&self.unit).chain([&self.threshold]);
        self.weights.len() == ROWS && numbers.into_iter().all(|number| number.is_finite())
    }
}

/// What one sign counts.
const SIGN_VALUE: f32 = 0.5;
/// What the words of a prompt count together; they are many and each is rare, so they learn more slowly.
const WORD_VALUE: f32 = 0.5;
/// What its pairs of signs count together.
const PAIR_VALUE: f32 = 1.0;
/// What its letters count together.
const LETTER_VALUE: f32 = 0.25;

/// The rows of a prompt's features, each with what the feature counts. Words and letters count less the more there
/// are, so that a long prompt does not shout.
pub fn rows(features: &Features) -> impl Iterator<Item = (usize, f32)> + '_ {
    let signs = features.signs.iter().map(|sign| (*sign as usize, SIGN_VALUE));
    let sizes =
        |first: usize| features.sizes.iter().enumerate().map(move |(size, value)| (first + size, *value));
    let of_document = sizes(Sign::COUNT + SIZES * (1 + features.document as usize));
    signs
        .chain(sizes(Sign::COUNT))
        .chain(of_document)
        .chain(hashed(&features.words, WORD_VALUE))
        .chain(hashed(&features.letters, LETTER_VALUE))
        .chain(hashed(&features.pairs, PAIR_VALUE))
}

fn hashed(buckets: &[u16], together: f32) -> impl Iterator<Item = (usize, f32)> + '_ {
    let value = together / (buckets.len().max(8) as f32).sqrt();
    buckets.iter().map(move |bucket| (HASHED + usize::from(*bucket), value))
}
