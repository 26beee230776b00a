//! A swarm over Redis in this process: an orchestrator, and where one is wanted a worker with a ghost that does nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ghost_core::broker::redis::{self, RedisBroker};
use ghost_core::broker::{Broker, MAX_BATCH, Query, Submission};
use ghost_core::id::{AgentId, TaskKey};
use ghost_core::inference::hybrid::{self, Engine};
use ghost_core::inference::pricing::Pricing;
use ghost_core::task::{Status, TaskRequest};
use ghost_core::taskmaster::{TaskMaster, Thresholds};
use ghost_orchestrator::{Handle, Orchestrator};
use ghost_worker::Worker;
use ghost_worker::ghost::Ghost;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::child::Child;
use super::ghost::Idle;

/// How long a task stays a worker's without a renewal: short, since it bounds the recovery.
pub(super) const LEASE: Duration = Duration::from_secs(1);
/// Callers that submit at once.
const CALLERS: usize = 4;
/// Nothing here takes longer on any machine.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is looked whether all tasks are settled.
const LOOK: Duration = Duration::from_millis(2);

/// A task as people send it.
fn nothing() -> TaskRequest {
    let mut request = TaskRequest::new("status_update", "Say in one line what is now the case.");
    request.parameters.prompt = Some("The parcel arrived two days late, and the box was wet.".to_owned());
    request
}

/// An orchestrator over Redis.
pub(super) struct Swarm {
    broker: Arc<dyn Broker>,
    engine: Arc<Engine>,
    handle: Handle,
    shutdown: CancellationToken,
    orchestrator: JoinHandle<()>,
}

impl Swarm {
    pub(super) async fn over(url: &str) -> anyhow::Result<Self> {
        let broker = connect(url).await?;
        let engine = Arc::new(engine());
        let deps = ghost_orchestrator::Deps {
            broker: broker.clone(),
            taskmaster: Arc::new(TaskMaster::new(Thresholds::default())),
            available: engine.available(),
        };
        let config = ghost_orchestrator::Config { lease: LEASE, ..ghost_orchestrator::Config::default() };
        let orchestrator = Orchestrator::build(config, deps);
        let (handle, shutdown) = (orchestrator.handle(), CancellationToken::new());
        let orchestrator = tokio::spawn(orchestrator.run(shutdown.clone()));
        Ok(Self { broker, engine, handle, shutdown, orchestrator })
    }

