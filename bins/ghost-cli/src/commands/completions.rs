//! `ghost completions`: teaches a shell what can be typed.

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::output;

/// Print a completion script for a shell
///
///   ghost completions bash > ~/.local/share/bash-completion/completions/ghost
///   ghost completions zsh > ~/.zfunc/_ghost
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Which shell
    shell: clap_complete::Shell,
}

pub(crate) fn perform(args: &Args) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ghost", &mut script);
    output::data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
