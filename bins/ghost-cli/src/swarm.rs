//! A swarm in this process: orchestrator, worker and evaluator over the store in the data directory.
//!
//! These are the services that larger swarms run as programs of their own; there is no second way to answer a batch.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ghost_a2a_hub::Hub;
use ghost_core::broker::{Broker, News};
use ghost_core::checks::Help;
use ghost_core::id::AgentId;
use ghost_core::task::Status;
use ghost_core::taskmaster::TaskMaster;
use ghost_core::taskmaster::route::Available;
use ghost_evaluator::Evaluator;
use ghost_orchestrator::api::Api;
use ghost_orchestrator::ingest::Ingest;
use ghost_orchestrator::{Handle, Orchestrator};
use ghost_service::broker;
use ghost_service::data_dir::DataDir;
use ghost_service::shutdown::{self, unless_left};
use ghost_service::tasks::Owned;
use ghost_worker::Worker;
use ghost_worker::engine::{self, Loaded};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::output::talk;

/// How long the tasks of a command may take to finish once no more are begun; a model may need that long for a long answer.
const DRAIN: Duration = Duration::from_secs(60);
/// How long evaluators may take for the answers that are left after that.
const LAST_JUDGEMENTS: Duration = Duration::from_secs(5);

/// The store in the data directory.
pub(crate) fn store(context: &Context, data: &DataDir) -> anyhow::Result<Arc<dyn Broker>> {
    broker::sqlite(&context.config, data)
}

/// A store that is gone with the process.
pub(crate) fn rehearsal_store(context: &Context) -> anyhow::Result<Arc<dyn Broker>> {
    Ok(broker::in_memory(&context.config)?)
}

/// Loads the models, and says what their user should know of them.
pub(crate) fn load(context: &Context, data: &DataDir) -> anyhow::Result<Loaded> {
    let models = engine::load(&context.config, data)?;
    for warning in &models.warnings {
        talk(format!("warning: {warning}"));
    }
    Ok(models)
}

/// An orchestrator's door to a store, whoever executes from it.
pub(crate) fn door(
    context: &Context,
    broker: Arc<dyn Broker>,
    available: Available,
) -> anyhow::Result<Handle> {
    Ok(orchestrator(context, broker, available, &Life::Batch)?.handle())
}

fn orchestrator(
    context: &Context,
    broker: Arc<dyn Broker>,
    available: Available,
    life: &Life,
) -> anyhow::Result<Orchestrator> {
    let settings = &context.config;
    let config = ghost_orchestrator::config(settings, life.agent_id(context, "orchestrator"));
    let config = match life {
        // What it hosts is all there is; and results stay until somebody has read them.
        Life::Batch => ghost_orchestrator::Config { ask_workers: false, result_ttl: None, ..config },
        Life::Service { .. } => config,
    };
    let taskmaster = Arc::new(TaskMaster::new(settings.routing.thresholds()?));
    Ok(Orchestrator::build(config, ghost_orchestrator::Deps { broker, taskmaster, available }))
}

/// What a swarm in this process lives for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// The tasks of one command.
    Batch,
    /// Whatever comes, until its user ends it.
    Service {
        /// Whether nobody else executes from the store.
        alone: bool,
    },
}

impl Life {
    /// How long running tasks may take to finish once no more are begun.
    fn drain(self, context: &Context) -> Duration {
        match self {
            Life::Batch => DRAIN,
            Life::Service { .. } => context.config.service.drain,
        }
    }

    /// The name of one of its agents.
    pub(crate) fn agent_id(self, context: &Context, role: &str) -> AgentId {
        let named = context.config.service.agent_id.as_ref().filter(|_| self != Life::Batch);
        let named = named.and_then(|name| format!("{name}-{role}").parse().ok());
        named.unwrap_or_else(|| AgentId::generate(role))
    }
}

/// The services, running.
pub(crate) struct Swarm {
    broker: Arc<dyn Broker>,
    handle: Handle,
    infer: Stage,
    rest: Stage,
    life: Life,
    drain: Duration,
    /// The models live as long as the services that use them.
    _models: Loaded,
}

/// Services that end together.
struct Stage {
    shutdown: CancellationToken,
    tasks: Owned,
}

impl Stage {
    fn new() -> Self {
        let shutdown = CancellationToken::new();
        Self { tasks: Owned::new(shutdown.clone()), shutdown }
    }

    async fn end(self, grace: Duration) -> anyhow::Result<()> {
        self.shutdown.cancel();
        Ok(self.tasks.wait(grace).await?)
    }
}