    /// Has so many tasks accepted, by a few callers at once.
    pub(super) async fn submit(&self, tasks: usize) -> anyhow::Result<()> {
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let handle = self.handle.clone();
            let mut left = tasks / CALLERS + usize::from(caller < tasks % CALLERS);
            callers.spawn(async move {
                while left > 0 {
                    let some = left.min(MAX_BATCH);
                    handle.submit(None, vec![nothing(); some]).await?;
                    left -= some;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = callers.join_next().await {
            done??;
        }
        Ok(())
    }

    /// Has one worker settle all tasks that there are.
    pub(super) async fn work_until_settled(&self, tasks: usize) -> anyhow::Result<()> {
        let (begun, _) = mpsc::unbounded_channel();
        let worker = self.worker(Idle { begun });
        let settled = async {
            while self.settled().await? < tasks as u64 {
                tokio::time::sleep(LOOK).await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, settled).await.context("the tasks are not settled in ten minutes")??;
        worker.end().await
    }

    async fn settled(&self) -> anyhow::Result<u64> {
        let tally = self.broker.tally(None).await?;
        Ok(tally.into_iter().filter(|(status, _)| status.is_settled()).map(|(_, count)| count).sum())
    }

    /// Reads every record back, so that no figure is of tasks that are not there.
    pub(super) async fn every_record_is_there(&self, tasks: usize) -> anyhow::Result<()> {
        let mut read = 0;
        while read < tasks {
            let query = Query { limit: 1024, offset: read, ..Query::default() };
            let records = self.broker.list(&query).await?;
            anyhow::ensure!(!records.is_empty(), "only {read} of {tasks} records are there");
            for record in &records {
                let status = record.status();
                anyhow::ensure!(status == Status::Completed, "task {} is {status}", record.key);
            }
            read += records.len();
        }
        Ok(())
    }

    /// The milliseconds from a submit to the ghost, for so many tasks, each of which comes alone.
    pub(super) async fn dispatch(&self, tasks: usize) -> anyhow::Result<Vec<f64>> {
        let (begun, mut starts) = mpsc::unbounded_channel();
        let worker = self.worker(Idle { begun });
        let mut times = Vec::with_capacity(tasks);
        for _ in 0..tasks {
            let begin = Instant::now();
            let key = self.accept(nothing()).await?;
            let start = timeout(PATIENCE, starts.recv()).await.context("no ghost was asked")?;
            let start = start.context("the worker has ended")?;
            times.push(start.saturating_duration_since(begin).as_secs_f64() * 1e3);
            self.handle.wait(&key).await?;
        }
        worker.end().await?;
        Ok(times)
    }

    /// The milliseconds from the death of a worker in another process to the next start of its task.
    pub(super) async fn recovery(&self, other: &mut Child) -> anyhow::Result<f64> {
        let key = self.accept(nothing()).await?;
        let begun = async {
            while self.status(&key).await? != Status::InProgress {
                tokio::time::sleep(LOOK).await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, begun).await.context("the other worker does not begin")??;
        let (begun, mut starts) = mpsc::unbounded_channel();
        let worker = self.worker(Idle { begun });
        other.kill().await?;
        let killed = Instant::now();
        let start = timeout(PATIENCE, starts.recv()).await.context("nobody took the task up")?;
        let start = start.context("the worker has ended")?;
        self.handle.wait(&key).await?;
        worker.end().await?;
        Ok(start.saturating_duration_since(killed).as_secs_f64() * 1e3)
    }

    async fn accept(&self, task: TaskRequest) -> anyhow::Result<TaskKey> {
        let submissions = self.handle.submit(None, vec![task]).await?;
        match &submissions[..] {
            [Submission::New(record)] => Ok(record.key.clone()),
            _ => anyhow::bail!("the task was not accepted"),
        }
    }

    async fn status(&self, key: &TaskKey) -> anyhow::Result<Status> {
        Ok(self.broker.get(key).await?.context("the task is gone")?.status())
    }

    fn worker(&self, ghost: impl Ghost) -> Running {
        let deps = ghost_worker::Deps { broker: self.broker.clone(), engine: self.engine.clone() };
        let shutdown = CancellationToken::new();
        // There is no evaluator, so answers are judged by their form where they are made.
        let config = ghost_worker::Config { evaluator_grace: Duration::ZERO, ..worker_config(LEASE) };
        let worker = Worker::hosting(config, deps, Arc::new(ghost));
        Running { running: tokio::spawn(worker.run(shutdown.clone())), shutdown }
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.orchestrator.abort();
    }
}

/// A worker that runs.
struct Running {
    running: JoinHandle<Result<(), ghost_worker::NotReady>>,
    shutdown: CancellationToken,
}

impl Running {
    async fn end(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        Ok(self.running.await??)
    }
}

/// The store, with room for any number of tasks.
pub(super) async fn connect(url: &str) -> anyhow::Result<Arc<dyn Broker>> {
    let config = redis::Config { url: url.to_owned(), backlog: u64::MAX >> 1, ..redis::Config::default() };
    Ok(Arc::new(RedisBroker::connect(config).await?))
}

/// No model at all.
pub(super) fn engine() -> Engine {
    Engine::build(hybrid::Config::default(), None, None, Pricing::builtin())
}

/// A worker as in production, with leases of this length.
pub(super) fn worker_config(lease: Duration) -> ghost_worker::Config {
    ghost_worker::Config { agent_id: AgentId::generate("bench"), lease, ..ghost_worker::Config::default() }
}
