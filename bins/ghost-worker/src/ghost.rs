//! What a ghost is, and what it can do with a task: the seam for workers of your own.
//!
//! A [`Worker`](crate::Worker) claims tasks for a [`Ghost`], renews their leases, writes down what came of them and what
//! it cost, and sends answers to the evaluator. A ghost says what it can do, and does it. [`Models`] is the one that
//! ships: it has the local model and the LLM answer. `examples/custom-ghost` is one of another kind, `docs/ghosts.md`
//! tells how to write one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ghost_core::broker::{self, Broker, Submission, patiently};
use ghost_core::checks::Subject;
use ghost_core::experiment::Arm;
use ghost_core::id::{TaskId, TaskKey};
use ghost_core::inference::hybrid::{Engine, Job, Outcome};
use ghost_core::inference::{Deltas, Finish, Provider};
use ghost_core::lifecycle::{Answer, Attempt, Failure, Finding, Record, Timestamp};
use ghost_core::messages::Role;
use ghost_core::retry::Retry;
use ghost_core::task::{Kind, TaskRequest, TaskResult};
use ghost_core::taskmaster::TaskMaster;
use ghost_core::taskmaster::route::{Decision, Route, decide};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How deep tasks may send tasks: ghosts that send to each other without end stop here.
pub const MAX_DEPTH: u64 = 8;

/// When a task comes back that could not be sent on, as the store was away.
const LATER: Duration = Duration::from_secs(1);

/// A worker of your own.
#[async_trait]
pub trait Ghost: Send + Sync + 'static {
    /// What it is for. Whatever it does with tasks, it is not [`Role::Evaluator`]: answers would be left to it that it
    /// never gets.
    fn role(&self) -> Role {
        Role::Worker
    }

    /// What it can do. It gets the tasks whose `parameters.capability` is one of these, and no others.
    fn capabilities(&self) -> Vec<String>;

    /// How many tasks it works on at once.
    fn max_load(&self) -> usize {
        4
    }

    /// Gets ready, once, before the first task.
    ///
    /// # Errors
    /// A [`Failure`] ends the worker before it has claimed anything.
    async fn initialize(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// Does one task. The same task may come again, after a crash or because its answer was sent back; it is then told
    /// what was wrong. Once [`Task::cancel`] is cancelled nobody waits for the answer, and five seconds later the call
    /// is dropped.
    ///
    /// # Errors
    /// [`Trouble`] says whether it may be tried again.
    async fn process_task(&self, task: &Task) -> Result<Answer, Trouble>;

    /// Tidies up, once, after the last task.
    async fn cleanup(&self) {}
}

/// Why a ghost has no answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Trouble {
    /// There will be none: the task has failed.
    Failed(Failure),
    /// There may be one later.
    Later(Duration),
    /// The task was withdrawn from the ghost, or the worker ends.
    Cancelled,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Failed(failure)
    }
}

/// One delivery of one task, and the way from it to the rest of the swarm.
pub struct Task {
    /// Its name in the store.
    pub key: TaskKey,
    /// What is asked.
    pub request: TaskRequest,
    /// The kind of simple task that the prompt shows.
    pub kind: Option<Kind>,
    /// Which model is to answer, where one is asked.
    pub decision: Decision,
    /// The answer that was sent back.
    pub previous: Option<Answer>,
    /// What was wrong with it.
    pub critique: Vec<Finding>,
    /// Cancelled once nobody waits for the answer any more.
    pub cancel: CancellationToken,
    arm: Option<Arm>,
    generation: u32,
    deadline: Instant,
    deltas: Deltas,
    swarm: Arc<Swarm>,
    attempts: Mutex<Vec<Attempt>>,
}

/// What every task of a worker can reach.
pub(crate) struct Swarm {
    pub(crate) name: String,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) taskmaster: TaskMaster,
    pub(crate) poll: Duration,
}

