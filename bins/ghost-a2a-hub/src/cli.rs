//! What can be typed.

use ghost_service::program;

/// The hub: lets ghosts in any language join the swarm over WebSocket.
#[derive(Debug, clap::Parser)]
#[command(name = "ghost-a2a-hub", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) flags: program::Flags,
    /// Where to listen; beyond 127.0.0.1 GHOST_API_TOKEN must be set [env: A2A_HOST; default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// The port; 0 takes a free one [env: A2A_PORT; default: 8765]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    #[command(subcommand)]
    pub(crate) command: Option<program::Command>,
}

const EXAMPLES: &str = "\
Examples:
  ghost-a2a-hub                                          on ws://127.0.0.1:8765, for callers on this machine
  REDIS_URL=redis://127.0.0.1:6379 ghost-a2a-hub         a door to the swarm on that Redis; there may be several
  GHOST_API_TOKEN=… ghost-a2a-hub --host 0.0.0.0         for all who know the token
  ghost-a2a-hub health                                   0 where the one that runs here is ready, else 1
  python examples/python-ghost/ghost.py --url ws://127.0.0.1:8765

Settings that matter here (docs/configuration.md has all):
  REDIS_URL, GHOST_SWARM    where the tasks are, and whose; without it, SQLite in the directory of --data
  A2A_HOST, A2A_PORT        where it listens
  GHOST_API_TOKEN           what callers must know
  HEALTH_PORT               8084: /healthz, /readyz and /metrics

It prints its address on stdout once it listens, and logs to stderr. It serves the subprotocol ghost-a2a.v1:
registry, health and work, as told in docs/protocol.md. docs/ghosts.md tells how to write a ghost.
SIGTERM or Ctrl-C lets calls end for five seconds; a second one leaves at once.
Exit codes: 0, 1 failed, 2 wrong usage, 130 left at once.";

impl Cli {
    /// What was typed, as settings.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let typed = [("A2A_HOST", self.host.clone()), ("A2A_PORT", self.port.map(|port| port.to_string()))];
        typed.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}
