//! Takes tasks in, classifies them, decides their route and puts them into the queue; frees what is overdue.
//!
//! Every door goes through a [`Handle`]; the one over HTTP is [`api`]. The orchestrator keeps nothing in memory that the broker does not know, so
//! there may be several, and one may end at any time.

use std::sync::Arc;
use std::time::Duration;

use ghost_core::broker::{AdvanceError, Broker, Error, MAX_BATCH, Submission, advance, reap, settled};
use ghost_core::experiment::{Assignment, Board, Experiment};
use ghost_core::feedback::Feedback;
use ghost_core::id::{AgentId, BatchId, TaskId, TaskKey};
use ghost_core::learning::registry::{Models, Pair};
use ghost_core::lifecycle::{Event, Record, Timestamp};
use ghost_core::messages::{AgentInfo, AgentStatus, Role};
use ghost_core::roster::Roster;
use ghost_core::task::TaskRequest;
use ghost_core::taskmaster::route::{Available, Decision, decide};
use ghost_core::taskmaster::{TaskMaster, Verdict};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub mod api;
pub mod ingest;
mod program;
mod watch;

pub use program::{config, ingest_from, main};

/// How an orchestrator behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name. Default: a fresh one.
    pub agent_id: AgentId,
    /// How long a task may wait before it has failed (MAX_WAIT). Default: 24 h.
    pub max_wait: Duration,
    /// The length of leases; what is overdue is looked for twice as often. Default: 30 s.
    pub lease: Duration,
    /// How often who waits for a task looks at it though no news came. Default: 1 s.
    pub poll: Duration,
    /// Whether the models count that live workers announce, and [`Deps::available`] only where none does. Default: no.
    pub ask_workers: bool,
    /// How long settled tasks are kept; none leaves them to the store (RESULT_TTL). Default: none.
    pub result_ttl: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            agent_id: AgentId::generate("orchestrator"),
            max_wait: Duration::from_secs(24 * 60 * 60),
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            ask_workers: false,
            result_ttl: None,
        }
    }
}

/// What an orchestrator works with.
#[derive(Clone)]
pub struct Deps {
    /// Where the tasks are.
    pub broker: Arc<dyn Broker>,
    /// Who classifies them.
    pub taskmaster: Arc<TaskMaster>,
    /// Who could answer them.
    pub available: Available,
}

/// An orchestrator, ready to run.
pub struct Orchestrator {
    inner: Arc<Inner>,
}

/// The way to an orchestrator; cheap to clone. It works whether or not the orchestrator runs.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    deps: Deps,
    roster: Roster,
    experiments: Board,
    models: Models,
}

impl Inner {
    /// Who could answer a task now.
    async fn available(&self) -> Available {
        if self.config.ask_workers {
            self.roster.available(&self.deps.available).await
        } else {
            self.deps.available.clone()
        }
    }

    /// What decides just now.
    async fn rules(&self) -> Rules {
        Rules {
            available: self.available().await,
            experiment: self.experiments.running().await,
            models: self.models.current().await,
        }
    }
}

/// What decides about tasks that are accepted together.
struct Rules {
    available: Available,
    experiment: Option<Arc<Experiment>>,
    models: Arc<Pair>,
}

impl Rules {
    /// What TaskMaster thinks of a task, and who is to answer it, in its arm of an experiment.
    fn classify(&self, request: &TaskRequest, assignment: Option<&Assignment>) -> (Verdict, Decision) {
        let taskmaster = &self.models.taskmaster;
        let verdict = match assignment.and_then(|assignment| assignment.arm.thresholds()) {
            Some(thresholds) => taskmaster.with_thresholds(thresholds).classify(request),
            None => taskmaster.classify(request),
        };
        let decision = decide(request, &verdict, &self.available);
        (verdict, decision)
    }

    /// A task as it is accepted.
    fn record(&self, batch: Option<BatchId>, mut request: TaskRequest, now: Timestamp) -> Record {
        let id = request.task_id.get_or_insert_with(TaskId::generate).clone();
        let key = TaskKey { batch, id };
        let experiment = self.experiment.as_ref();
        let assignment = experiment.and_then(|experiment| experiment.assign(&key, &request));
        let (verdict, decision) = self.classify(&request, assignment.as_ref());
        let shadow = self.models.shadow(&request, verdict.score);
        Record { assignment, shadow, ..Record::new(key, request, verdict, decision, now) }
    }
}

impl Orchestrator {
    /// An orchestrator over these.
    pub fn build(config: Config, deps: Deps) -> Self {
        let (roster, experiments) = (Roster::new(deps.broker.clone()), Board::new(deps.broker.clone()));
        let models = Models::new(deps.broker.clone(), deps.taskmaster.clone());
        Self { inner: Arc::new(Inner { config, deps, roster, experiments, models }) }
    }

    /// The way to it.
    pub fn handle(&self) -> Handle {
        Handle { inner: self.inner.clone() }
    }