impl Task {
    pub(crate) fn new(
        record: &Record,
        swarm: Arc<Swarm>,
        timeout: Duration,
        cancel: CancellationToken,
        deltas: Deltas,
    ) -> Self {
        let decision = match &record.draft {
            // The one who is to revise is the one who wrote it.
            Some(draft) if draft.provider == Provider::Llm => {
                Decision { route: Route::Llm, reason: "the LLM revises its answer".to_owned() }
            }
            _ => record.decision.clone(),
        };
        let judged = record.judgements.last().filter(|_| record.draft.is_some());
        Self {
            key: record.key.clone(),
            request: record.request.clone(),
            kind: record.verdict.kind,
            decision,
            arm: record.assignment.as_ref().map(|assignment| assignment.arm.clone()),
            previous: record.draft.clone(),
            critique: judged.map(|judgement| judgement.findings.clone()).unwrap_or_default(),
            cancel,
            generation: record.generation,
            deadline: Instant::now() + timeout,
            deltas,
            swarm,
            attempts: Mutex::default(),
        }
    }

    /// How long the task may still take.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// An answer of the ghost's own. It counts as the local model's, at no cost, and is judged like one.
    pub fn answer(&self, text: impl Into<String>) -> Answer {
        let text = text.into();
        let wants_json = Subject { request: &self.request, kind: self.kind }.wants_json();
        Answer {
            json: if wants_json { serde_json::from_str(text.trim()).ok() } else { None },
            text,
            tool_calls: Vec::new(),
            provider: Provider::Slm,
            model: self.swarm.name.clone(),
            finish: Finish::Stop,
            confidence: None,
            llm_cost_micro_usd: 0,
        }
    }

    /// Lets whoever listens hear a part of the answer already. The answer itself must hold it too.
    pub async fn say(&self, text: impl Into<String>) {
        // Nobody listens once the delivery is over.
        let _ = self.deltas.send(text.into()).await;
    }

    /// Has the models answer the task as it was asked, on the route that was decided, and with the critique of the
    /// last answer. What it costs is written down.
    ///
    /// # Errors
    /// [`Trouble`], to be passed on.
    pub async fn infer_as_asked(&self) -> Result<Answer, Trouble> {
        let job = Job {
            kind: self.kind,
            decision: self.decision.clone(),
            arm: self.arm.clone(),
            critique: self.critique.clone(),
            previous: self.previous.as_ref().map(|draft| draft.text.clone()),
            request: self.request.clone(),
            timeout: self.remaining(),
            cancel: self.cancel.child_token(),
        };
        self.asked(job, Some(self.deltas.clone())).await
    }

    /// Has the models answer a question of the ghost's own, which is classified like any task. What it costs is
    /// written down with this one. Nobody judges the answer but the ghost.
    ///
    /// # Errors
    /// [`Trouble`], to be passed on; a question that makes no sense has [`Trouble::Failed`].
    pub async fn infer(&self, question: TaskRequest) -> Result<Answer, Trouble> {
        let question = sound(TaskRequest { task_id: self.request.task_id.clone(), ..question })?;
        let verdict = self.swarm.taskmaster.classify(&question);
        let job = Job {
            kind: verdict.kind,
            decision: decide(&question, &verdict, &self.swarm.engine.available()),
            arm: None,
            critique: Vec::new(),
            previous: None,
            timeout: self.remaining().min(question.timeout()),
            request: question,
            cancel: self.cancel.child_token(),
        };
        self.asked(job, None).await
    }

