//! The program `ghost-worker`.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Parser;
use ghost_core::config;
use ghost_core::id::AgentId;
use ghost_core::taskmaster::Thresholds;
use ghost_service::data_dir::{DataDir, Turn};
use ghost_service::program::{self, LAST_WORDS, Program, Start};
use ghost_service::tasks::Owned;
use tracing::warn;

use crate::{Config, Deps, Worker, engine};

const PROGRAM: Program = Program { name: "ghost-worker", role: "worker", health_port: 8082 };

/// Claims tasks and has the local model or the LLM answer them.
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
  REDIS_URL=redis://127.0.0.1:6379 ghost-worker           over Redis; start as many as you like
  ghost-worker --data DIR                                 over SQLite, with programs on this machine
  ghost-worker --set SLM_MODEL_PATH=model.gguf            with another local model than the one inside
  ghost-worker health                                     0 where the one that runs here is ready, else 1

Settings that matter here (docs/configuration.md has all):
  REDIS_URL, GHOST_SWARM              where the tasks are, and whose
  ANTHROPIC_API_KEY, LLM_MODEL        the LLM
  SLM_MODEL_PATH, SLM_ENDPOINT        the local model; one that `ghost models pull` brought is named by its path here
  MAX_WORKERS                         how many tasks it has at once
  LEASE_SECONDS                       how long a task stays with a worker that gives no sign of life
  DRAIN_SECONDS                       how long it may finish what it has begun once it is told to end
  HEALTH_PORT                         8082: /healthz, /readyz and /metrics

SIGTERM or Ctrl-C: it claims nothing more, finishes what it can, hands the rest back. A second one leaves at once;
its tasks come back when their leases end. Exit codes: 0, 1 failed, 2 wrong usage, 130 left at once.";

/// Runs a worker until it is told to end.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    program::main(PROGRAM, &cli.flags, Vec::new(), cli.command, serve)
}

async fn serve(start: Start) -> anyhow::Result<()> {
    let Start { settings, agent_id, broker, health, shutdown } = start;
    let data = DataDir::open(settings.broker.data.as_deref())?;
    let _turn = match settings.broker.on_redis() {
        true => None,
        false => Some(beside_others(&data)?),
    };
    if let Some(name) = &settings.slm.model
        && settings.slm.endpoint.is_none()
        && settings.slm.model_path.is_none()
    {
        warn!("SLM_MODEL={name} is known to `ghost` alone; name the file with SLM_MODEL_PATH here");
    }
    let wait = health.waits_for("its model");
    let (load, drain) = (settings.clone(), settings.service.drain);
    let loading = tokio::task::spawn_blocking(move || engine::load(&load, &data));
    let Some(loaded) = shutdown.drain.run_until_cancelled(loading).await else { return Ok(()) };
    let models = loaded.context("loading the model panicked")??;
    drop(wait);
    for warning in &models.warnings {
        warn!("{warning}");
    }
    let config = config(&settings, agent_id, thresholds(&settings)?);
    let worker = Worker::build(config, Deps { broker, engine: models.engine.clone() });
    let mut tasks = Owned::new(shutdown.drain.clone());
    tasks.spawn("worker", worker.run(shutdown.drain));
    Ok(tasks.wait(drain + LAST_WORDS).await?)
}

/// Whoever has the directory for itself frees all leases when it begins, ours too.
fn beside_others(data: &DataDir) -> anyhow::Result<Turn> {
    match data.share()? {
        Turn::Theirs(holder) => bail!(
            "{} is in use by {holder}, which answers its tasks alone; wait for it, choose another with --data DIR, or \
             set REDIS_URL",
            data.path().display()
        ),
        turn => Ok(turn),
    }
}

/// How a worker of a swarm of several programs behaves.
pub fn config(settings: &config::Config, agent_id: AgentId, thresholds: Thresholds) -> Config {
    Config {
        agent_id,
        max_load: engine::at_once(settings),
        lease: settings.broker.lease,
        drain: settings.service.drain,
        timeout: settings.worker.timeout,
        thresholds,
        ..Config::default()
    }
}

fn thresholds(settings: &config::Config) -> anyhow::Result<Thresholds> {
    let routing = &settings.routing;
    Ok(Thresholds::new(routing.simple_threshold, routing.complex_threshold)?)
}
