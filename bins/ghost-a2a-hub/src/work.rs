//! Work for ghosts that join over WebSocket: claim, renew, report, release.
//!
//! The same path as a worker inside the swarm takes: `Broker::claim`, then events through `lifecycle::step` and
//! `Broker::commit`, each carrying the lease's token, so that whoever lost a lease changes nothing. What follows an
//! answer is decided as for any worker ([`ghost_core::stand_in`]). Nothing is kept here: a lease that one hub gave out
//! can be reported to another.

use std::sync::Arc;
use std::time::Duration;

use ghost_a2a::error::{INTERNAL, LEASE_LOST, RpcError};
use ghost_a2a::frame::MAX_FRAME_BYTES;
use ghost_core::broker::{
    self, AdvanceError, Broker, Claim, Commit, MAX_BATCH, News, Outcome, advance, patiently,
};
use ghost_core::checks::Subject;
use ghost_core::id::{AgentId, BatchId, LeaseToken, TaskId, TaskKey};
use ghost_core::inference::{Finish, Provider, Usage};
use ghost_core::lifecycle::{Answer, Attempt, Event, Failure, Record, Stage, State};
use ghost_core::retry::Retry;
use ghost_core::stand_in::StandIn;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// How long a task stays a ghost's own without a renewal, where it does not say.
const LEASE_MS: u64 = 30_000;
/// The shortest and the longest that it may ask for.
const LEASES: std::ops::RangeInclusive<u64> = 1_000..=600_000;
/// The longest that a claim waits for work.
const MAX_WAIT_MS: u64 = 30_000;
/// The longest that a ghost may put a task off.
const MAX_POSTPONE_MS: u64 = 24 * 60 * 60 * 1000;
/// The most bytes of the tasks in one answer; the rest of a frame is for what is around them.
const MAX_TASKS_BYTES: usize = MAX_FRAME_BYTES - (16 << 10);
/// When to try again where the store was away.
const AWAY: Duration = Duration::from_secs(1);
/// The most bytes of a failure's code, and of its words.
const MAX_CODE_BYTES: usize = 64;
const MAX_WORDS_BYTES: usize = 4096;

/// What work is done with.
pub(crate) struct Work {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) stand_in: StandIn,
    /// How often a claim looks for work that nobody woke it for.
    pub(crate) poll: Duration,
}

/// Asks for tasks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ClaimWork {
    /// Some of what the agent registered; all of it where absent.
    pub(crate) capabilities: Option<Vec<String>>,
    #[serde(default = "one")]
    limit: usize,
    #[serde(default = "lease_ms")]
    lease_ms: u64,
    #[serde(default)]
    wait_ms: u64,
}

fn one() -> usize {
    1
}

fn lease_ms() -> u64 {
    LEASE_MS
}

/// A task that somebody holds, or says so.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Held {
    task_id: TaskId,
    batch: Option<BatchId>,
    lease: LeaseToken,
}

/// Asks for more time.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RenewWork {
    task_id: TaskId,
    batch: Option<BatchId>,
    lease: LeaseToken,
    #[serde(default = "lease_ms")]
    lease_ms: u64,
}

/// Says how far a task is. Exactly one of the last four is given.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Report {
    task_id: TaskId,
    batch: Option<BatchId>,
    lease: LeaseToken,
    /// A part of the answer, for whoever listens.
    delta: Option<String>,
    result: Option<Given>,
    failure: Option<Failure>,
    postpone_ms: Option<u64>,
    /// The call to a model that it took, where it was one.
    call: Option<Call>,
}

/// An answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Given {
    text: Option<String>,
    json: Option<Value>,
    confidence: Option<f64>,
    #[serde(default = "stop")]
    finish: Finish,
}

fn stop() -> Finish {
    Finish::Stop
}

/// A call to a model.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Call {
    provider: Provider,
    model: String,
    #[serde(default)]
    duration_ms: u64,
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default)]
    cost_micro_usd: u64,
}

impl ClaimWork {
    pub(crate) fn check(&self) -> Result<(), RpcError> {
        let refuse = |words: String| Err(RpcError::invalid_params(words));
        if !(1..=MAX_BATCH).contains(&self.limit) {
            return refuse(format!("limit is 1 to {MAX_BATCH}"));
        }
        if self.wait_ms > MAX_WAIT_MS {
            return refuse(format!("waitMs is at most {MAX_WAIT_MS}; claim again after that"));
        }
        check_lease(self.lease_ms)
    }
}

