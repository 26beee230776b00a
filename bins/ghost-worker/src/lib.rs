//! Claims tasks, has a ghost answer them, and settles them or hands them to the evaluator.
//!
//! ```text
//! permit ─▶ claim ─▶ ghost ─▶ answer · postpone · fail
//!           └── the lease is renewed from elsewhere, so that a busy runtime cannot lose it ──┘
//! ```
//! A permit is taken before a task is, so that nothing waits here while others have room; so whoever claims begins, and one
//! write says both. What a [`Ghost`] is stands in [`ghost`], one delivery in [`attempt`], the leases in [`heart`], which
//! models there are in [`engine`]. Where no evaluator is alive the worker runs the formal checks itself
//! ([`ghost_core::stand_in`]). [`serve`] is another way to start the program: it has others use its model.

use std::sync::Arc;
use std::time::Duration;

use ghost_core::broker::{Broker, Claim, MAX_BATCH, News};
use ghost_core::checks::Help;
use ghost_core::id::AgentId;
use ghost_core::inference::hybrid::Engine;
use ghost_core::lifecycle::{DEFAULT_CAPABILITY, Failure, Stage};
use ghost_core::messages::{AgentInfo, AgentStatus};
use ghost_core::stand_in::{self, StandIn};
use ghost_core::taskmaster::{TaskMaster, Thresholds};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use ghost::{Ghost, Models, Swarm};
use heart::Heart;

mod attempt;
pub mod engine;
pub mod ghost;
mod heart;
mod program;
pub mod serve;
pub mod tiny;

pub use program::{config, main};

/// How a worker behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name. Default: a fresh one.
    pub agent_id: AgentId,
    /// What the models offer; tasks that ask for something else pass them by. Default: `inference`.
    pub capabilities: Vec<String>,
    /// How many tasks the models work on at once. Default: 4.
    pub max_load: usize,
    /// How long a task stays its own without a renewal. Default: 30 s.
    pub lease: Duration,
    /// How often it looks for work that nobody woke it for. Default: 1 s.
    pub poll: Duration,
    /// How long it may go on with what it has begun once it is told to end. Default: 20 s.
    pub drain: Duration,
    /// How long after its start it still expects an evaluator to come. Default: 10 s.
    pub evaluator_grace: Duration,
    /// The longest that one delivery may take, whatever the task allows. Default: what the task allows.
    pub timeout: Option<Duration>,
    /// Where leases are renewed. Default: on a thread of their own.
    pub pulse: Pulse,
    /// How the tasks are classified that a ghost sends. Default: 0.3 and 0.7.
    pub thresholds: Thresholds,
}

/// Where leases are renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulse {
    /// On a thread of their own, which a busy runtime cannot starve.
    OwnThread,
    /// On the caller's runtime, whose clock a test may hold.
    SameRuntime,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            agent_id: AgentId::generate("worker"),
            capabilities: vec![DEFAULT_CAPABILITY.to_owned()],
            max_load: 4,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            drain: Duration::from_secs(20),
            evaluator_grace: Duration::from_secs(10),
            timeout: None,
            pulse: Pulse::OwnThread,
            thresholds: Thresholds::default(),
        }
    }
}

/// What a worker works with.
#[derive(Clone)]
pub struct Deps {
    /// Where the tasks are.
    pub broker: Arc<dyn Broker>,
    /// The models.
    pub engine: Arc<Engine>,
}

/// A ghost that could not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the ghost did not get ready: {0}")]
pub struct NotReady(pub Failure);

/// A worker, ready to run.
pub struct Worker {
    inner: Arc<Inner>,
}

/// What all attempts of a worker share.
struct Inner {
    config: Config,
    ghost: Arc<dyn Ghost>,
    swarm: Arc<Swarm>,
    stand_in: StandIn,
    heart: Heart,
    max_load: usize,
    capabilities: Vec<String>,
    /// Ends the attempts that are still under way when the time to drain is over.
    hurry: CancellationToken,
}

impl Worker {
    /// A worker that has the models answer.
    pub fn build(config: Config, deps: Deps) -> Self {
        let models = Models { capabilities: config.capabilities.clone(), max_load: config.max_load };
        Self::hosting(config, deps, Arc::new(models))
    }

