//! A program of the swarm as a process that can be killed, stopped and started again.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::exit::misuse;

/// How long a program may take to be ready, Redis's absences included.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often one that starts is asked whether it is ready.
const LOOK: Duration = Duration::from_millis(20);

/// The process; it ends with this.
pub(super) struct Process {
    name: String,
    program: PathBuf,
    settings: Vec<(String, String)>,
    log: PathBuf,
    health: u16,
    child: Child,
}

impl Process {
    /// Starts a program with these settings alone; `name` is that of its log in the folder.
    pub(super) fn start(
        program: &str,
        name: String,
        folder: &Path,
        settings: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let program = beside_us(program)?;
        let health = free_port()?;
        let own = [("HEALTH_PORT", health.to_string())];
        let settings: Vec<(String, String)> =
            settings.iter().chain(&own).map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let log = folder.join(format!("{name}.log"));
        let child = spawn(&program, &settings, &log)?;
        Ok(Self { name, program, settings, log, health, child })
    }

    /// Waits until it says that it is ready.
    pub(super) async fn ready(&mut self, http: &reqwest::Client) -> anyhow::Result<()> {
        let url = format!("http://127.0.0.1:{}/readyz", self.health);
        let late = Instant::now() + PATIENCE;
        loop {
            self.must_live()?;
            if http.get(&url).send().await.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > late {
                bail!("{} was not ready within {PATIENCE:?}; its log: {}", self.name, self.log.display());
            }
            sleep(LOOK).await;
        }
    }

    /// SIGKILL, and a new process in its place.
    pub(super) async fn kill_and_start(&mut self) -> anyhow::Result<()> {
        self.must_live()?;
        self.child.kill().await?;
        self.child = spawn(&self.program, &self.settings, &self.log)?;
        Ok(())
    }

    /// SIGSTOP for this long, then SIGCONT: it knows nothing of the time between.
    pub(super) async fn stop_for(&mut self, time: Duration) -> anyhow::Result<()> {
        self.must_live()?;
        self.signal("STOP").await?;
        sleep(time).await;
        self.signal("CONT").await
    }

    async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let id = self.child.id().context("it has ended")?.to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &id]).status().await?;
        anyhow::ensure!(sent.success(), "{} cannot be sent SIG{signal}", self.name);
        Ok(())
    }

    fn must_live(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended by itself ({status}); its log: {}", self.name, self.log.display())
            }
        }
    }
}

fn spawn(program: &Path, settings: &[(String, String)], log: &Path) -> anyhow::Result<Child> {
    let said = File::options().create(true).append(true).open(log).context("a log cannot be written")?;
    let folder = log.parent().context("a log lies in a folder")?;
    Command::new(program)
        .env_clear()
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{} cannot be started", program.display()))
}

fn beside_us(program: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe().context("where this program lies is unknown")?.with_file_name(program);
    if !path.is_file() {
        return Err(misuse(format!(
            "{} is not there; `cargo build --release --bins` builds it",
            path.display()
        )));
    }
    Ok(path)
}

/// A port that is free now, and out of the range from which the system gives ports to connections: those would take it
/// while its program is dead.
pub(super) fn free_port() -> anyhow::Result<u16> {
    let mut tries = (0..1000).map(|_| fastrand::u16(10_000..30_000));
    tries.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).context("no port is free")
}
