//! The model that is measured: the built-in one, a file, or one of more than a billion random weights that is made once
//! and kept in the cache folder. What weights say does not change how long they take.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ghost_llama::random_model::{RandomModel, Weights};
use tempfile::NamedTempFile;

use crate::output::talk;

/// How the made model stores its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Quantization {
    /// 4 bits in blocks of 32, the fastest on most CPUs
    #[value(name = "q4_0")]
    Q4_0,
    /// 4 bits in blocks of 256, more exact
    #[value(name = "q4_k")]
    Q4K,
}

/// The folder for what can be made again.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let folders = directories::ProjectDirs::from("", "", "ghost-swarm");
    let folders = folders.context("this system names no home directory; name a file with --model")?;
    Ok(folders.cache_dir().to_owned())
}

/// The file of more than a billion random weights; made where it is not there.
pub(crate) fn random(quantization: Quantization) -> anyhow::Result<PathBuf> {
    let (weights, name) = match quantization {
        Quantization::Q4_0 => (Weights::Q4_0, "random-1b-q4_0.gguf"),
        Quantization::Q4K => (Weights::Q4K, "random-1b-q4_k.gguf"),
    };
    let path = cache()?.join("bench").join(name);
    if !path.is_file() {
        let model = RandomModel::billion(weights);
        talk(format!("making {} random weights in {} …", model.parameters(), path.display()));
        write(&model, &path).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(path)
}

/// Writes the whole file or none.
fn write(model: &RandomModel, path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().context("it has no folder")?;
    fs::create_dir_all(folder)?;
    let mut file = BufWriter::with_capacity(1 << 20, NamedTempFile::new_in(folder)?);
    model.write_to(&mut file)?;
    file.flush()?;
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.persist(path)?;
    Ok(())
}
