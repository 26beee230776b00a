//! The program `ghost-evaluator`.

use std::process::ExitCode;

use clap::Parser;
use ghost_core::checks::Help;
use ghost_core::config;
use ghost_core::id::AgentId;
use ghost_service::models;
use ghost_service::program::{self, LAST_WORDS, Program, Start};
use ghost_service::tasks::Owned;

use crate::{Config, Deps, Evaluator};

const PROGRAM: Program = Program { name: "ghost-evaluator", role: "evaluator", health_port: 8083 };

/// Judges answers, and settles tasks or sends them back or up.
#[derive(Debug, Parser)]
#[command(name = PROGRAM.name, version, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    flags: program::Flags,
    #[command(subcommand)]
    command: Option<program::Command>,
}

const EXAMPLES: &str = "\
Examples:
  REDIS_URL=redis://127.0.0.1:6379 ghost-evaluator        over Redis, with the workers of the same swarm
  ghost-evaluator --data DIR                              over SQLite, with programs on this machine
  ghost-evaluator health                                  0 where the one that runs here is ready, else 1

Settings that matter here (docs/configuration.md has all):
  REDIS_URL, GHOST_SWARM    where the answers are, and whose
  ENABLE_SLM_FALLBACK       whether a weak answer of the local model goes up to the LLM
  LEASE_SECONDS             the same for all programs of a swarm
  HEALTH_PORT               8083: /healthz, /readyz and /metrics

It runs no model. Where none of it is alive for ten seconds, workers check the form of answers themselves.
SIGTERM or Ctrl-C ends it in good order, a second one at once. Exit codes: 0, 1 failed, 2 wrong usage, 130 left at once.";

/// Runs an evaluator until it is told to end.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    program::main(PROGRAM, &cli.flags, Vec::new(), cli.command, serve)
}

async fn serve(start: Start) -> anyhow::Result<()> {
    let Start { settings, agent_id, broker, shutdown, .. } = start;
    let help = models::help(&settings)?;
    let deps = Deps { broker, llm_available: help.llm_available };
    let evaluator = Evaluator::build(config(&settings, agent_id, help), deps);
    let mut tasks = Owned::new(shutdown.drain.clone());
    tasks.spawn("evaluator", evaluator.run(shutdown.drain));
    Ok(tasks.wait(settings.service.drain + LAST_WORDS).await?)
}

/// How an evaluator of a swarm of several programs behaves.
pub fn config(settings: &config::Config, agent_id: AgentId, help: Help) -> Config {
    Config {
        agent_id,
        lease: settings.broker.lease,
        fallback: help.fallback,
        slm_revises: help.slm_revises,
        ask_workers: true,
        ..Config::default()
    }
}
