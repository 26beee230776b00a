//! What can be typed, and where the store lies.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The hub: lets ghosts in any language join the swarm over WebSocket.
#[derive(Debug, clap::Parser)]
#[command(name = "ghost-a2a-hub", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Where tasks are kept, the same as of the other services [env: GHOST_DATA; default: the platform's data directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A TOML file with settings [env: GHOST_CONFIG; default: ghost.toml where it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen; beyond 127.0.0.1 GHOST_API_TOKEN must be set [env: A2A_HOST; default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// The port; 0 takes a free one [env: A2A_PORT; default: 8765]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

const EXAMPLES: &str = "\
Examples:
  ghost-a2a-hub                                          on ws://127.0.0.1:8765, for callers on this machine
  GHOST_API_TOKEN=… ghost-a2a-hub --host 0.0.0.0         for all who know the token
  python examples/python-ghost/ghost.py --url ws://127.0.0.1:8765

It prints its address on stdout once it listens, and logs to stderr. It serves the subprotocol ghost-a2a.v1:
registry, health and work, as told in docs/protocol.md. docs/ghosts.md tells how to write a ghost.
Ctrl-C or SIGTERM lets calls end for five seconds; a second one leaves at once.";

impl Cli {
    /// What was typed, as settings.
    pub(crate) fn settings(&self) -> anyhow::Result<Vec<(String, String)>> {
        let text = |path: &PathBuf| {
            path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
        };
        let typed = [
            ("GHOST_DATA", self.data.as_ref().map(text).transpose()?),
            ("GHOST_CONFIG", self.config.as_ref().map(text).transpose()?),
            ("A2A_HOST", self.host.clone()),
            ("A2A_PORT", self.port.map(|port| port.to_string())),
        ];
        Ok(typed.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }
}

/// The file that holds the tasks.
pub(crate) fn database(data: Option<&Path>) -> anyhow::Result<PathBuf> {
    let folder = match data {
        Some(data) => data.to_owned(),
        None => directories::ProjectDirs::from("", "", "ghost-swarm")
            .context("this system names no home directory; say where tasks are kept with --data DIR")?
            .data_dir()
            .to_owned(),
    };
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("the data directory {} cannot be used", folder.display()))?;
    Ok(folder.join("ghost.db"))
}

/// Prints what a program may read.
pub(crate) fn say(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Prints what a person may read.
pub(crate) fn talk(line: &str) {
    // Nothing is left to say it with where stderr is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}
