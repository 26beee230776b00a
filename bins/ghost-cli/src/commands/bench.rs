//! `ghost bench`: how fast this machine is at what a swarm does, beside the tools that others use for it.
//!
//! [`slm`] is the command. It loads [`engine`]s of ours, runs the [`mod@reference`] tools in turn with them, lets clients
//! [`serve`] themselves from both, sets a [`hog`] on the cores, and gathers all of it in [`rows`]. What it runs on stands in
//! [`machine`] and [`model`].

mod engine;
mod hog;
mod machine;
mod model;
mod reference;
mod rows;
mod serve;
mod slm;

pub(crate) use engine::{Pace, pace};
pub(crate) use machine::{Machine, Memory};

use crate::context::Context;
use crate::exit::Exit;

/// What to measure
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Slm(slm::Args),
}

pub(crate) async fn perform(context: &Context, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Slm(args) => slm::perform(context, args).await,
    }
}
