//! `ghost up`: a whole swarm in this process, until its user ends it.
//!
//! Orchestrator, worker, evaluator and hub, as the programs of the same names run them, over the store in the data
//! directory or over the Redis that the settings name.

use anyhow::{Context as _, bail};
use ghost_a2a_hub::Hub;
use ghost_orchestrator::api::{self, Api};
use ghost_orchestrator::ingest_from;
use ghost_service::data_dir::Turn;
use ghost_service::health::Health;
use ghost_service::program::{self, Program};
use ghost_service::shutdown::{self, unless_left};
use ghost_service::{broker, models};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{data, talk};
use crate::swarm::{self, Life, Swarm};

const PROGRAM: Program = Program { name: "ghost up", role: "ghost", health_port: 8085 };

/// Run a whole swarm in this process, until Ctrl-C
///
/// Orchestrator, worker, evaluator and hub, over the data directory, or over Redis where REDIS_URL is set; there it is
/// one more worker of that swarm. It prints where its doors are. `ghost submit --wait` in another terminal, on the same
/// data directory or with `--url`, is answered by it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

const EXAMPLES: &str = "\
Examples:
  ghost up
  ghost up --data DIR -v                                     says what happens
  REDIS_URL=redis://127.0.0.1:6379 ghost up                  with the programs on that Redis
  ghost up --set A2A_PORT=9000 --set HEALTH_PORT=9001        at other ports

Ctrl-C or SIGTERM finishes what runs, for DRAIN_SECONDS at most; a second one leaves at once.";

pub(crate) async fn perform(context: &Context, _: Args) -> anyhow::Result<Exit> {
    let settings = &context.config;
    let place = context.data()?;
    let alone = !settings.broker.on_redis();
    let _lock = match alone.then(|| place.lock("ghost up")).transpose()? {
        Some(Turn::Theirs(holder)) => bail!(
            "{} is in use by {holder}; wait for it, choose another with --data DIR, or set REDIS_URL",
            place.path().display()
        ),
        turn => turn,
    };
    let shutdown = shutdown::signals();
    let (health, told) = (Health::new(PROGRAM.name, shutdown.drain.clone()), CancellationToken::new());
    let _told = told.clone().drop_guard();
    let telling = program::tell(PROGRAM, settings, &health, told).await?;
    let Some(broker) = shutdown.drain.run_until_cancelled(broker::open(settings)).await.transpose()? else {
        return Ok(Exit::Success);
    };
    if alone {
        swarm::free_leases(&*broker).await?;
    }
    health.uses(broker.clone());

    let deps = ghost_a2a_hub::Deps { broker: broker.clone() };
    let life = Life::Service { alone };
    let agent_id = life.agent_id(context, "hub");
    let hub = Hub::build(ghost_a2a_hub::config(settings, agent_id, models::help(settings)?), deps).await?;
    hub.tell(&health);
    let hub_at = hub.address();
    let wait = health.waits_for("its model");
    let mut models = tokio::task::block_in_place(|| swarm::load(context, &place))?;
    if shutdown.drain.run_until_cancelled(models.wait_for_anybody()).await.is_none() {
        return Ok(Exit::Success);
    }
    drop(wait);
    let mut swarm = Swarm::start(context, broker, models, life)?;
    let deps = api::Deps { handle: swarm.handle().clone(), open: health.open_routes() };
    let api = Api::build(api::Config::from(settings), deps).await?;
    let api_at = api.address();
    let ingest = ingest_from(settings, life.agent_id(context, "ingestion"), swarm.handle().clone())?;
    swarm.open(api, hub, ingest);

    let mut doors = format!("api     http://{api_at}\nhub     ws://{hub_at}\n");
    if let Some(telling) = telling {
        doors.push_str(&format!("health  http://{}\n", telling.address));
    }
    data(&doors).context("nobody hears where the doors are")?;
    talk(format!(
        "the swarm is up over {}; Ctrl-C ends it",
        if alone { place.path().display().to_string() } else { "Redis".to_owned() }
    ));
    tokio::select! {
        () = shutdown.drain.cancelled() => talk("finishing what runs; Ctrl-C again leaves at once"),
        () = swarm.failed() => {}
    }
    match unless_left(&shutdown, swarm.drain()).await {
        Some(drained) => drained.map(|()| Exit::Success),
        None => {
            talk("left at once; what ran is begun again next time");
            Ok(Exit::Interrupted)
        }
    }
}
