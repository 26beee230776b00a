//! The one shape of a program of the swarm, from its command line to its exit code.
//!
//! ```text
//! flags ─▶ settings ─▶ log ─▶ health ─▶ broker ─▶ serve … SIGTERM ─▶ drain, with a deadline ─▶ 0
//! ```
//! A program that needs no broker leaves that step out ([`alone`]).
//!
//! It ends with 0 where it drained, 1 where something went wrong, 2 on a wrong command line, 130 where a second signal
//! asked it to leave at once. Its health can be asked before it has a broker and until it is gone.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::ArgAction;
use ghost_core::broker::Broker;
use ghost_core::config::{Config, LogLevel, Sources};
use ghost_core::id::AgentId;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::door::{self, Door, Limits};
use crate::health::{self, Health};
use crate::shutdown::{self, Shutdown};
use crate::{broker, telemetry};

/// How long the last words may take after the drain: workers say goodbye, connections close.
pub const LAST_WORDS: Duration = Duration::from_secs(7);

/// Who may ask at once how a program is: probes and Prometheus, and somebody who looks.
const CALLERS: usize = 64;
/// How long they may take once the program has ended.
const GOODBYE: Duration = Duration::from_millis(100);

/// What the programs differ in before they serve.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its name, as it is typed.
    pub name: &'static str,
    /// What its agents are called where nobody names them.
    pub role: &'static str,
    /// Where its health is told where nobody says (HEALTH_PORT).
    pub health_port: u16,
}

/// Flags of every program.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Where files are kept, and tasks where there is no Redis [env: GHOST_DATA; default: the platform's data directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A TOML file with settings [env: GHOST_CONFIG; default: ghost.toml where it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets one setting for this start, as in --set REDIS_URL=redis://127.0.0.1:6379; docs/configuration.md lists them
    #[arg(long, global = true, value_name = "NAME=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
    /// Logs more: -v how things happen, -vv every step
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// What a program can do besides serving.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub enum Command {
    /// Asks the program that runs here whether it is ready; exits with 0 or 1
    Health,
}

/// What a program serves with.
pub struct Start {
    /// Everything that can be set.
    pub settings: Config,
    /// The name of its agent.
    pub agent_id: AgentId,
    /// Where the tasks are.
    pub broker: Arc<dyn Broker>,
    /// How it is.
    pub health: Health,
    /// When it is to end.
    pub shutdown: Shutdown,
}

/// What a program serves with that needs no broker.
pub struct Lone {
    /// Everything that can be set.
    pub settings: Config,
    /// How it is.
    pub health: Health,
    /// When it is to end.
    pub shutdown: Shutdown,
}

/// Does what was typed: serves until it is told to end, or asks how the program is.
pub fn main<F>(
    program: Program,
    flags: &Flags,
    typed: Vec<(String, String)>,
    command: Option<Command>,
    serve: impl FnOnce(Start) -> F,
) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    alone(program, flags, typed, command, |lone| over_broker(program, lone, serve))
}

