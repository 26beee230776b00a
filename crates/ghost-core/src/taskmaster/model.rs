//! What TaskMaster has learned: a weight for each feature, in two heads over the same features.
//!
//! The first head says how likely a Phi-3-mini class model's answer would not do; the second which kind of simple
//! task the prompt shows, or none. Both are linear, so a verdict is a sum and can be taken apart ([`Model::share`]).
//! The file is small, versioned and ends with a checksum; `examples/train_taskmaster` writes it, and
//! `models/taskmaster-v1.md` says from what.

use sha2::{Digest, Sha256};

use super::features::{BUCKETS, DOCUMENTS, Features, SIZES};
use super::signs::Sign;
use crate::task::Kind;

/// The model that ships.
pub const EMBEDDED: &[u8] = include_bytes!("../../../../models/taskmaster-v1.bin");

/// The outputs: complexity, the kinds in the order of [`Kind::ALL`], and "none of them".
pub const OUTPUTS: usize = 2 + Kind::ALL.len();
/// The output for complexity.
pub const COMPLEXITY: usize = 0;
/// The output for "none of the kinds".
pub const BEYOND: usize = OUTPUTS - 1;
/// How many weights each output has: signs, sizes (for all prompts, then by sort of document), buckets.
pub const ROWS: usize = HASHED + BUCKETS;
const HASHED: usize = Sign::COUNT + SIZES * (1 + DOCUMENTS);

const MAGIC: &[u8; 8] = b"GHOSTTM\x01";
const CHECKSUM: usize = 32;
const FLOATS: usize = 2 + 2 * OUTPUTS;
const SIZE: usize = MAGIC.len() + 8 + 4 * FLOATS + 2 * ROWS * OUTPUTS + CHECKSUM;

/// A trained model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// A kind is only named from this probability on.
    pub kind_threshold: f32,
    /// By how much two models of half the data each differ in their log-odds of complexity (one standard deviation).
    pub doubt: f32,
    /// What each output starts from.
    pub bias: [f32; OUTPUTS],
    /// What one unit of each output's weights is worth.
    pub scale: [f32; OUTPUTS],
    /// The weights, `ROWS` times one for each output.
    pub weights: Vec<[i16; OUTPUTS]>,
}

/// Why a file is not a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not one of ours, or of another version.
    #[error("not a TaskMaster model of version 1")]
    Foreign,
    /// Made for other features than this program sees.
    #[error("made for {found:?} signs and buckets, this program has {expected:?}; train it again")]
    OtherFeatures {
        /// What the file says.
        found: (u32, u32),
        /// What the program has.
        expected: (u32, u32),
    },
    /// Cut off, or with something behind it.
    #[error("has {found} bytes instead of {SIZE}; copy it again")]
    Length {
        /// How many it has.
        found: usize,
    },
    /// Something in it changed.
    #[error("its checksum does not match; copy it again")]
    Damaged,
    /// A number that no training writes.
    #[error("holds a number that is not finite")]
    NotFinite,
}

impl Model {
    /// Reads a model and checks it.
    ///
    /// # Errors
    /// [`Error`] says what is wrong with the file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(Error::Foreign)?;
        let mut next = || take(&mut rest).map(u32::from_le_bytes).ok_or(Error::Length { found: bytes.len() });
        let found = (next()?, next()?);
        let expected = dimensions();
        if found != expected {
            return Err(Error::OtherFeatures { found, expected });
        }
        if bytes.len() != SIZE {
            return Err(Error::Length { found: bytes.len() });
        }
        let (content, checksum) = bytes.split_at(SIZE - CHECKSUM);
        if Sha256::digest(content)[..] != *checksum {
            return Err(Error::Damaged);
        }
        let mut floats = [0.0; FLOATS];
        for float in &mut floats {
            *float = f32::from_bits(next()?);
        }
        if !floats.iter().all(|float| float.is_finite()) {
            return Err(Error::NotFinite);
        }
        let (weights, _) = rest[..rest.len() - CHECKSUM].as_chunks::<{ 2 * OUTPUTS }>();
        let row = |row: &[u8; 2 * OUTPUTS]| {
            std::array::from_fn(|output| i16::from_le_bytes([row[2 * output], row[2 * output + 1]]))
        };
        Ok(Self {
            kind_threshold: floats[0],
            doubt: floats[1],
            bias: std::array::from_fn(|output| floats[2 + output]),
            scale: std::array::from_fn(|output| floats[2 + OUTPUTS + output]),
            weights: weights.iter().map(row).collect(),
        })
    }

    /// The file of this model.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SIZE);
        bytes.extend_from_slice(MAGIC);
        let (signs, buckets) = dimensions();
        bytes.extend([signs, buckets].iter().flat_map(|number| number.to_le_bytes()));
        let floats = [self.kind_threshold, self.doubt].into_iter().chain(self.bias).chain(self.scale);
        bytes.extend(floats.flat_map(f32::to_le_bytes));
        bytes.extend(self.weights.iter().flatten().flat_map(|weight| weight.to_le_bytes()));
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// The log-odds of complexity, then the unnormalised log-probabilities of the kinds and of none.
    pub fn outputs(&self, features: &Features) -> [f32; OUTPUTS] {
        let mut sums = [0.0; OUTPUTS];
        rows(features).for_each(|(row, value)| {
            let weights = &self.weights[row];
            (0..OUTPUTS).for_each(|output| sums[output] += value * f32::from(weights[output]));
        });
        std::array::from_fn(|output| self.bias[output] + self.scale[output] * sums[output])
    }

    /// How much one sign adds to an output.
    pub fn share(&self, sign: Sign, output: usize) -> f32 {
        SIGN_VALUE * self.scale[output] * f32::from(self.weights[sign as usize][output])
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

fn dimensions() -> (u32, u32) {
    (HASHED as u32, BUCKETS as u32)
}

fn take(rest: &mut &[u8]) -> Option<[u8; 4]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> Error {
        Model::from_bytes(bytes).expect_err("a spoilt file")
    }

    #[test]
    fn the_model_that_ships_reads_and_writes_the_same() {
        let model = Model::from_bytes(EMBEDDED).expect("sound");
        assert_eq!(model.to_bytes(), EMBEDDED);
        assert!(EMBEDDED.len() <= 1 << 20);
    }

    #[test]
    fn a_file_that_is_not_whole_is_refused_with_what_is_wrong() {
        let whole = EMBEDDED.to_vec();
        assert_eq!(refusal(b""), Error::Foreign);
        assert_eq!(refusal(b"GGUF and so on, for a while"), Error::Foreign);
        assert_eq!(refusal(&whole[..12]), Error::Length { found: 12 });
        assert_eq!(refusal(&whole[..SIZE - 1]), Error::Length { found: SIZE - 1 });
        assert_eq!(refusal(&[&whole[..], b"!"].concat()), Error::Length { found: SIZE + 1 });
        for place in [20, SIZE / 2, SIZE - 1] {
            let mut damaged = whole.clone();
            damaged[place] ^= 4;
            assert_eq!(refusal(&damaged), Error::Damaged, "byte {place}");
        }
        let mut other = whole.clone();
        other[8] += 1;
        let refused = refusal(&other);
        assert!(
            matches!(refused, Error::OtherFeatures { .. }) && refused.to_string().contains("train it again")
        );
        let infinite = Model { doubt: f32::NAN, ..Model::from_bytes(&whole).expect("sound") };
        assert_eq!(refusal(&infinite.to_bytes()), Error::NotFinite);
    }
}