impl Swarm {
    /// Starts them.
    pub(crate) fn start(
        context: &Context,
        broker: Arc<dyn Broker>,
        mut models: Loaded,
        life: Life,
    ) -> anyhow::Result<Self> {
        let (settings, drain) = (&context.config, life.drain(context));
        let available = models.engine.available();
        let help = Help {
            llm_available: available.llm,
            fallback: models.engine.falls_back(),
            slm_revises: available.slm.as_ref().is_some_and(|slm| slm.general),
        };
        let orchestrator = orchestrator(context, broker.clone(), available, &life)?;
        let handle = orchestrator.handle();
        let thresholds = settings.routing.thresholds()?;
        let worker = Worker::build(
            ghost_worker::Config {
                drain,
                ..ghost_worker::config(settings, life.agent_id(context, "worker"), thresholds)
            },
            ghost_worker::Deps { broker: broker.clone(), engine: models.engine.clone() },
        );
        let evaluator = Evaluator::build(
            ghost_evaluator::Config {
                ask_workers: life != Life::Batch,
                ..ghost_evaluator::config(settings, life.agent_id(context, "evaluator"), help)
            },
            ghost_evaluator::Deps { broker: broker.clone(), llm_available: help.llm_available },
        );
        let (mut infer, mut rest) = (Stage::new(), Stage::new());
        infer.tasks.spawn("worker", worker.run(infer.shutdown.clone()));
        if let Some(absent) = models.absent.take() {
            infer.tasks.spawn("model's server", absent.wait_until(infer.shutdown.clone()));
        }
        rest.tasks.spawn("orchestrator", orchestrator.run(rest.shutdown.clone()));
        rest.tasks.spawn("evaluator", evaluator.run(rest.shutdown.clone()));
        Ok(Self { broker, handle, infer, rest, life, drain, _models: models })
    }

    /// Opens doors, which close before the rest ends.
    pub(crate) fn open(&mut self, api: Api, hub: Hub, ingest: Option<Ingest>) {
        self.infer.tasks.spawn("HTTP door", api.run(self.infer.shutdown.clone()));
        self.infer.tasks.spawn("hub", hub.run(self.infer.shutdown.clone()));
        if let Some(ingest) = ingest {
            self.infer.tasks.spawn("ingestion", ingest.run(self.infer.shutdown.clone()));
        }
    }

    /// The way in.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Returns when a service has failed; [`Self::drain`] says how.
    pub(crate) async fn failed(&self) {
        tokio::select! {
            () = self.infer.shutdown.cancelled() => {}
            () = self.rest.shutdown.cancelled() => {}
        }
    }

    /// Ends in good order: nothing new is begun, what runs is finished and judged, the rest stays in the store.
    pub(crate) async fn drain(self) -> anyhow::Result<()> {
        let infer = self.infer.end(self.drain + LAST_JUDGEMENTS).await;
        // Others judge on where there are any. What cannot be judged in time stays in the store as answered, and is
        // judged next time.
        if self.life != (Life::Service { alone: false }) {
            let _ = tokio::time::timeout(LAST_JUDGEMENTS, judged(&*self.broker)).await;
        }
        let rest = self.rest.end(LAST_JUDGEMENTS).await;
        infer.and(rest)
    }
}

/// Starts a swarm, lets `work` use it, and ends it in good order; none where its user wanted an end before. The caller
/// holds the lock of the data directory.
pub(crate) async fn host<T>(
    context: &Context,
    data: &DataDir,
    broker: &Arc<dyn Broker>,
    work: impl AsyncFnOnce(&Swarm) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    free_leases(&**broker).await?;
    let shutdown = shutdown::signals();
    let swarm = Swarm::start(context, broker.clone(), load(context, data)?, Life::Batch)?;
    let done = tokio::select! {
        done = work(&swarm) => Some(done),
        () = shutdown.drain.cancelled() => None,
        () = swarm.failed() => None,
    };
    let drained = unless_left(&shutdown, swarm.drain()).await;
    let done = done.transpose()?;
    drained.transpose()?;
    Ok(done)
}

/// Frees what the last process held. Whoever held these leases held the lock, and the lock is ours now.
pub(crate) async fn free_leases(broker: &dyn Broker) -> anyhow::Result<()> {
    broker.release_all().await.context("the leases of the last process cannot be freed")?;
    Ok(())
}

/// Returns when no answer waits for its judgement.
async fn judged(broker: &dyn Broker) -> anyhow::Result<()> {
    let mut news = broker.subscribe().await?;
    loop {
        let tally = broker.tally(None).await?;
        if tally.iter().all(|(status, n)| *status != Status::InProgress || *n == 0) {
            return Ok(());
        }
        news.wait(Duration::from_millis(100), |news| matches!(news, News::Changed(..))).await;
    }
}