impl Work {
    /// Hands out tasks that ask for one of `capabilities`, and waits for some where there are none.
    pub(crate) async fn claim(
        &self,
        holder: &AgentId,
        capabilities: Vec<String>,
        asked: &ClaimWork,
        ending: &CancellationToken,
    ) -> Result<Value, RpcError> {
        let until = Instant::now() + Duration::from_millis(asked.wait_ms);
        let claim = Claim {
            stage: Stage::Infer,
            holder: holder.clone(),
            capabilities,
            limit: asked.limit,
            lease: Duration::from_millis(asked.lease_ms),
            begins: false,
        };
        let mut news = None;
        loop {
            if news.is_none() && asked.wait_ms > 0 {
                news = self.broker.subscribe().await.ok();
            }
            let records = self.broker.claim(&claim).await.map_err(|error| away(&error))?;
            if ending.is_cancelled() {
                self.give_back(&records).await;
                return Ok(json!({"tasks": []}));
            }
            if !records.is_empty() {
                let tasks = self.begin(records, asked.lease_ms).await?;
                if !tasks.is_empty() {
                    return Ok(json!({"tasks": tasks}));
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(json!({"tasks": []}));
            }
            let poll = self.poll.min(left);
            let work = async {
                match &mut news {
                    Some(news) => news.wait(poll, |news| matches!(news, News::Work(Stage::Infer))).await,
                    None => sleep(poll).await,
                }
            };
            if ending.run_until_cancelled(work).await.is_none() {
                return Ok(json!({"tasks": []}));
            }
        }
    }

    /// Says that the ghost has begun with these, as it does once it hears of them.
    async fn begin(&self, records: Vec<Record>, lease_ms: u64) -> Result<Vec<Value>, RpcError> {
        let (mut tasks, mut commits, mut surplus, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let now = patiently(|| self.broker.now()).await.map_err(|error| away(&error))?;
        for record in records {
            let Some(lease) = record.lease() else { continue };
            let task = task(&record, lease.token, lease_ms, now);
            let size = task.to_string().len();
            if size > MAX_TASKS_BYTES {
                self.refuse_as_too_large(record, size).await;
            } else if bytes + size > MAX_TASKS_BYTES {
                surplus.push(record);
            } else if let Ok(commit) = Commit::step(&record, Event::Start(lease.token), now) {
                bytes += size;
                tasks.push(task);
                commits.push(commit);
            }
        }
        self.give_back(&surplus).await;
        if commits.is_empty() {
            return Ok(Vec::new());
        }
        let outcomes = patiently(|| self.broker.commit(&commits)).await.map_err(|error| away(&error))?;
        // Whatever was withdrawn meanwhile is not handed out.
        let begun = tasks.into_iter().zip(outcomes).filter(|(_, outcome)| *outcome == Outcome::Done);
        Ok(begun.map(|(task, _)| task).collect())
    }

    async fn give_back(&self, records: &[Record]) {
        for record in records {
            let Some(lease) = record.lease() else { continue };
            if let Err(error) = advance(&*self.broker, record.clone(), Event::Release(lease.token)).await {
                debug!(task.id = %record.key, error = %error, "task {} comes back once its lease ends: {error}", record.key);
            }
        }
    }

    /// A task that no frame can carry would be handed out and given back for ever.
    async fn refuse_as_too_large(&self, record: Record, size: usize) {
        let Some(lease) = record.lease() else { return };
        let failure = Failure::new(
            "too_large",
            format!(
                "the task has {size} bytes, and ghosts that join over WebSocket take at most {MAX_TASKS_BYTES}; \
                 shorten it, or offer `{}` by a worker of the swarm",
                record.capability()
            ),
        );
        let (key, token) = (record.key.clone(), lease.token);
        let event = Event::Fail { token, failure, attempts: Vec::new() };
        if let Err(error) = advance(&*self.broker, record, event).await {
            warn!(task.id = %key, error = %error, "task {key} is too large for a frame, and could not be failed: {error}");
        }
    }

    /// Gives a ghost more time.
    pub(crate) async fn renew(&self, asked: RenewWork) -> Result<Value, RpcError> {
        check_lease(asked.lease_ms)?;
        let key = TaskKey { batch: asked.batch, id: asked.task_id };
        let record = self.held(&key, asked.lease).await?;
        let lease = Duration::from_millis(asked.lease_ms);
        self.send(record, Event::Renew(asked.lease, lease)).await?;
        Ok(json!({"leaseMs": asked.lease_ms}))
    }

    /// Takes a task back in good order.
    pub(crate) async fn release(&self, held: Held) -> Result<Value, RpcError> {
        let key = TaskKey { batch: held.batch, id: held.task_id };
        let record = self.held(&key, held.lease).await?;
        let record = self.send(record, Event::Release(held.lease)).await?;
        Ok(json!({"status": record.status()}))
    }

    /// Takes what a ghost says of a task.
    pub(crate) async fn report(&self, report: Report) -> Result<Value, RpcError> {
        let token = report.lease;
        let key = TaskKey { batch: report.batch, id: report.task_id.clone() };
        let attempts = report.attempts()?;
        let said = report.said(&key)?;
        let record = match self.held(&key, token).await {
            Ok(record) => record,
            Err(error) if error.code == LEASE_LOST => {
                self.bill(&key, &attempts).await;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let event = match said {
            Said::Delta(text) => {
                // News may be missed; the answer will hold it all.
                let _ = self.broker.publish(News::Delta(key, text)).await;
                return Ok(json!({"status": record.status()}));
            }
            Said::Result(given) => {
                let answer = given.answer(&record, attempts.first());
                let then = self.stand_in.then(&record, &answer).await;
                Event::Answer { token, answer, attempts: attempts.clone(), then }
            }
            Said::Failure(failure) => Event::Fail { token, failure, attempts: attempts.clone() },
            Said::Later(delay) => Event::Postpone { token, attempts: attempts.clone(), delay },
        };
        match self.send(record, event).await {
            Ok(record) => {
                debug!(task.id = %key, status = record.status().name(), "task {key} is {}", record.status());
                Ok(json!({"status": record.status()}))
            }
            Err(error) => {
                if error.code == LEASE_LOST {
                    self.bill(&key, &attempts).await;
                }
                Err(error)
            }
        }
    }

    async fn held(&self, key: &TaskKey, token: LeaseToken) -> Result<Record, RpcError> {
        let record = patiently(|| self.broker.get(key)).await.map_err(|error| away(&error))?;
        let record = record.ok_or_else(|| no_such_task(key))?;
        match record.lease() {
            Some(lease) if lease.token == token && !matches!(record.state, State::Evaluating(..)) => {
                Ok(record)
            }
            _ => Err(lost(&record)),
        }
    }

    async fn send(&self, record: Record, event: Event) -> Result<Record, RpcError> {
        let key = record.key.clone();
        match advance(&*self.broker, record, event).await {
            Ok(record) => Ok(record),
            Err(AdvanceError::Refused(_)) => match patiently(|| self.broker.get(&key)).await {
                Ok(Some(record)) => Err(lost(&record)),
                Ok(None) => Err(no_such_task(&key)),
                Err(error) => Err(away(&error)),
            },
            Err(AdvanceError::Gone) => Err(no_such_task(&key)),
            Err(AdvanceError::Broker(error)) => Err(away(&error)),
        }
    }

    /// Writes down what an answer cost that came too late. A report that is repeated costs nothing again.
    async fn bill(&self, key: &TaskKey, attempts: &[Attempt]) {
        let Some(attempt) = attempts.first() else { return };
        let Ok(Some(record)) = patiently(|| self.broker.get(key)).await else { return };
        if record.attempts.contains(attempt) {
            return;
        }
        if let Err(error) = advance(&*self.broker, record, Event::Charge(attempts.to_vec())).await {
            warn!(task.id = %key, error = %error, "what task {key} cost could not be written: {error}");
        } else {
            info!(task.id = %key, "what came of task {key} was too late; its cost is counted");
        }
    }
}

enum Said {
    Delta(String),
    Result(Given),
    Failure(Failure),
    Later(Duration),
}

impl Report {
    fn said(self, key: &TaskKey) -> Result<Said, RpcError> {
        let refuse =
            |words: &str| Err(RpcError::invalid_params(format!("the report of task {key}: {words}")));
        match (self.delta, self.result, self.failure, self.postpone_ms) {
            (Some(delta), None, None, None) => Ok(Said::Delta(delta)),
            (None, Some(given), None, None) => {
                if given.text.is_none() && given.json.is_none() {
                    return refuse("`result` has a `text`, a `json`, or both");
                }
                if given.confidence.is_some_and(|confidence| !(0.0..=1.0).contains(&confidence)) {
                    return refuse("`confidence` is 0 to 1");
                }
                Ok(Said::Result(given))
            }
            (None, None, Some(failure), None) => {
                let code = failure.code.as_str();
                let sound = !code.is_empty()
                    && code.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
                if !sound || code.len() > MAX_CODE_BYTES || failure.message.len() > MAX_WORDS_BYTES {
                    return refuse(
                        "`failure` has a `code` such as bad_input, and a `message` of at most 4096 bytes",
                    );
                }
                Ok(Said::Failure(failure))
            }
            (None, None, None, Some(delay)) if delay <= MAX_POSTPONE_MS => {
                Ok(Said::Later(Duration::from_millis(delay)))
            }
            (None, None, None, Some(_)) => refuse("`postponeMs` is at most a day"),
            _ => refuse("it has exactly one of `delta`, `result`, `failure` and `postponeMs`"),
        }
    }

    fn attempts(&self) -> Result<Vec<Attempt>, RpcError> {
        let Some(call) = &self.call else { return Ok(Vec::new()) };
        if call.model.is_empty() || call.model.len() > 256 {
            return Err(RpcError::invalid_params("`call.model` has 1 to 256 bytes"));
        }
        Ok(vec![Attempt {
            provider: call.provider,
            model: call.model.clone(),
            duration_ms: call.duration_ms,
            usage: Usage {
                input_tokens: call.input_tokens,
                output_tokens: call.output_tokens,
                ..Usage::default()
            },
            cost_micro_usd: call.cost_micro_usd,
            failure: self.failure.clone(),
        }])
    }
}

impl Given {
    /// The answer as any worker gives it. One that took no model counts as the local model's, so that it is judged;
    /// it saves nothing, as nobody knows what the LLM would have taken.
    fn answer(self, record: &Record, call: Option<&Attempt>) -> Answer {
        let text = self.text.unwrap_or_else(|| self.json.as_ref().map(Value::to_string).unwrap_or_default());
        let subject = Subject { request: &record.request, kind: record.verdict.kind };
        let json = self
            .json
            .or_else(|| if subject.wants_json() { serde_json::from_str(text.trim()).ok() } else { None });
        let holder = record.lease().map(|lease| lease.holder.to_string()).unwrap_or_default();
        Answer {
            text,
            json,
            tool_calls: Vec::new(),
            provider: call.map_or(Provider::Slm, |call| call.provider),
            model: call.map_or(holder, |call| call.model.clone()),
            finish: self.finish,
            confidence: self.confidence,
            llm_cost_micro_usd: call.map_or(0, |call| call.cost_micro_usd),
        }
    }
}

/// A task as a ghost gets it.
fn task(record: &Record, token: LeaseToken, lease_ms: u64, now: ghost_core::lifecycle::Timestamp) -> Value {
    let left = record.deadline().map_or(record.request.timeout(), |deadline| deadline.since(now));
    let judged = record.judgements.last().filter(|_| record.draft.is_some());
    let mut task = json!({
        "taskId": record.key.id,
        "lease": token,
        "leaseMs": lease_ms,
        "timeoutMs": u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        "delivery": record.deliveries,
        "route": record.decision.route,
        "request": record.request,
    });
    let optional = [
        ("batch", record.key.batch.map(|batch| json!(batch))),
        ("kind", record.verdict.kind.map(|kind| json!(kind))),
        ("previous", record.draft.as_ref().map(|draft| json!(draft.text))),
        ("critique", judged.map(|judgement| json!(judgement.findings))),
    ];
    if let Some(task) = task.as_object_mut() {
        task.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    task
}

fn check_lease(lease_ms: u64) -> Result<(), RpcError> {
    if LEASES.contains(&lease_ms) {
        return Ok(());
    }
    Err(RpcError::invalid_params(format!("leaseMs is {} to {}", LEASES.start(), LEASES.end())))
}

fn lost(record: &Record) -> RpcError {
    let words = format!("the lease on task {} is lost; it is {} now", record.key, record.status());
    RpcError::new(LEASE_LOST, words).with(json!({"status": record.status()}))
}

fn no_such_task(key: &TaskKey) -> RpcError {
    RpcError::new(LEASE_LOST, format!("there is no task {key}"))
}

/// That the store did not do it: who asks again is served where it can be.
pub(crate) fn away(error: &broker::Error) -> RpcError {
    let words = RpcError::new(INTERNAL, error.to_string());
    match error.retry() {
        Retry::Now => words.retry_after(AWAY),
        Retry::After(wait) => words.retry_after(wait),
        Retry::Never => words,
    }
}
