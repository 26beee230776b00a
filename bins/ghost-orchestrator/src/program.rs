//! The program `ghost-orchestrator`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use ghost_core::config;
use ghost_core::id::AgentId;
use ghost_core::taskmaster::TaskMaster;
use ghost_service::models;
use ghost_service::program::{self, LAST_WORDS, Program, Start};
use ghost_service::tasks::Owned;

use crate::api::{self, Api};
use crate::ingest::rules::Rules;
use crate::ingest::{self, Ingest};
use crate::{Config, Deps, Handle, Orchestrator};

const PROGRAM: Program = Program { name: "ghost-orchestrator", role: "orchestrator", health_port: 8081 };

/// Takes tasks in, classifies them and decides who answers; frees what is overdue.
#[derive(Debug, Parser)]
#[command(name = PROGRAM.name, version, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    flags: program::Flags,
    /// Where to listen; beyond 127.0.0.1 GHOST_API_TOKEN must be set [env: ORCHESTRATOR_HOST; default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// The port; 0 takes a free one [env: ORCHESTRATOR_PORT; default: 8080]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    #[command(subcommand)]
    command: Option<program::Command>,
}

const EXAMPLES: &str = r#"Examples:
  REDIS_URL=redis://127.0.0.1:6379 ghost-orchestrator     over Redis, with the workers of the same swarm
  ghost-orchestrator --data DIR                           over SQLite, with programs on this machine
  curl -d '{"task_type": "llm_inference", "description": "Say hello."}' \
       -H 'content-type: application/json' http://127.0.0.1:8080/v1/tasks
  ghost-orchestrator health                               0 where the one that runs here is ready, else 1

Settings that matter here (docs/configuration.md has all):
  REDIS_URL, GHOST_SWARM                 where the tasks are, and whose
  ORCHESTRATOR_HOST, ORCHESTRATOR_PORT   where it listens; docs/doors.md tells what for
  GHOST_API_TOKEN                        what callers must know; needed beyond this machine
  SIMPLE_THRESHOLD, COMPLEX_THRESHOLD    who answers what
  GHOST_INGEST                           rules by which messages in Redis become tasks (docs/ingestion.md)
  MAX_BACKLOG, MAX_WAIT, RESULT_TTL      how many tasks wait, for how long, and how long results stay
  LEASE_SECONDS                          the same for all programs of a swarm
  HEALTH_PORT                            8081: /healthz, /readyz and /metrics

It prints its address on stdout once it listens, and logs to stderr. It runs no model: routes follow what the live
workers say they have. There may be several of it.
SIGTERM or Ctrl-C ends it in good order, a second one at once. Exit codes: 0, 1 failed, 2 wrong usage, 130 left at once."#;

/// Runs an orchestrator until it is told to end.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let typed =
        [("ORCHESTRATOR_HOST", cli.host), ("ORCHESTRATOR_PORT", cli.port.map(|port| port.to_string()))];
    let typed = typed.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    program::main(PROGRAM, &cli.flags, typed, cli.command, serve)
}

async fn serve(start: Start) -> anyhow::Result<()> {
    let Start { settings, agent_id, broker, health, shutdown } = start;
    let deps = Deps {
        broker,
        taskmaster: Arc::new(TaskMaster::new(settings.routing.thresholds()?)),
        available: models::available(&settings)?,
    };
    let orchestrator = Orchestrator::build(config(&settings, agent_id.clone()), deps);
    let ingest = ingest_from(&settings, agent_id, orchestrator.handle())?;
    let door = api::Deps { handle: orchestrator.handle(), open: health.open_routes() };
    let api = Api::build(api::Config::from(&settings), door).await?;
    // Whoever started it with port 0 learns here where it is.
    program::say(&format!("http://{}", api.address()))?;
    let mut tasks = Owned::new(shutdown.drain.clone());
    tasks.spawn("HTTP door", api.run(shutdown.drain.clone()));
    if let Some(ingest) = ingest {
        tasks.spawn("ingestion", ingest.run(shutdown.drain.clone()));
    }
    tasks.spawn("orchestrator", orchestrator.run(shutdown.drain));
    Ok(tasks.wait(LAST_WORDS).await?)
}

/// How an orchestrator of a swarm of several programs behaves.
pub fn config(settings: &config::Config, agent_id: AgentId) -> Config {
    Config {
        agent_id,
        max_wait: settings.broker.max_wait,
        lease: settings.broker.lease,
        ask_workers: true,
        result_ttl: settings.broker.result_ttl,
        ..Config::default()
    }
}

/// What takes tasks in from Redis, where there are rules for it (GHOST_INGEST).
///
/// # Errors
/// Where the rules or Redis's address make no sense.
pub fn ingest_from(
    settings: &config::Config,
    agent_id: AgentId,
    handle: Handle,
) -> anyhow::Result<Option<Ingest>> {
    let Some(file) = &settings.orchestrator.ingest else { return Ok(None) };
    let rules = Rules::read(file)?;
    let redis = ghost_service::broker::redis_config(settings);
    Ok(Some(Ingest::build(ingest::Config { agent_id, redis, rules }, handle)?))
}
