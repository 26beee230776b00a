//! The command line `ghost`: so far what reads tasks and writes results; the commands follow.
#![expect(dead_code, reason = "the commands that use these follow")]
mod data_dir;
mod exit;
mod output;
mod progress;
mod rehearsal;
mod results;
mod runs;
mod sink;
mod story;
mod summary;
pub mod task_file;
mod tasks;

/// Not yet.
pub fn main() -> std::process::ExitCode {
    exit::Exit::Failed.into()
}
