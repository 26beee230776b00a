//! Why a model could not be loaded. What goes wrong with one request is a [`ghost_core::inference::Error`].

use std::path::PathBuf;

/// Why there is no [`Llama`](crate::Llama).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that makes no sense.
    #[error("{0}")]
    Config(String),
    /// The file cannot be read.
    #[error("cannot read the model {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("{} is not a GGUF file", .0.display())]
    NotGguf(PathBuf),
    /// llama.cpp refuses the file: it is cut off, corrupt, or of an architecture that this llama.cpp does not know.
    #[error("llama.cpp cannot load {}: {reason}", .path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What llama.cpp says; its own log has more.
        reason: String,
    },
    /// The model cannot hold a conversation.
    #[error("{} cannot be used for chat: {reason}", .path.display())]
    Template {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// No thread, no memory for the context, or llama.cpp itself is taken.
    #[error("the engine did not start: {0}")]
    Start(String),
}
