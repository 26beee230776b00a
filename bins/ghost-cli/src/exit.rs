//! What the process says to the shell when it ends.

use std::process::ExitCode;

/// How a command ended; its number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Success = 0,
    /// It could not be done, or lines were rejected.
    Failed = 1,
    /// The command line makes no sense here.
    Usage = 2,
    /// A task failed.
    TaskFailed = 3,
    /// A task was not settled in time.
    Timeout = 4,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An error of the command line rather than of the world: it ends with [`Exit::Usage`].
#[derive(Debug)]
pub(crate) struct Misuse(pub String);

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// An error of the command line, with what to try instead.
pub(crate) fn misuse(words: impl Into<String>) -> anyhow::Error {
    Misuse(words.into()).into()
}

/// The exit code of an error; a reader of our output who has left is no error at all.
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    if error.chain().any(|cause| cause.is::<Misuse>()) { Exit::Usage } else { Exit::Failed }
}

/// Whether whoever read our output has left, as `head` does.
pub(crate) fn reader_left(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_codes_are_those_of_the_manual() {
        let codes =
            [Exit::Success, Exit::Failed, Exit::Usage, Exit::TaskFailed, Exit::Timeout, Exit::Interrupted]
                .map(|exit| exit as u8);
        assert_eq!(codes, [0, 1, 2, 3, 4, 130]);
    }

    #[test]
    fn an_error_of_the_command_line_is_known_by_its_cause() {
        let error =
            Err::<(), _>(misuse("no such flag")).context("while starting").expect_err("it is an error");
        assert_eq!(of(&error), Exit::Usage);
        assert_eq!(of(&anyhow::anyhow!("the disk is full")), Exit::Failed);
    }

    #[test]
    fn a_reader_who_left_is_recognised_through_its_context() {
        let gone = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let error = Err::<(), _>(gone).context("cannot write the results").expect_err("it is an error");
        assert!(reader_left(&error));
    }
}
