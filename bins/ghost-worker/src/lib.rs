//! Claims tasks, has them answered, and settles them or hands them to the evaluator.
//!
//! ```text
//! permit ─▶ claim ─▶ start ─▶ infer ─▶ answer · postpone · fail
//!                    └── the lease is renewed from elsewhere, so that a busy runtime cannot lose it ──┘
//! ```
//! A permit is taken before a task is, so that nothing waits here while others have room. One delivery is told in
//! [`attempt`], the leases in [`heart`]. Where no evaluator is alive the worker runs the formal checks itself
//! ([`stand_in`]).

use std::sync::Arc;
use std::time::Duration;

use ghost_core::broker::{Broker, Claim, MAX_BATCH, News};
use ghost_core::checks::Help;
use ghost_core::id::AgentId;
use ghost_core::inference::hybrid::Engine;
use ghost_core::lifecycle::{DEFAULT_CAPABILITY, Stage};
use ghost_core::messages::{AgentInfo, AgentStatus, Role};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use heart::Heart;

mod attempt;
mod heart;
mod stand_in;

/// How a worker behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name. Default: a fresh one.
    pub agent_id: AgentId,
    /// What it offers; tasks that ask for something else pass it by. Default: `inference`.
    pub capabilities: Vec<String>,
    /// How many tasks it works on at once. Default: 4.
    pub max_load: usize,
    /// How long a task stays its own without a renewal. Default: 30 s.
    pub lease: Duration,
    /// How often it looks for work that nobody woke it for. Default: 1 s.
    pub poll: Duration,
    /// How long it may go on with what it has begun once it is told to end. Default: 20 s.
    pub drain: Duration,
    /// How long after its start it still expects an evaluator to come. Default: 10 s.
    pub evaluator_grace: Duration,
    /// Where leases are renewed. Default: on a thread of their own.
    pub pulse: Pulse,
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
            pulse: Pulse::OwnThread,
        }
    }
}

/// What a worker works with.
#[derive(Clone)]
pub struct Deps {
    /// Where the tasks are.
    pub broker: Arc<dyn Broker>,
    /// Who answers them.
    pub engine: Arc<Engine>,
}

/// A worker, ready to run.
pub struct Worker {
    inner: Arc<Inner>,
}

/// What all attempts of a worker share.
struct Inner {
    config: Config,
    broker: Arc<dyn Broker>,
    engine: Arc<Engine>,
    help: Help,
    heart: Heart,
    started: Instant,
    /// Ends the attempts that are still under way when the time to drain is over.
    hurry: CancellationToken,
}

impl Worker {
    /// A worker over these.
    pub fn build(config: Config, deps: Deps) -> Self {
        let available = deps.engine.available();
        let help = Help {
            llm_available: available.llm,
            fallback: deps.engine.falls_back(),
            slm_revises: available.slm.is_some_and(|slm| slm.general),
        };
        let agent = AgentInfo {
            agent_id: config.agent_id.clone(),
            role: Role::Worker,
            status: AgentStatus::Idle,
            capabilities: config.capabilities.clone(),
            current_load: 0,
            max_load: u32::try_from(config.max_load).unwrap_or(u32::MAX),
            metadata: Default::default(),
        };
        let heart = Heart::new(deps.broker.clone(), agent, config.lease);
        let inner = Inner {
            config,
            broker: deps.broker,
            engine: deps.engine,
            help,
            heart,
            started: Instant::now(),
            hurry: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Works until `shutdown`; then it claims nothing more, finishes what it has begun or hands it back, and returns.
    /// Dropping this is a crash: what it held comes back once the leases have ended.
    pub async fn run(self, shutdown: CancellationToken) {
        let inner = self.inner;
        let id = inner.config.agent_id.clone();
        let stop = CancellationToken::new();
        let stop_on_drop = stop.clone().drop_guard();
        let pulse = inner.heart.start(inner.config.pulse, stop);
        info!(event = "worker_registered", agent.id = %id, "worker {id} takes up to {} tasks at once", inner.config.max_load);

        let mut attempts = JoinSet::new();
        let standing_in = tokio::spawn(stand_in::run(inner.clone(), shutdown.clone()));
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
        let _ = inner.broker.withdraw(&id).await;
        info!(event = "worker_unregistered", agent.id = %id, "worker {id} has ended");
    }
}

impl Inner {
    async fn claim_until(self: Arc<Self>, shutdown: &CancellationToken, attempts: &mut JoinSet<()>) {
        let room = Arc::new(Semaphore::new(self.config.max_load.max(1)));
        let mut news = None;
        loop {
            if news.is_none() {
                news = self.broker.subscribe().await.ok();
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
            capabilities: self.config.capabilities.clone(),
            limit: permits.len(),
            lease: self.config.lease,
        };
        // The lease runs from the store's claim, which comes later.
        let asked = Instant::now();
        let records = match self.broker.claim(&claim).await {
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

    /// Whether somebody else judges answers, or may soon.
    async fn evaluator_expected(&self) -> bool {
        if self.started.elapsed() < self.config.evaluator_grace {
            return true;
        }
        match self.broker.agents().await {
            Ok(agents) => agents.iter().any(|agent| agent.role == Role::Evaluator),
            // Who cannot be reached cannot be told either; the answer waits for whoever is there.
            Err(_) => true,
        }
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
