//! Runs both ghosts over the store in a data directory, until Ctrl-C.
//!
//! ```text
//! cargo run --release -p custom-ghost -- DIR
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use custom_ghost::{Notary, Totals};
use ghost_core::broker::sqlite::{Options, SqliteBroker};
use ghost_core::inference::hybrid::{self, Engine};
use ghost_core::inference::pricing::Pricing;
use ghost_worker::ghost::Ghost;
use ghost_worker::{Config, Deps, Worker};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.context("say where the tasks are: custom-ghost DIR, as in `ghost run --data DIR`")?;
    let broker = SqliteBroker::open(&folder.join("ghost.db"), Options::default())?;
    // These two work without models of their own; give the engine some, and `infer` asks them.
    let engine = Engine::build(hybrid::Config::default(), None, None, Pricing::builtin());
    let deps = Deps { broker: Arc::new(broker), engine: Arc::new(engine) };
    let ghosts: [Arc<dyn Ghost>; 2] = [Arc::new(Totals), Arc::new(Notary::default())];

    let shutdown = CancellationToken::new();
    let mut workers = JoinSet::new();
    for ghost in ghosts {
        workers.spawn(Worker::hosting(Config::default(), deps.clone(), ghost).run(shutdown.clone()));
    }
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        Some(ended) = workers.join_next() => return Ok(ended??),
    }
    shutdown.cancel();
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(())
}