/// The same for a program that needs no broker; it says so to its [`Health`].
pub fn alone<F>(
    program: Program,
    flags: &Flags,
    typed: Vec<(String, String)>,
    command: Option<Command>,
    serve: impl FnOnce(Lone) -> F,
) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let done = flags.settings(typed).and_then(|settings| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("the threads of the program cannot be started")?;
        let done = match command {
            Some(Command::Health) => runtime.block_on(ask(program, &settings)),
            None => {
                let level = flags.level(&settings);
                telemetry::init(settings.service.log_format, level).context("the log cannot be set up")?;
                runtime.block_on(run(program, settings, serve))
            }
        };
        // What was left behind, as a model in the middle of a word, ends with the process.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::Left) => ExitCode::from(130),
        Err(error) => {
            // Nothing is left to say it with where stderr is closed.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves once the broker is there.
async fn over_broker<F>(program: Program, lone: Lone, serve: impl FnOnce(Start) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let Lone { settings, health, shutdown } = lone;
    let opened = shutdown.drain.run_until_cancelled(broker::open(&settings)).await;
    let Some(broker) = opened.transpose()? else { return Ok(()) };
    health.uses(broker.clone());
    info!(version = env!("CARGO_PKG_VERSION"), "{} starts over {}", program.name, place(&settings));
    let agent_id = settings.service.agent_id.clone().unwrap_or_else(|| AgentId::generate(program.role));
    serve(Start { agent_id, broker, health, shutdown, settings }).await
}

enum Ended {
    Well,
    Left,
}

async fn ask(program: Program, settings: &Config) -> anyhow::Result<Ended> {
    let port = settings.health.port.unwrap_or(program.health_port);
    let words = health::ask(&settings.health.host, port).await?;
    say(&words)?;
    Ok(Ended::Well)
}

async fn run<F>(program: Program, settings: Config, serve: impl FnOnce(Lone) -> F) -> anyhow::Result<Ended>
where
    F: Future<Output = anyhow::Result<()>>,
{
    for warning in &settings.warnings {
        warn!("{warning}");
    }
    let shutdown = shutdown::signals();
    let health = Health::new(program.name, shutdown.drain.clone());
    let told = CancellationToken::new();
    let telling = tell(program, &settings, &health, told.clone()).await?;
    let drain = settings.service.drain;
    let serving = serve(Lone { health, shutdown: shutdown.clone(), settings });
    let late = async {
        shutdown.drain.cancelled().await;
        info!("{} ends: it takes nothing new, and has {drain:?} for what it has begun", program.name);
        sleep(drain + LAST_WORDS).await;
        anyhow!(
            "it did not end within {drain:?} (DRAIN_SECONDS) and was stopped; its leases end by themselves"
        )
    };
    let ended = tokio::select! {
        served = serving => served.map(|()| Ended::Well),
        () = shutdown.leave.cancelled() => Ok(Ended::Left),
        error = late => Err(error),
    };
    told.cancel();
    if let Some(telling) = telling
        && ended.as_ref().is_ok_and(|ended| matches!(ended, Ended::Well))
    {
        // Whoever asks at this very moment gets an answer; nobody is waited for.
        let _ = tokio::time::timeout(GOODBYE, telling.task).await;
    }
    ended
}

/// A program that can be asked how it is.
#[derive(Debug)]
pub struct Telling {
    /// Where.
    pub address: SocketAddr,
    /// What answers.
    pub task: JoinHandle<()>,
}

/// Tells from now on how the program is. A port that nobody chose may be taken: several workers run on one machine.
///
/// # Errors
/// Where a port was chosen and cannot be had.
pub async fn tell(
    program: Program,
    settings: &Config,
    health: &Health,
    shutdown: CancellationToken,
) -> anyhow::Result<Option<Telling>> {
    let at = door::Address {
        host: settings.health.host.clone(),
        port: settings.health.port.unwrap_or(program.health_port),
        settings: ["HEALTH_HOST", "HEALTH_PORT"],
        token: settings.service.api_token.clone(),
        allow_anonymous: settings.service.allow_anonymous,
    };
    let limits = Limits { connections: CALLERS, requests: CALLERS, drain: GOODBYE, ..Limits::default() };
    let door = match Door::open(&at, limits).await {
        Ok(door) => door,
        Err(error @ door::Error::Taken { .. }) if settings.health.port.is_none() => {
            warn!("{error}; nobody can ask this program how it is");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let address = door.address();
    info!("{} tells how it is at http://{address}", program.name);
    let task = tokio::spawn(health.clone().serve(door, shutdown));
    Ok(Some(Telling { address, task }))
}

fn place(settings: &Config) -> &'static str {
    if settings.broker.on_redis() { "Redis" } else { "SQLite in the data directory" }
}

impl Flags {
    fn settings(&self, typed: Vec<(String, String)>) -> anyhow::Result<Config> {
        let mut flags = self.set.clone();
        for (name, path) in [("GHOST_DATA", &self.data), ("GHOST_CONFIG", &self.config)] {
            if let Some(path) = path {
                let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
                flags.push((name.to_owned(), text.to_owned()));
            }
        }
        flags.extend(typed);
        Config::load(Sources::of_process(flags))
            .map_err(|error| anyhow!("the settings make no sense\n{error}"))
    }

    fn level(&self, settings: &Config) -> LogLevel {
        match self.verbose {
            0 => settings.service.log_level,
            1 => LogLevel::Debug,
            _ => LogLevel::Trace,
        }
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Prints what a program may read.
///
/// # Errors
/// Where nobody reads it.
pub fn say(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
