//! `ghost bench`: how fast this machine is at what a swarm does, beside the tools that others use for it, and what a swarm
//! survives here.
//!
//! [`queue`] measures the way of a task where no model computes. [`chaos`] kills every part of a swarm while it works, and
//! counts what is left. [`slm`] measures the local model's engine: it loads
//! [`engine`]s of ours, runs the [`mod@reference`] tools in turn with them, lets clients [`serve`] themselves from both and
//! sets a [`hog`] on the cores. [`queue`] and [`slm`] gather what they see in [`rows`]; what it is measured on stands in
//! [`machine`] and [`model`].

mod chaos;
mod engine;
mod hog;
mod machine;
mod model;
mod queue;
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
    Chaos(chaos::Args),
    Queue(queue::Args),
    #[command(hide = true)]
    QueueWorker(queue::child::Args),
    Slm(slm::Args),
}

pub(crate) async fn perform(context: &Context, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Chaos(args) => chaos::perform(context, args).await,
        Command::Queue(args) => queue::perform(context, args).await,
        Command::QueueWorker(args) => queue::child::perform(args).await,
        Command::Slm(args) => slm::perform(context, args).await,
    }
}
