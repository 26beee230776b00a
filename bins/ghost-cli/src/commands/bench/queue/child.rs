//! A worker in a process of its own, which can be looked at from outside and killed.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ghost_service::shutdown;
use ghost_worker::Worker;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::super::machine::Memory;
use super::ghost::Stuck;
use super::swarm::{connect, engine, worker_config};
use crate::exit::Exit;
use crate::output::talk;

/// What it says once it can be given tasks.
const READY: &str = "ready";

/// Be the worker that `ghost bench queue` kills
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The Redis to work for
    redis: String,
    /// How long a task stays its own without a renewal, in milliseconds
    lease_ms: u64,
}

/// Runs as the child.
pub(crate) async fn perform(args: Args) -> anyhow::Result<Exit> {
    let broker = connect(&args.redis).await?;
    let signals = shutdown::signals();
    let deps = ghost_worker::Deps { broker, engine: Arc::new(engine()) };
    let config = worker_config(Duration::from_millis(args.lease_ms));
    let worker = Worker::hosting(config, deps, Arc::new(Stuck));
    let running = tokio::spawn(worker.run(signals.drain.clone()));
    talk(READY);
    running.await??;
    Ok(Exit::Success)
}

/// The child, seen from outside; it ends with this.
pub(super) struct Child(tokio::process::Child);

impl Child {
    /// Starts one and waits until it works for this Redis.
    pub(super) async fn start(url: &str, lease: Duration) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where this program lies is unknown")?;
        let mut child = Command::new(program)
            .args(["bench", "queue-worker", url, &lease.as_millis().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("a worker cannot be started")?;
        let said = child.stderr.take().context("a worker that says nothing")?;
        let mut lines = BufReader::new(said).lines();
        while let Some(line) = lines.next_line().await? {
            if line.contains(READY) {
                return Ok(Self(child));
            }
        }
        anyhow::bail!("the worker ended before it was ready")
    }

    /// The memory that it has; none where the system does not tell.
    pub(super) fn memory(&self) -> Option<Memory> {
        Memory::of(self.0.id()?)
    }

    /// Kills it where it stands.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.0.kill().await?)
    }
}
