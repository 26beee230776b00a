//! One file a command.

use crate::cli::{Command, Global};
use crate::context::{Context, wait};
use crate::exit::Exit;

pub(crate) mod agents;
pub(crate) mod bench;
pub(crate) mod cancel;
pub(crate) mod completions;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod experiment;
pub(crate) mod explain;
pub(crate) mod feedback;
pub(crate) mod gc;
pub(crate) mod models;
pub(crate) mod ps;
pub(crate) mod queue;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod stats;
pub(crate) mod submit;
pub(crate) mod taskmaster;
pub(crate) mod up;
pub(crate) mod watch;

/// Does what was typed.
pub(crate) fn perform(global: &Global, command: Command) -> anyhow::Result<Exit> {
    let context = || Context::new(global);
    match command {
        Command::Run(args) => wait(run::perform(&context()?, args)),
        Command::Up(args) => wait(up::perform(&context()?, args)),
        Command::Submit(args) => wait(submit::perform(&context()?, args)),
        Command::Ps(args) => wait(ps::perform(&context()?, args)),
        Command::Explain(args) => wait(explain::perform(&context()?, args)),
        Command::Retry(args) => wait(retry::perform(&context()?, args)),
        Command::Cancel(args) => wait(cancel::perform(&context()?, args)),
        Command::Feedback(args) => wait(feedback::perform(&context()?, args)),
        Command::Watch(args) => wait(watch::perform(&context()?, args)),
        Command::Stats => wait(stats::perform(&context()?)),
        Command::Agents => wait(agents::perform(&context()?)),
        Command::Queue => wait(queue::perform(&context()?)),
        Command::Dlq(command) => wait(dlq::perform(&context()?, command)),
        Command::Experiment(command) => wait(experiment::perform(&context()?, command)),
        Command::Taskmaster(command) => wait(taskmaster::perform(&context()?, command)),
        Command::Models(command) => wait(models::perform(&context()?, &command)),
        Command::Bench(command) => wait(bench::perform(&context()?, command)),
        Command::Gc(args) => wait(gc::perform(&context()?, args)),
        Command::Doctor(args) => wait(doctor::perform(&context()?, args)),
        // A shell completes words whatever the settings are.
        Command::Completions(args) => completions::perform(&args),
    }
}
