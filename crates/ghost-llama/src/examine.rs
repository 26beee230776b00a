//! Whether a file could be loaded, found out without loading it.

use std::path::Path;

use llama_cpp_2::model::params::LlamaModelParams;

use crate::prompt::Template;
use crate::{Error, load};

/// Reads a model's description and vocabulary and leaves its weights alone: milliseconds where loading takes seconds.
/// It finds a file that is missing, something else, cut off, of an architecture that this llama.cpp does not know, or
/// unable to hold a conversation.
///
/// # Errors
/// What [`Llama::load`](crate::Llama::load) would say of the file.
pub fn examine(path: &Path) -> Result<(), Error> {
    let model = load::open(path, &LlamaModelParams::default().with_vocab_only(true))?;
    match Template::of(&model) {
        Ok(_) => Ok(()),
        Err(reason) => Err(Error::Template { path: path.to_owned(), reason }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random_model::RandomModel;
    use crate::{Config, Llama};

    /// Each with what is said of it.
    fn faulty() -> Vec<(&'static str, Vec<u8>)> {
        let whole = RandomModel::default().bytes();
        let at = whole.windows(5).position(|five| five == b"llama").expect("it names its architecture");
        let mut unknown = whole.clone();
        unknown[at..at + 5].copy_from_slice(b"qwert");
        let mute = RandomModel { template: None, ..RandomModel::default() };
        vec![
            ("is not a GGUF file", b"<html>not found</html>".to_vec()),
            ("cannot load", whole[..whole.len() / 2].to_vec()),
            ("unknown model architecture: 'qwert'", unknown),
            ("no chat template", mute.bytes()),
        ]
    }

    #[test]
    fn what_would_not_load_is_found_without_loading_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model.gguf");
        assert!(examine(&path).expect_err("it is missing").to_string().contains("cannot read"));
        for (words, bytes) in faulty() {
            std::fs::write(&path, bytes).expect("a writable folder");
            let examined = examine(&path).expect_err(words).to_string();
            assert!(examined.contains(words), "{examined}");
            let loaded = Llama::load(Config::new(&path)).expect_err(words).to_string();
            assert_eq!(examined, loaded);
        }
        std::fs::write(&path, RandomModel::default().bytes()).expect("a writable folder");
        examine(&path).expect("it is sound");
    }
}