    /// Sends a task to whoever has this capability, and waits for what comes of it. Where this task is delivered again
    /// and sends the same once more, it is the same task, and its result is at hand. The wait takes up one of this
    /// ghost's places, so a ghost that sends to its own capability needs more of them than it sends.
    ///
    /// # Errors
    /// [`Trouble::Failed`] where the task makes no sense or lies too deep, [`Trouble::Later`] where the swarm takes
    /// none just now. A task that was taken and failed is no error here: its result says so.
    pub async fn send_task(&self, capability: &str, request: TaskRequest) -> Result<TaskResult, Trouble> {
        let Swarm { broker, poll, .. } = &*self.swarm;
        let now = patiently(|| broker.now()).await.map_err(|error| away(&error))?;
        let record = self.child(capability, request, now)?;
        let key = record.key.clone();
        let submit = patiently(|| broker.submit(vec![record.clone()])).await;
        match submit.map(|mut submissions| submissions.pop()) {
            Ok(Some(Submission::New(_) | Submission::Known(_))) => {}
            Ok(Some(Submission::Conflict(key))) => {
                let words = format!("another task has the id {key}; leave `task_id` out, and it gets one");
                return Err(Failure::new("conflict", words).into());
            }
            Ok(None) => return Err(Trouble::Later(LATER)),
            Err(error) => return Err(away(&error)),
        }
        let settled = self.cancel.run_until_cancelled(broker::settled(&**broker, &key, *poll)).await;
        match settled.ok_or(Trouble::Cancelled)? {
            Ok(record) => Ok(record.result()),
            Err(error) => Err(Failure::new("lost", format!("task {key}, which was sent, {error}")).into()),
        }
    }

    /// What the calls to models took so far.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn child(&self, capability: &str, mut request: TaskRequest, now: Timestamp) -> Result<Record, Trouble> {
        let depth = self.request.context.get("depth").and_then(Value::as_u64).unwrap_or(0) + 1;
        if depth > MAX_DEPTH {
            let words =
                format!("tasks send tasks at most {MAX_DEPTH} deep; do two ghosts send to each other?");
            return Err(Failure::new("too_deep", words).into());
        }
        request.parameters.capability = Some(capability.to_owned());
        request.context.insert("depth".to_owned(), json!(depth));
        request.context.insert("sent_by".to_owned(), json!(self.key.to_string()));
        if let Some(tenant) = self.request.context.get("tenant") {
            request.context.entry("tenant").or_insert_with(|| tenant.clone());
        }
        let mut request = sound(request)?;
        if request.task_id.is_none() {
            let name = format!("{}\n{}\n{}", self.key, self.generation, request.fingerprint());
            let digest = Sha256::digest(name.as_bytes());
            let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
            request.task_id = format!("sent-{hex}").parse().ok();
        }
        let id = request.task_id.clone().unwrap_or_else(TaskId::generate);
        let Swarm { taskmaster, engine, .. } = &*self.swarm;
        let verdict = taskmaster.classify(&request);
        let decision = decide(&request, &verdict, &engine.available());
        Ok(Record::new(TaskKey::lone(id), request, verdict, decision, now))
    }

    async fn asked(&self, job: Job, deltas: Option<Deltas>) -> Result<Answer, Trouble> {
        let (answered, attempts) = match self.swarm.engine.infer(job, deltas).await {
            Outcome::Answered { answer, attempts } => (Ok(answer), attempts),
            Outcome::Postponed { attempts, delay } => (Err(Trouble::Later(delay)), attempts),
            Outcome::Failed { failure, attempts } => (Err(Trouble::Failed(failure)), attempts),
            Outcome::Cancelled { attempts } => (Err(Trouble::Cancelled), attempts),
        };
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).extend(attempts);
        answered
    }
}

/// The ghost that ships: the local model and the LLM answer.
#[derive(Debug, Clone)]
pub struct Models {
    /// What it offers.
    pub capabilities: Vec<String>,
    /// How many tasks it works on at once.
    pub max_load: usize,
}

#[async_trait]
impl Ghost for Models {
    fn capabilities(&self) -> Vec<String> {
        self.capabilities.clone()
    }

    fn max_load(&self) -> usize {
        self.max_load
    }

    async fn process_task(&self, task: &Task) -> Result<Answer, Trouble> {
        task.infer_as_asked().await
    }
}

fn sound(request: TaskRequest) -> Result<TaskRequest, Trouble> {
    request.check().map_err(|error| Failure::new("invalid_task", error.to_string()))?;
    Ok(request)
}

fn away(error: &broker::Error) -> Trouble {
    match error.retry() {
        Retry::After(wait) => Trouble::Later(wait),
        Retry::Now => Trouble::Later(LATER),
        Retry::Never => Failure::new("store", error.to_string()).into(),
    }
}