    /// A worker that has this ghost answer. What the ghost offers counts, and not what the settings say of models.
    pub fn hosting(config: Config, deps: Deps, ghost: Arc<dyn Ghost>) -> Self {
        let Deps { broker, engine } = deps;
        let available = engine.available();
        let help = Help {
            llm_available: available.llm,
            fallback: engine.falls_back(),
            slm_revises: available.slm.as_ref().is_some_and(|slm| slm.general),
        };
        let (capabilities, max_load) = (ghost.capabilities(), ghost.max_load().max(1));
        // Its models stand in each announcement, since a local model may come later.
        let agent = AgentInfo {
            agent_id: config.agent_id.clone(),
            role: ghost.role(),
            status: AgentStatus::Idle,
            capabilities: capabilities.clone(),
            current_load: 0,
            max_load: u32::try_from(max_load).unwrap_or(u32::MAX),
            metadata: Default::default(),
        };
        let judge = stand_in::Config {
            agent_id: config.agent_id.clone(),
            grace: config.evaluator_grace,
            lease: config.lease,
            help,
        };
        let swarm = Swarm {
            name: config.agent_id.to_string(),
            broker: broker.clone(),
            engine: engine.clone(),
            taskmaster: TaskMaster::new(config.thresholds),
            poll: config.poll,
        };
        let inner = Inner {
            heart: Heart::new(broker.clone(), agent, engine, config.lease),
            stand_in: StandIn::new(judge, broker),
            swarm: Arc::new(swarm),
            ghost,
            config,
            max_load,
            capabilities,
            hurry: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Works until `shutdown`; then it claims nothing more, finishes what it has begun or hands it back, and returns.
    /// Dropping this is a crash: what it held comes back once the leases have ended.
    ///
    /// # Errors
    /// [`NotReady`] where the ghost says so; nothing was claimed then.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), NotReady> {
        let inner = self.inner;
        let id = inner.config.agent_id.clone();
        match shutdown.run_until_cancelled(inner.ghost.initialize()).await {
            None => return Ok(()),
            Some(ready) => ready.map_err(NotReady)?,
        }
        let stop = CancellationToken::new();
        let stop_on_drop = stop.clone().drop_guard();
        let pulse = inner.heart.start(inner.config.pulse, stop);
        info!(agent.id = %id, "worker {id} takes up to {} tasks at once", inner.max_load);

        let mut attempts = JoinSet::new();
        let standing_in = tokio::spawn({
            let (judge, shutdown) = (inner.stand_in.clone(), shutdown.clone());
            async move { judge.run(shutdown).await }
        });
        inner.clone().claim_until(&shutdown, &mut attempts).await;

        if timeout(inner.config.drain, all(&mut attempts)).await.is_err() {
            warn!(agent.id = %id, "worker {id} hands {} unfinished tasks back", attempts.len());
            inner.hurry.cancel();
            all(&mut attempts).await;
        }
        if standing_in.await.is_err() {
            error!(agent.id = %id, "worker {id} could not stand in for an evaluator: its task panicked");
        }
        drop(stop_on_drop);
        pulse.stopped().await;
        // Where this is not heard, the announcement ends by itself.
        let _ = inner.swarm.broker.withdraw(&id).await;
        inner.ghost.cleanup().await;
        info!(agent.id = %id, "worker {id} has ended");
        Ok(())
    }
}

impl Inner {
    async fn claim_until(self: Arc<Self>, shutdown: &CancellationToken, attempts: &mut JoinSet<()>) {
        let room = Arc::new(Semaphore::new(self.max_load));
        let mut news = None;
        loop {
            if news.is_none() {
                news = self.swarm.broker.subscribe().await.ok();
            }
            let permit = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                permit = room.clone().acquire_owned() => permit.expect("nobody closes this semaphore"),
            };
            let mut permits = vec![permit];
            while permits.len() < MAX_BATCH
                && let Ok(permit) = room.clone().try_acquire_owned()
            {
                permits.push(permit);
            }
            let claimed = self.clone().claim(permits, attempts).await;
            while let Some(ended) = attempts.try_join_next() {
                note(ended);
            }
            if claimed == 0 {
                let work = async {
                    match &mut news {
                        Some(news) => {
                            news.wait(self.config.poll, |news| matches!(news, News::Work(Stage::Infer)))
                                .await;
                        }
                        None => tokio::time::sleep(self.config.poll).await,
                    }
                };
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    () = work => {}
                }
            }
        }
    }

    /// Claims a task for each permit, as far as there are any, and begins with them.
    async fn claim(self: Arc<Self>, permits: Vec<OwnedSemaphorePermit>, attempts: &mut JoinSet<()>) -> usize {
        let claim = Claim {
            stage: Stage::Infer,
            holder: self.config.agent_id.clone(),
            capabilities: self.capabilities.clone(),
            limit: permits.len(),
            lease: self.config.lease,
            begins: true,
        };
        // The lease runs from the store's claim, which comes later.
        let asked = Instant::now();
        let records = match self.swarm.broker.claim(&claim).await {
            Ok(records) => records,
            Err(error) => {
                warn!(error = %error, "no tasks could be claimed: {error}");
                return 0;
            }
        };
        let claimed = records.len();
        for (record, permit) in records.into_iter().zip(permits) {
            let inner = self.clone();
            attempts.spawn(async move {
                attempt::run(&inner, record, asked).await;
                drop(permit);
            });
        }
        claimed
    }
}

async fn all(attempts: &mut JoinSet<()>) {
    while let Some(ended) = attempts.join_next().await {
        note(ended);
    }
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        // Its lease is no longer renewed, so that the task comes back; a task that does this each time is given up.
        error!(error = %error, "an attempt panicked: {error}");
    }
}
