//! What llama.cpp may compute with: the CPU's code that a portable build picks at run time, and a GPU where there is one.
//!
//! A build for this machine has its CPU's code inside. With the feature `portable`, code for each generation of CPUs
//! lies in a file of its own beside the program; the best that this CPU can run is loaded before the first model.

use crate::{Error, load};

/// Whether layers of a model can be put on a GPU: this build has support for one, and one is there.
///
/// # Errors
/// [`Error::Start`] where llama.cpp cannot be set up at all.
pub fn has_gpu() -> Result<bool, Error> {
    Ok(load::backend()?.supports_gpu_offload())
}

/// Makes this CPU's code available; called once, before the first model.
///
/// # Errors
/// In words, where the code should be.
#[cfg(not(feature = "portable"))]
pub(crate) fn prepare() -> Result<(), String> {
    Ok(())
}

#[cfg(feature = "portable")]
pub(crate) use portable::prepare;

#[cfg(feature = "portable")]
mod portable {
    use std::path::{Path, PathBuf};

    use llama_cpp_2::llama_backend::load_backends_from_path;
    use llama_cpp_sys_2::{GGML_BACKEND_DEVICE_TYPE_CPU, ggml_backend_dev_by_type};

    /// Loads the best code for this CPU, and what there is for GPUs.
    pub(crate) fn prepare() -> Result<(), String> {
        let program =
            std::env::current_exe().map_err(|error| format!("where it lies is unknown: {error}"))?;
        let folders = folders(&program);
        for folder in folders.iter().filter(|folder| folder.is_dir() && folder.to_str().is_some()) {
            load_backends_from_path(folder);
            if has_cpu() {
                return Ok(());
            }
        }
        let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        Err(format!(
            "no code for this CPU (libggml-cpu-….so) in {}; unpack the whole archive and leave it together",
            folders.join(" or ")
        ))
    }

    /// Where the files are looked for: the places that the program finds llama.cpp's own libraries at (the build
    /// script of `ghost`).
    pub(super) fn folders(program: &Path) -> Vec<PathBuf> {
        let Some(beside) = program.parent() else { return Vec::new() };
        let above = beside.parent().map(|above| above.join("lib/ghost-swarm"));
        above.into_iter().chain([beside.join("lib/ghost-swarm")]).collect()
    }

    #[expect(unsafe_code, reason = "llama-cpp-2 does not tell which devices there are")]
    fn has_cpu() -> bool {
        // SAFETY: it looks up a table that llama.cpp keeps for the process; the device is not touched.
        !unsafe { ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) }.is_null()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn code_is_looked_for_beside_the_program_and_nowhere_else() {
            let expected = ["/opt/ghost/lib/ghost-swarm", "/opt/ghost/bin/lib/ghost-swarm"];
            assert_eq!(folders(Path::new("/opt/ghost/bin/ghost")), expected.map(PathBuf::from));
        }
    }
}
