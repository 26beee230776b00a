//! The program `ghost-worker`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Parser;
use ghost_core::config;
use ghost_core::id::AgentId;
use ghost_core::taskmaster::Thresholds;
use ghost_llama::{Llama, Statistics};
use ghost_service::data_dir::{DataDir, Turn};
use ghost_service::health::Health;
use ghost_service::program::{self, LAST_WORDS, Lone, Program, Start};
use ghost_service::tasks::Owned;
use tracing::warn;

use crate::engine::Local;
use crate::serve::Server;
use crate::{Config, Deps, Worker, engine, serve};

const PROGRAM: Program = Program { name: "ghost-worker", role: "worker", health_port: 8082 };

/// Claims tasks and has the local model or the LLM answer them.
#[derive(Debug, Parser)]
#[command(name = PROGRAM.name, version, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    flags: program::Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum Command {
    /// Serves the local model over OpenAI's API instead of executing tasks: one engine a machine
    ///
    /// Workers, and whatever else speaks OpenAI's API, find it by SLM_ENDPOINT. It needs no Redis and no key.
    #[command(after_help = SERVING)]
    Serve,
    #[command(flatten)]
    Other(program::Command),
}

const EXAMPLES: &str = "\
Examples:
  REDIS_URL=redis://127.0.0.1:6379 ghost-worker           over Redis; start as many as you like
  ghost-worker --data DIR                                 over SQLite, with programs on this machine
  ghost-worker --set SLM_MODEL_PATH=model.gguf            with another local model than the one inside
  ghost-worker serve                                      its model for others, by OpenAI's API at 127.0.0.1:8090
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

const SERVING: &str = "\
Examples:
  ghost-worker serve                                      the small model inside the program, as `ghost-tiny`
  ghost-worker serve --set SLM_MODEL_PATH=phi.gguf        another one, as `phi`
  curl http://127.0.0.1:8090/v1/chat/completions -d \
    '{\"model\": \"ghost-tiny\", \"messages\": [{\"role\": \"user\", \"content\": \"Set order 4711 to shipped.\"}]}'
  SLM_ENDPOINT=http://127.0.0.1:8090/v1 SLM_MODEL=ghost-tiny ghost-worker      a worker that uses it

Settings that matter here (docs/slm-server.md has the API):
  SLM_SERVER_HOST, SLM_SERVER_PORT    where it listens: 127.0.0.1 and 8090
  GHOST_API_TOKEN                     what callers must know beyond this machine; workers send SLM_API_KEY
  SLM_MODEL_PATH                      the model; SLM_ENDPOINT and SLM_MODEL are for those who use it
  SLM_PARALLEL, SLM_THREADS           how many answers at once, with how many threads
  SLM_CONTEXT_TOKENS, SLM_KV_MIB      how long a prompt and its answer may be, and the memory for all of them
  HEALTH_PORT                         8082: /healthz, /readyz and /metrics, also for `ghost-worker health`

SIGTERM or Ctrl-C: it takes no more requests and ends the answers in the making, for DRAIN_SECONDS at most.";

/// Runs a worker until it is told to end.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Serve) => program::alone(PROGRAM, &cli.flags, Vec::new(), None, serve_model),
        Some(Command::Other(command)) => program::main(PROGRAM, &cli.flags, Vec::new(), Some(command), work),
        None => program::main(PROGRAM, &cli.flags, Vec::new(), None, work),
    }
}

async fn work(start: Start) -> anyhow::Result<()> {
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
    let mut models = loaded.context("loading the model panicked")??;
    for warning in &models.warnings {
        warn!("{warning}");
    }
    if shutdown.drain.run_until_cancelled(models.wait_for_anybody()).await.is_none() {
        return Ok(());
    }
    drop(wait);
    let mut tasks = Owned::new(shutdown.drain.clone());
    if let Some(absent) = models.absent.take() {
        tasks.spawn("model's server", absent.wait_until(shutdown.drain.clone()));
    }
    let config = config(&settings, agent_id, settings.routing.thresholds()?);
    let worker = Worker::build(config, Deps { broker, engine: models.engine.clone() });
    tasks.spawn("worker", worker.run(shutdown.drain));
    Ok(tasks.wait(drain + LAST_WORDS).await?)
}

/// Serves the model of this process to others.
async fn serve_model(lone: Lone) -> anyhow::Result<()> {
    let Lone { mut settings, health, shutdown } = lone;
    let wait = health.waits_for("its model");
    health.needs_no_broker();
    // Where others find this server, and what they call its model.
    (settings.slm.endpoint, settings.slm.model) = (None, None);
    let data = DataDir::open(settings.broker.data.as_deref())?;
    let deps = serve::Deps { open: health.open_routes() };
    let server = Server::build(serve::Config::from(&settings), deps).await?;
    let (handle, drain) = (server.handle(), settings.service.drain);
    let mut tasks = Owned::new(shutdown.drain.clone());
    tasks.spawn("HTTP door", server.run(shutdown.drain.clone()));

    let load = move || {
        let executor = engine::executor(&settings);
        let local = engine::local(&settings, &data, &executor, serve::QUEUE)?;
        let local = local.context("SLM_PROVIDER=none leaves no model to serve; unset it")?;
        anyhow::Ok((local, engine::gpu_doubt(&settings)?))
    };
    let Some(loaded) = shutdown.drain.run_until_cancelled(tokio::task::spawn_blocking(load)).await else {
        return Ok(tasks.wait(drain + LAST_WORDS).await?);
    };
    let (Local { llama, capability, place }, doubt) = loaded.context("loading the model panicked")??;
    if let Some(doubt) = doubt {
        warn!("{doubt}");
    }
    tell(&llama, &health);
    let context_tokens = llama.facts().context_tokens;
    handle.serves(serve::Model { backend: llama, capability, context_tokens });
    drop(wait);
    let ended = tasks.wait(drain + LAST_WORDS).await;
    drop(place);
    Ok(ended?)
}

/// Tells the model's numbers to whoever asks how the program is. It ends with the server, whoever may still ask.
fn tell(llama: &Arc<Llama>, health: &Health) {
    let read = |of: fn(&Statistics) -> u64| {
        let llama = Arc::downgrade(llama);
        move || llama.upgrade().map_or(0, |llama| of(&llama.statistics()))
    };
    health.gauge("ghost_slm_running", "Answers that the model is making", read(|now| now.running));
    health.gauge("ghost_slm_waiting", "Requests that wait for the model", read(|now| now.waiting));
    health.counter("ghost_slm_requests", "Requests that the model took up", read(|now| now.requests));
    health.counter(
        "ghost_slm_prompt_tokens",
        "Tokens of prompts, remembered ones included",
        read(|now| now.prompt_tokens),
    );
    health.counter(
        "ghost_slm_prompt_tokens_cached",
        "Tokens of prompts that were remembered",
        read(|now| now.prompt_tokens_cached),
    );
    health.counter("ghost_slm_answer_tokens", "Tokens answered", read(|now| now.answer_tokens));
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
