//! Opens a GGUF: looks at the file before llama.cpp does, and says what is wrong with it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::OnceLock;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;

use crate::{Config, Error, hardware, log, tokenizer};

/// llama.cpp itself, set up once for the process.
pub(crate) fn backend() -> Result<&'static LlamaBackend, Error> {
    static BACKEND: OnceLock<Result<LlamaBackend, String>> = OnceLock::new();
    log::capture();
    let backend = BACKEND.get_or_init(|| {
        hardware::prepare()?;
        LlamaBackend::init().map_err(|error| error.to_string())
    });
    backend.as_ref().map_err(|error| Error::Start(error.clone()))
}

/// The model in this file, to compute with.
pub(crate) fn model(config: &Config) -> Result<LlamaModel, Error> {
    open(&config.path, &LlamaModelParams::default().with_n_gpu_layers(config.gpu_layers))
}

/// Opens a file, and refuses a model over whose texts llama.cpp would end the process.
pub(crate) fn open(path: &Path, params: &LlamaModelParams) -> Result<LlamaModel, Error> {
    look_at(path)?;
    let backend = backend()?;
    let refused = |reason| Error::Load { path: path.to_owned(), reason };
    log::take_complaint();
    let model = LlamaModel::load_from_file(backend, path, params)
        .map_err(|error| refused(log::take_complaint().unwrap_or_else(|| error.to_string())))?;
    tokenizer::check(&model).map_err(refused)?;
    Ok(model)
}

/// What a model is called: as its file without the extension, else as the file says.
pub(crate) fn name(path: &Path, model: &LlamaModel) -> String {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
    stem.or_else(|| model.meta_val_str("general.name").ok()).unwrap_or_else(|| "model".into())
}

/// Says in words what llama.cpp would not: that the file cannot be read, or is something else.
fn look_at(path: &Path) -> Result<(), Error> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(unreadable(ErrorKind::IsADirectory.into()));
    }
    let mut magic = [0; 4];
    if file.read_exact(&mut magic).is_err() || &magic != b"GGUF" {
        return Err(Error::NotGguf(path.to_owned()));
    }
    Ok(())
}
