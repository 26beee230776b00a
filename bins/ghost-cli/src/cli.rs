//! What can be typed: global options and commands. Each command's own options stand in its file.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::commands::{
    bench, cancel, completions, dlq, doctor, experiment, explain, feedback, gc, models, ps, retry, run,
    submit, taskmaster, up, watch,
};
use crate::output::Format;

/// Answers tasks with a small model on this machine where that is good enough, and with Claude where it is not.
#[derive(Debug, Parser)]
#[command(
    name = "ghost",
    version,
    arg_required_else_help = true,
    after_help = EXAMPLES,
    after_long_help = LONG_HELP,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

const EVERYWHERE: &str = "Options of every command";

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The form of what goes to stdout
    #[arg(long, global = true, help_heading = EVERYWHERE, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
    /// Where tasks are kept [env: GHOST_DATA; default: the platform's data directory]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A running swarm to talk to instead, as in http://127.0.0.1:8080 [env: GHOST_URL]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "URL")]
    pub url: Option<String>,
    /// A TOML file with settings [env: GHOST_CONFIG; default: ghost.toml where it is there]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets one setting for this call, as in --set LLM_MODEL=claude-opus-5-5; `ghost doctor` lists them all
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Says more on stderr: -v what happens, -vv how
    #[arg(short, long, global = true, help_heading = EVERYWHERE, action = ArgAction::Count)]
    pub verbose: u8,
}

/// What to do. A command without words here has them in its file.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(run::Args),
    Up(up::Args),
    Submit(submit::Args),
    Ps(ps::Args),
    Explain(explain::Args),
    Feedback(feedback::Args),
    Watch(watch::Args),
    Retry(retry::Args),
    Cancel(cancel::Args),
    /// Show what was done, saved and spent
    Stats,
    /// Show who is alive, what for, and how busy
    Agents,
    /// Show how many tasks wait, run and are settled
    Queue,
    #[command(subcommand)]
    Dlq(dlq::Command),
    #[command(subcommand)]
    Experiment(experiment::Command),
    /// Learn from what came of tasks who answers what
    #[command(subcommand)]
    Taskmaster(taskmaster::Command),
    /// Show which models there are, bring more, check and measure them
    #[command(subcommand)]
    Models(models::Command),
    /// Measure how fast this machine is, and see what a swarm survives
    #[command(subcommand)]
    Bench(bench::Command),
    Gc(gc::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
}

const EXAMPLES: &str = "\
Examples:
  ghost run examples/tasks.jsonl -o results.jsonl    answer a file of tasks
  ghost submit --category spam --category ham \"You won!\"
  ghost ps --status failed
  ghost doctor

`ghost COMMAND --help` teaches each command.";

const LONG_HELP: &str = "\
Examples:
  ghost run examples/tasks.jsonl -o results.jsonl    answer a file of tasks, one JSON object a line
  ghost run examples/tasks.jsonl --resume            go on after Ctrl-C or a crash
  ghost submit \"Which field is the id?\" --stream    answer one task, word by word
  ghost submit --category spam --category ham --prompt @mail.txt \"Sort this mail\"
  ghost up                                           a whole swarm in this process, until Ctrl-C
  ghost explain line-3-a1b2c3d4                      who answered it, why, at what cost
  ghost feedback line-3-a1b2c3d4 --bad --comment \"the wrong field\"
  ghost retry --all                                  after setting a key
  ghost watch --url http://127.0.0.1:8080            the tasks of a running swarm, live
  ghost ps --status failed --output jsonl | jq .error
  ghost experiment start cheaper --control opus,model=claude-opus-5-5 --arm haiku,model=claude-haiku-4-5
  ghost taskmaster retrain                           learn from ratings and verdicts, in shadow at first
  ghost models pull phi-3-mini                       a larger local model, then SLM_MODEL=phi-3-mini
  ghost doctor                                       what is set, what is missing

Without a key, simple tasks are answered by the built-in model; those that need Claude wait.
With ANTHROPIC_API_KEY set, Claude answers them.

Exit codes: 0 done, 1 not done (or lines of the file were rejected), 2 wrong usage, 3 a task failed,
4 a task ran out of time, 130 interrupted.";
