//! The command line `ghost`: a swarm in one process, and a window on what it did.
//!
//! [`cli`] says what can be typed, `commands/` has one file for each command, [`main`] is the way from one to the
//! other. Data goes to stdout, talk to stderr ([`output`]), and the exit code says how it ended ([`exit`]). Commands
//! that execute tasks host the very services that a larger swarm runs ([`swarm`]), over a store in the data directory.

use std::process::ExitCode;

use clap::Parser as _;

mod access;
mod cli;
mod commands;
mod context;
mod exit;
mod hub;
mod output;
mod progress;
mod rehearsal;
mod results;
mod runs;
mod sink;
mod story;
mod summary;
mod swarm;
mod tasks;

/// Parses the command line, does what it says, and tells the shell how it went.
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::perform(&cli.global, cli.command) {
        Ok(exit) => exit.into(),
        Err(error) if exit::reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::talk(format!("error: {error:#}"));
            exit::of(&error).into()
        }
    }
}