    /// Frees ended leases, fails what ran or waited too long, and notices who comes and goes, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        tokio::join!(self.look_after(&shutdown), watch::workers(&*self.inner.deps.broker, &shutdown));
    }

    async fn look_after(&self, shutdown: &CancellationToken) {
        let Inner { config, deps, .. } = &*self.inner;
        let agent = AgentInfo {
            agent_id: config.agent_id.clone(),
            role: Role::Orchestrator,
            status: AgentStatus::Idle,
            capabilities: Vec::new(),
            current_load: 0,
            max_load: 0,
            metadata: Default::default(),
        };
        let mut chance = fastrand::Rng::new();
        loop {
            if let Err(error) = deps.broker.announce(&agent, config.lease).await {
                debug!(error = %error, "the announcement was not heard: {error}");
            }
            self.free_overdue().await;
            self.forget_settled().await;
            // Not all at the same moment, where there are several.
            let pause = config.lease.mul_f64(0.375 + 0.25 * chance.f64());
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = sleep(pause) => {}
            }
        }
        // Where this is not heard, the announcement ends by itself.
        let _ = deps.broker.withdraw(&config.agent_id).await;
    }

    async fn forget_settled(&self) {
        let Inner { config, deps, .. } = &*self.inner;
        if config.result_ttl.is_none() {
            return;
        }
        match deps.broker.purge(config.result_ttl, None).await {
            Ok(0) => {}
            Ok(removed) => debug!(removed, "{removed} settled tasks were past their time and are gone"),
            Err(error) => warn!(error = %error, "settled tasks that are past their time stay: {error}"),
        }
    }

    async fn free_overdue(&self) {
        let Inner { config, deps, .. } = &*self.inner;
        loop {
            match reap(&*deps.broker, config.max_wait).await {
                // A full batch: there may be more.
                Ok(freed) if freed == MAX_BATCH => {}
                Ok(0) => return,
                Ok(freed) => return info!(freed, "{freed} overdue tasks were taken up"),
                Err(error) => return warn!(error = %error, "what is overdue was not taken up: {error}"),
            }
        }
    }
}

impl Handle {
    /// Takes tasks in: gives an id to those without one, classifies them, decides their routes, and puts them into
    /// the queue. They were checked when they were parsed. Repeating a submit is safe where the tasks have ids.
    ///
    /// # Errors
    /// [`Error`] of the store; some of the tasks may have been accepted.
    pub async fn submit(
        &self,
        batch: Option<BatchId>,
        requests: Vec<TaskRequest>,
    ) -> Result<Vec<Submission>, Error> {
        let broker = &self.inner.deps.broker;
        let rules = self.inner.rules().await;
        let mut submissions = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            let now = broker.now().await?;
            let records =
                requests.by_ref().take(MAX_BATCH).map(|request| rules.record(batch, request, now)).collect();
            submissions.extend(broker.submit(records).await?);
        }
        for submission in &submissions {
            note(submission);
        }
        Ok(submissions)
    }

    /// Takes a failed task up again, classified anew: what was missing may be there now.
    ///
    /// # Errors
    /// [`AdvanceError`], as where the task has not failed.
    pub async fn retry(&self, key: &TaskKey) -> Result<Record, AdvanceError> {
        let broker = &self.inner.deps.broker;
        let record = broker.get(key).await?.ok_or(AdvanceError::Gone)?;
        let rules = self.inner.rules().await;
        let (verdict, decision) = rules.classify(&record.request, record.assignment.as_ref());
        let record = advance(&**broker, record, Event::Retry(verdict, decision)).await?;
        classified(&record);
        Ok(record)
    }

    /// Withdraws a task. A worker that has it ends its call.
    ///
    /// # Errors
    /// [`AdvanceError`], as where the task is settled already.
    pub async fn cancel(&self, key: &TaskKey) -> Result<Record, AdvanceError> {
        let broker = &self.inner.deps.broker;
        let record = broker.get(key).await?.ok_or(AdvanceError::Gone)?;
        advance(&**broker, record, Event::Cancel).await
    }

    /// Notes what a user says of an answer; the last word counts.
    ///
    /// # Errors
    /// [`AdvanceError`], as where the task has no answer.
    pub async fn rate(&self, key: &TaskKey, feedback: Feedback) -> Result<Record, AdvanceError> {
        let broker = &self.inner.deps.broker;
        let record = broker.get(key).await?.ok_or(AdvanceError::Gone)?;
        advance(&**broker, record, Event::Rate(feedback)).await
    }

    /// Waits until a task is settled. It waits on where the store is briefly away.
    ///
    /// # Errors
    /// [`AdvanceError::Gone`] where the store knows no such task, or an error of the store that will not pass.
    pub async fn wait(&self, key: &TaskKey) -> Result<Record, AdvanceError> {
        settled(&*self.inner.deps.broker, key, self.inner.config.poll).await
    }
}

fn note(submission: &Submission) {
    match submission {
        Submission::New(record) => classified(record),
        Submission::Known(record) => {
            info!(event = "duplicate_message_ignored", task.id = %record.key, "task {} was accepted before", record.key);
        }
        Submission::Conflict(key) => {
            warn!(task.id = %key, "another task has the id {key}; this one was refused");
        }
    }
}

fn classified(record: &Record) {
    let (verdict, route) = (&record.verdict, record.decision.route);
    info!(
        event = "task_classified",
        task.id = %record.key,
        complexity = verdict.complexity.name(),
        score = verdict.score,
        confidence = verdict.confidence,
        route = route.name(),
        "task {} is {} and goes to {}: {}", record.key, verdict.complexity.name(), route.name(), record.decision.reason
    );
}
