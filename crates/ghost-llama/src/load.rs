//! Opens a GGUF: looks at the file before llama.cpp does, and keeps llama.cpp off instructions that would kill us.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::OnceLock;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_sys_2::{llama_model, llama_model_default_params, llama_model_load_from_file};
use tracing::debug;

use crate::{Config, Error, hardware, log};

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

/// The model in this file.
pub(crate) fn model(config: &Config) -> Result<LlamaModel, Error> {
    let path = &config.path;
    look_at(path)?;
    backend()?;
    let refused = |reason: String| Error::Load { path: path.clone(), reason };
    let name = path.to_str().and_then(|path| CString::new(path).ok());
    let name = name.ok_or_else(|| refused("its path is not UTF-8".into()))?;
    let extras = !amx_is_doubtful(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default());
    if !extras {
        debug!("this virtual CPU claims AMX; llama.cpp goes without it and without repacked weights");
    }
    log::take_complaint();
    read(&name, config.gpu_layers, extras)
        .ok_or_else(|| refused(log::take_complaint().unwrap_or_else(|| "no reason given".into())))
}

/// Says in words what llama.cpp would not: that the file cannot be read, or is something else.
pub(crate) fn look_at(path: &Path) -> Result<(), Error> {
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

/// Whether AMX is claimed by a CPU that is not there. Some hypervisors announce it and the kernel grants it, yet its
/// first instruction ends the process; llama.cpp takes both at their word. To try it out would cost a process.
fn amx_is_doubtful(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |name| flags.split_whitespace().any(|flag| flag == name);
    has("amx_tile") && has("hypervisor")
}

/// Loads the model; `extras` are weight layouts for special instructions, AMX among them.
#[expect(unsafe_code, reason = "llama-cpp-2 has no setter for use_extra_bufts")]
fn read(path: &CString, gpu_layers: u32, extras: bool) -> Option<LlamaModel> {
    // SAFETY: it only fills a struct.
    let mut params = unsafe { llama_model_default_params() };
    params.n_gpu_layers = i32::try_from(gpu_layers).unwrap_or(i32::MAX);
    params.use_extra_bufts = extras;
    // SAFETY: the path is a C string that outlives the call; the parameters are llama.cpp's own and hold no pointers.
    let model = unsafe { llama_model_load_from_file(path.as_ptr(), params) };
    let model: NonNull<llama_model> = NonNull::new(model)?;
    // SAFETY: `LlamaModel` is transparent over a non-null pointer to a model that it owns, and this one is nobody's.
    Some(unsafe { std::mem::transmute::<NonNull<llama_model>, LlamaModel>(model) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amx_is_doubted_where_a_hypervisor_claims_it() {
        assert!(amx_is_doubtful("processor : 0\nflags\t\t: fpu hypervisor amx_bf16 amx_tile\n"));
        assert!(!amx_is_doubtful("flags : fpu amx_tile\n"));
        assert!(!amx_is_doubtful("flags : fpu hypervisor avx2\n"));
        assert!(!amx_is_doubtful(""));
    }
}
