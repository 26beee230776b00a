//! The model inside the program: no download, no key.
//!
//! llama.cpp maps a file, so the bytes are written to the data directory once, in a folder that is named by their content:
//! two versions of `ghost` that share a data directory do not fight over it.

use std::fs;
use std::io;
use std::path::PathBuf;

use ghost_service::data_dir::{DataDir, write_whole};
use sha2::{Digest, Sha256};

const GGUF: &[u8] = include_bytes!("../../../models/ghost-tiny.gguf");

/// The file that llama.cpp maps.
///
/// # Errors
/// Where it cannot be written.
pub fn file(data: &DataDir) -> io::Result<PathBuf> {
    let hash = Sha256::digest(GGUF);
    let content: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    // A model is called what its file is called.
    let path = data.folder(&format!("models/{content}"))?.join("ghost-tiny.gguf");
    // Compared as a whole: a file that something else damaged would only be noticed by wrong answers.
    if fs::read(&path).is_ok_and(|there| there == GGUF) {
        return Ok(path);
    }
    write_whole(&path, GGUF)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_model_is_small() {
        assert!(GGUF.starts_with(b"GGUF") && GGUF.len() <= 8 << 20, "{} bytes", GGUF.len());
    }

    #[test]
    fn a_damaged_copy_is_written_again() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let data = DataDir::open(Some(folder.path())).expect("it can be made");
        let path = file(&data).expect("there is room");
        fs::write(&path, b"GGUF").expect("there is room");
        assert_eq!(file(&data).expect("there is room"), path);
        assert_eq!(fs::read(&path).expect("it is there"), GGUF);
    }
}
