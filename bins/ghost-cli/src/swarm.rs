//! A swarm in this process: orchestrator, worker and evaluator over the store in the data directory.
//!
//! These are the services that larger swarms run as programs of their own; there is no second way to answer a batch.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ghost_core::broker::sqlite::{Options, SqliteBroker};
use ghost_core::broker::{Broker, News};
use ghost_core::task::Status;
use ghost_core::taskmaster::route::Available;
use ghost_core::taskmaster::{TaskMaster, Thresholds};
use ghost_evaluator::Evaluator;
use ghost_orchestrator::{Handle, Orchestrator};
use ghost_service::shutdown::{self, unless_left};
use ghost_service::tasks::Owned;
use ghost_worker::Worker;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::data_dir::DataDir;
use crate::engine::{self, Loaded};

/// How long running tasks may take to finish once no more are begun; a model may need that long for a long answer.
const DRAIN: Duration = Duration::from_secs(60);
/// How long evaluators may take for the answers that are left after that.
const LAST_JUDGEMENTS: Duration = Duration::from_secs(5);

/// The store in the data directory.
pub(crate) fn store(context: &Context, data: &DataDir) -> anyhow::Result<Arc<dyn Broker>> {
    let path = data.database();
    let broker = SqliteBroker::open(&path, options(context))
        .with_context(|| format!("the store {} cannot be opened", path.display()))?;
    Ok(Arc::new(broker))
}

/// A store that is gone with the process.
pub(crate) fn rehearsal_store(context: &Context) -> anyhow::Result<Arc<dyn Broker>> {
    Ok(Arc::new(SqliteBroker::in_memory(options(context))?))
}

fn options(context: &Context) -> Options {
    Options { backlog: context.config.broker.max_backlog, ..Options::default() }
}

/// An orchestrator's door to a store, whoever executes from it.
pub(crate) fn door(
    context: &Context,
    broker: Arc<dyn Broker>,
    available: Available,
) -> anyhow::Result<Handle> {
    Ok(orchestrator(context, broker, available)?.handle())
}

fn orchestrator(
    context: &Context,
    broker: Arc<dyn Broker>,
    available: Available,
) -> anyhow::Result<Orchestrator> {
    let thresholds = thresholds(context)?;
    let config = ghost_orchestrator::Config {
        max_wait: context.config.broker.max_wait,
        lease: context.config.broker.lease,
        ..ghost_orchestrator::Config::default()
    };
    let deps =
        ghost_orchestrator::Deps { broker, taskmaster: Arc::new(TaskMaster::new(thresholds)), available };
    Ok(Orchestrator::build(config, deps))
}

fn thresholds(context: &Context) -> anyhow::Result<Thresholds> {
    let routing = &context.config.routing;
    Ok(Thresholds::new(routing.simple_threshold, routing.complex_threshold)?)
}

/// The services, running.
pub(crate) struct Swarm {
    broker: Arc<dyn Broker>,
    handle: Handle,
    infer: Stage,
    rest: Stage,
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
    pub(crate) fn start(context: &Context, broker: Arc<dyn Broker>, models: Loaded) -> anyhow::Result<Self> {
        let available = models.engine.available();
        let lease = context.config.broker.lease;
        let llm_available = available.llm;
        let slm_revises = available.slm.as_ref().is_some_and(|slm| slm.general);
        let orchestrator = orchestrator(context, broker.clone(), available)?;
        let handle = orchestrator.handle();
        let worker = Worker::build(
            ghost_worker::Config {
                max_load: engine::at_once(&context.config),
                lease,
                drain: DRAIN,
                thresholds: thresholds(context)?,
                ..ghost_worker::Config::default()
            },
            ghost_worker::Deps { broker: broker.clone(), engine: models.engine.clone() },
        );
        let evaluator = Evaluator::build(
            ghost_evaluator::Config {
                lease,
                fallback: models.engine.falls_back(),
                slm_revises,
                ..ghost_evaluator::Config::default()
            },
            ghost_evaluator::Deps { broker: broker.clone(), llm_available },
        );
        let (mut infer, mut rest) = (Stage::new(), Stage::new());
        infer.tasks.spawn("worker", worker.run(infer.shutdown.clone()));
        rest.tasks.spawn("orchestrator", orchestrator.run(rest.shutdown.clone()));
        rest.tasks.spawn("evaluator", evaluator.run(rest.shutdown.clone()));
        Ok(Self { broker, handle, infer, rest, _models: models })
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
        let infer = self.infer.end(DRAIN + LAST_JUDGEMENTS).await;
        // What cannot be judged in time stays in the store as answered, and is judged next time.
        let _ = tokio::time::timeout(LAST_JUDGEMENTS, judged(&*self.broker)).await;
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
    let swarm = Swarm::start(context, broker.clone(), engine::load(&context.config, data)?)?;
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
