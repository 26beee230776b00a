//! The file that TaskMaster's learned parts come in: versioned, with a checksum at its end.
//!
//! Which kind of simple task a prompt shows ([`kinds`](super::kinds)), how much it needs the strong model
//! ([`need`](super::need)), and what drafts say about that ([`drafts`](super::drafts)). `models/taskmaster-v3.md` says
//! what the shipped one learned from.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::drafts::Rule;
use super::kinds::Kinds;
use super::need::Need;

/// The model that ships.
pub const EMBEDDED: &[u8] = include_bytes!("../../../../models/taskmaster-v3.bin");

const MAGIC: &[u8; 8] = b"GHOSTTM\x03";
const CHECKSUM: usize = 32;
/// The most bytes of a model's file.
pub const MAX_BYTES: usize = 4 << 20;

/// All that TaskMaster has learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Which kind of simple task a prompt shows.
    pub kinds: Kinds,
    /// How much it needs the strong model.
    pub need: Need,
    /// What drafts say about that.
    pub drafts: Rule,
}

/// Why a file is not a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not one of ours, or of another version.
    #[error("not a TaskMaster model of version 3")]
    Foreign,
    /// Larger than any model.
    #[error("has {found} bytes, a model at most {MAX_BYTES}")]
    TooLarge {
        /// How many it has.
        found: usize,
    },
    /// Cut off, or something in it changed.
    #[error("its checksum does not match; copy it again")]
    Damaged,
    /// Made for other features than this program sees.
    #[error("made for other features than this program sees; train it again")]
    OtherFeatures,
}

impl Model {
    /// Reads a model and checks it.
    ///
    /// # Errors
    /// [`Error`] says what is wrong with the file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_BYTES {
            return Err(Error::TooLarge { found: bytes.len() });
        }
        if !bytes.starts_with(MAGIC) {
            return Err(Error::Foreign);
        }
        let content =
            bytes.len().checked_sub(CHECKSUM).filter(|end| *end >= MAGIC.len()).ok_or(Error::Damaged)?;
        let (content, checksum) = bytes.split_at(content);
        if Sha256::digest(content)[..] != *checksum {
            return Err(Error::Damaged);
        }
        let model: Self = postcard::from_bytes(&content[MAGIC.len()..]).map_err(|_| Error::OtherFeatures)?;
        let sound = model.kinds.is_sound() && model.need.is_sound() && model.drafts.is_sound();
        sound.then_some(model).ok_or(Error::OtherFeatures)
    }

    /// The file of this model.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes =
            postcard::to_extend(self, MAGIC.to_vec()).expect("a model has nothing that cannot be written");
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }
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
    }

    #[test]
    fn a_file_that_is_not_whole_is_refused_with_what_is_wrong() {
        let whole = EMBEDDED.to_vec();
        assert_eq!(refusal(b""), Error::Foreign);
        assert_eq!(refusal(b"GGUF and so on, for a while"), Error::Foreign);
        assert_eq!(refusal(&whole[..12]), Error::Damaged);
        assert_eq!(refusal(&whole[..whole.len() - 1]), Error::Damaged);
        assert_eq!(refusal(&[&whole[..], b"!"].concat()), Error::Damaged);
        assert!(matches!(refusal(&vec![0; MAX_BYTES + 1]), Error::TooLarge { .. }));
        for place in [20, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[place] ^= 4;
            assert_eq!(refusal(&damaged), Error::Damaged, "byte {place}");
        }
    }

    #[test]
    fn a_model_with_parts_of_other_sizes_or_without_numbers_is_refused() {
        let sound = Model::from_bytes(EMBEDDED).expect("sound");
        let mut other = sound.clone();
        other.need.words.pop();
        assert_eq!(refusal(&other.to_bytes()), Error::OtherFeatures);
        let mut other = sound.clone();
        other.kinds.weights.pop();
        assert_eq!(refusal(&other.to_bytes()), Error::OtherFeatures);
        let mut other = sound;
        other.need.doubt = f32::NAN;
        assert_eq!(refusal(&other.to_bytes()), Error::OtherFeatures);
    }
}
