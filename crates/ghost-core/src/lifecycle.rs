//! The life of a task: every state, every event, and the one function that leads from one to the next.
//!
//! [`step`] is pure: no clock, no I/O, no await; the time comes in with the event, from the broker. Only it changes a
//! task's state. Brokers store what it returns ([`crate::broker`]); services decide which event to send.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::id::{AgentId, LeaseToken, TaskKey, Tenant};
use crate::inference::{Finish, Provider, Usage};
use crate::stats::{self, Count};
use crate::task::{Status, TaskRequest, TaskResult};
use crate::taskmaster::Verdict;
use crate::taskmaster::route::{Decision, Route};

/// How often a task is handed out again after its holder vanished, before it is a dead letter.
pub const MAX_DELIVERIES: u32 = 5;
/// How often the evaluator may send an answer back.
pub const MAX_REVISIONS: u32 = 2;
/// How many attempts a record keeps with their details; what all of them cost is always counted.
pub const MAX_ATTEMPTS_KEPT: usize = 64;
/// What a task asks of a worker where it asks for nothing else.
pub const DEFAULT_CAPABILITY: &str = "inference";

/// Milliseconds since 1970, by the broker's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This much later.
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time since an earlier moment; zero where that one is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Everything that is known of one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its name in the store.
    pub key: TaskKey,
    /// What was asked, as it was asked.
    pub request: TaskRequest,
    /// [`TaskRequest::fingerprint`] of the request.
    pub fingerprint: String,
    /// Goes up by one with every write; serialises writers.
    pub version: u64,
    /// Goes up with every `retry` of a failed task; settled is final within a generation.
    pub generation: u32,
    /// Where it stands.
    pub state: State,
    /// What TaskMaster said.
    pub verdict: Verdict,
    /// Who is to answer next, and why.
    pub decision: Decision,
    /// When it was accepted.
    pub submitted_at: Timestamp,
    /// When it was last put into the queue: waiting is counted from here.
    pub queued_at: Timestamp,
    /// When it was first claimed in this generation: its timeout runs from here.
    pub first_claimed_at: Option<Timestamp>,
    /// When it was settled in this generation.
    pub settled_at: Option<Timestamp>,
    /// Claims in this generation that were not handed back in good order.
    pub deliveries: u32,
    /// How often the evaluator sent an answer of this generation back.
    pub revisions: u32,
    /// Calls to models, oldest first, of every generation; the last [`MAX_ATTEMPTS_KEPT`] of them.
    pub attempts: Vec<Attempt>,
    /// What all calls took and cost, those of lost leases too.
    pub spent: Spent,
    /// What the evaluator said of each answer of this generation, oldest first.
    pub judgements: Vec<Judgement>,
    /// The answer that the last judgement sent back, for the model to revise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Answer>,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for a worker, not before this moment.
    Pending(Timestamp),
    /// A worker claimed it.
    Assigned(Lease),
    /// A worker has begun.
    InProgress(Lease),
    /// Waits for an evaluator.
    Answered(Answer),
    /// An evaluator claimed the answer.
    Evaluating(Lease, Answer),
    /// Settled: here is the answer.
    Completed(Answer),
    /// Settled: there is none.
    Failed(Failure),
    /// Settled: its sender withdrew it.
    Cancelled,
}

/// The time-bound right of one holder to one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// Proves the right; every event of its holder carries it.
    pub token: LeaseToken,
    /// Who holds it.
    pub holder: AgentId,
    /// When it ends unless it is renewed.
    pub until: Timestamp,
}

/// What a model said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Its text.
    pub text: String,
    /// The text as JSON, where the task asks for JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// Which sort of model said it.
    pub provider: Provider,
    /// The model, as the provider names it.
    pub model: String,
    /// Why it ended.
    pub finish: Finish,
    /// How sure the engine is of it, 0 to 1, where it can say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// What the same tokens would have cost on the LLM, in micro-dollars: the yardstick of savings.
    pub llm_cost_micro_usd: u64,
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A short stable code, as in `llm_unavailable`.
    pub code: String,
    /// What happened, and what to do now.
    pub message: String,
}

impl Failure {
    /// A failure with its code and its words.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// One call to a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which sort of model.
    pub provider: Provider,
    /// The model that answered or should have.
    pub model: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What it took.
    pub usage: Usage,
    /// What it cost, in micro-dollars.
    pub cost_micro_usd: u64,
    /// Why there was no answer; none where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// What all calls for a task took and cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// How many calls there were.
    pub calls: u64,
    /// The tokens of all of them.
    pub usage: Usage,
    /// In micro-dollars.
    pub cost_micro_usd: u64,
}

/// What an evaluator says of an answer; the seed's `EvaluationResult` with typed findings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Whether the answer will do.
    pub is_valid: bool,
    /// How sure the evaluator is that the answer is good, 0 to 1.
    pub confidence: f64,
    /// Whether a trained evaluator judged, or only the formal checks of the worker.
    pub evaluation: Evaluation,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

/// Who judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evaluation {
    /// An evaluator, with everything it has.
    Full,
    /// The worker itself, since no evaluator was alive.
    FormalOnly,
}

/// One thing that is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The check that found it, as in `schema` or `arithmetic`.
    pub kind: String,
    /// Where: byte offsets in the answer's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<(usize, usize)>,
    /// What it rests on.
    pub evidence: String,
    /// What would be right.
    pub suggested_edit: Option<String>,
    /// How bad it is.
    pub severity: Severity,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth telling; the answer may stand.
    Advice,
    /// The answer will not do.
    Reject,
}

/// What happens to a task. Those that carry a token come from the holder of its lease.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A worker takes a pending task, or an evaluator an answer.
    Claim {
        /// Who.
        holder: AgentId,
        /// Fresh and random.
        token: LeaseToken,
        /// How long the lease runs.
        lease: Duration,
    },
    /// The worker has begun.
    Start(LeaseToken),
    /// The holder is alive.
    Renew(LeaseToken, Duration),
    /// The holder hands the task back in good order; this is no delivery.
    Release(LeaseToken),
    /// The worker has an answer.
    Answer {
        /// Its lease.
        token: LeaseToken,
        /// What the model said.
        answer: Answer,
        /// The calls it took.
        attempts: Vec<Attempt>,
        /// Whether an evaluator is to judge it, or what the worker's own formal checks said, or neither.
        then: Then,
    },
    /// The provider stumbled; somebody is to try again later.
    Postpone {
        /// The worker's lease.
        token: LeaseToken,
        /// The calls it took.
        attempts: Vec<Attempt>,
        /// How long to wait.
        delay: Duration,
    },
    /// The worker gives up.
    Fail {
        /// Its lease.
        token: LeaseToken,
        /// Why.
        failure: Failure,
        /// The calls it took.
        attempts: Vec<Attempt>,
    },
    /// The evaluator has judged.
    Judge {
        /// Its lease.
        token: LeaseToken,
        /// What it says.
        judgement: Judgement,
        /// What follows.
        next: Next,
    },
    /// Somebody found the lease past its end.
    Expire,
    /// Somebody found the task past its timeout, or waiting for longer than this.
    GiveUp {
        /// The longest that a task may wait.
        max_wait: Duration,
    },
    /// A holder that lost its lease reports what it paid.
    Charge(Vec<Attempt>),
    /// The sender withdraws the task.
    Cancel,
    /// Somebody wants a failed task done after all.
    Retry(Verdict, Decision),
}

/// What follows a worker's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Then {
    /// It is settled.
    Settle,
    /// An evaluator judges it.
    Evaluate,
    /// The worker judged it by the formal checks, since no evaluator was alive.
    Judged(Judgement, Next),
}

/// What follows a judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The answer is accepted.
    Accept,
    /// The same model tries again with the findings.
    Revise,
    /// The LLM is asked.
    Escalate,
    /// There will be no good answer.
    GiveUp,
}

/// Why an event changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token is not the record's: another holder has the task, or nobody.
    #[error("the lease is lost: the task was handed on or settled")]
    LeaseLost,
    /// Settled is final.
    #[error("the task is already {0}")]
    Settled(Status),
    /// Only a failed task can be retried.
    #[error("only a failed task can be retried; this one is {0}")]
    NotFailed(Status),
    /// It cannot be claimed: somebody has it, or its time has not come.
    #[error("the task cannot be claimed now")]
    NotClaimable,
    /// Nothing is overdue.
    #[error("the task is not overdue")]
    NotOverdue,
    /// The event does not fit the state.
    #[error("a task that is {0} has no use for this event")]
    OutOfOrder(Status),
    /// No revision is left.
    #[error("the task was revised {MAX_REVISIONS} times already")]
    Exhausted,
}

/// What a broker does in the same write, besides storing the record.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Tell whoever listens.
    Publish(Status),
    /// Wake whoever waits for work at this stage.
    Wake(Stage),
    /// Add to the statistics.
    Count(Count),
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A worker's.
    Infer,
    /// An evaluator's.
    Evaluate,
}

impl Stage {
    /// Its name in stores and logs.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Infer => "infer",
            Stage::Evaluate => "evaluate",
        }
    }
}

/// Classes of priority: higher ones go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Priorities 1 to 3.
    Low,
    /// Priorities 4 to 7.
    Normal,
    /// Priorities 8 to 10.
    High,
}

/// Where a broker's indexes must find the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a queue.
    Queue {
        /// Whose turn it is.
        stage: Stage,
        /// Not sooner than this.
        not_before: Timestamp,
    },
    /// With a holder.
    Leased {
        /// When the lease ends.
        until: Timestamp,
    },
    /// Nowhere: it is settled.
    Settled,
}

impl Record {
    /// A task as it is accepted: classified, with its route decided, waiting for a worker.
    pub fn new(
        key: TaskKey,
        request: TaskRequest,
        verdict: Verdict,
        decision: Decision,
        now: Timestamp,
    ) -> Self {
        let fingerprint = request.fingerprint();
        Self {
            key,
            request,
            fingerprint,
            version: 0,
            generation: 0,
            state: State::Pending(now),
            verdict,
            decision,
            submitted_at: now,
            queued_at: now,
            first_claimed_at: None,
            settled_at: None,
            deliveries: 0,
            revisions: 0,
            attempts: Vec::new(),
            spent: Spent::default(),
            judgements: Vec::new(),
            draft: None,
        }
    }

    /// Its status in the seed's words.
    pub fn status(&self) -> Status {
        match &self.state {
            State::Pending(_) => Status::Pending,
            State::Assigned(_) => Status::Assigned,
            State::InProgress(_) | State::Answered(_) | State::Evaluating(..) => Status::InProgress,
            State::Completed(_) => Status::Completed,
            State::Failed(_) => Status::Failed,
            State::Cancelled => Status::Cancelled,
        }
    }

    /// The lease on it, if somebody holds one.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Assigned(lease) | State::InProgress(lease) | State::Evaluating(lease, _) => Some(lease),
            _ => None,
        }
    }

    /// Where a broker's indexes must find it.
    pub fn place(&self) -> Place {
        match &self.state {
            State::Pending(not_before) => Place::Queue { stage: Stage::Infer, not_before: *not_before },
            State::Answered(_) => Place::Queue { stage: Stage::Evaluate, not_before: self.queued_at },
            State::Assigned(lease) | State::InProgress(lease) | State::Evaluating(lease, _) => {
                Place::Leased { until: lease.until }
            }
            State::Completed(_) | State::Failed(_) | State::Cancelled => Place::Settled,
        }
    }

    /// Its class of priority.
    pub fn class(&self) -> Class {
        match self.request.priority.get() {
            0..=3 => Class::Low,
            4..=7 => Class::Normal,
            _ => Class::High,
        }
    }

    /// On whose behalf it runs.
    pub fn tenant(&self) -> Tenant {
        self.request.tenant()
    }

    /// What a worker must offer to be given it.
    pub fn capability(&self) -> &str {
        self.request.parameters.capability.as_deref().unwrap_or(DEFAULT_CAPABILITY)
    }

    /// When it fails unless it is settled: its timeout after the first claim.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.first_claimed_at.map(|claimed| claimed.plus(self.request.timeout()))
    }

    /// What its sender gets back.
    pub fn result(&self) -> TaskResult {
        let (answer, failure) = match &self.state {
            State::Completed(answer) => (Some(answer), None),
            State::Failed(failure) => (None, Some(failure)),
            _ => (None, None),
        };
        let finished = self.settled_at.or(self.first_claimed_at);
        TaskResult {
            task_id: self.key.id.clone(),
            status: self.status(),
            result: answer.map(|answer| {
                let mut result = Map::from_iter([("text".to_owned(), json!(answer.text))]);
                if let Some(json) = &answer.json {
                    result.insert("json".to_owned(), json.clone());
                }
                Value::Object(result)
            }),
            error: failure.map(Failure::to_string),
            execution_time: match (self.first_claimed_at, finished) {
                (Some(first), Some(last)) => last.since(first).as_secs_f64(),
                _ => 0.0,
            },
            metadata: self.metadata(answer, failure),
        }
    }

    fn metadata(&self, answer: Option<&Answer>, failure: Option<&Failure>) -> Map<String, Value> {
        let judgement = self.judgements.last();
        let metadata = json!({
            "route": self.decision.route,
            "route_reason": self.decision.reason,
            "provider": answer.map(|a| a.provider),
            "model": answer.map(|a| &a.model),
            "kind": self.verdict.kind,
            "complexity": self.verdict.complexity,
            "score": self.verdict.score,
            "confidence": self.verdict.confidence,
            "answer_confidence": answer.and_then(|a| a.confidence),
            "attempts": self.attempts,
            "generation": self.generation,
            "deliveries": self.deliveries,
            "revisions": self.revisions,
            "usage": self.spent.usage,
            "cost_micro_usd": self.spent.cost_micro_usd,
            "saved_micro_usd": answer.map(|a| saved_micro_usd(a, self.spent)),
            "evaluation": judgement.map(|j| json!({
                "is_valid": j.is_valid, "confidence": j.confidence, "evaluation": j.evaluation,
            })),
            "findings": judgement.map(|j| &j.findings[..]).unwrap_or_default(),
            "error_code": failure.map(|f| &f.code),
        });
        match metadata {
            Value::Object(map) => map.into_iter().filter(|(_, value)| !value.is_null()).collect(),
            _ => Map::new(),
        }
    }
}

/// What the answer saved against asking the LLM at once, in micro-dollars; below zero where the SLM's tries came on
/// top of the LLM's answer.
pub fn saved_micro_usd(answer: &Answer, spent: Spent) -> i64 {
    let signed = |micro_usd: u64| i64::try_from(micro_usd).unwrap_or(i64::MAX);
    signed(answer.llm_cost_micro_usd).saturating_sub(signed(spent.cost_micro_usd))
}

/// Leads a task from one state to the next.
///
/// # Errors
/// A [`Refusal`] where the event may not change this record; the record is then as it was.
pub fn step(record: &Record, event: Event, now: Timestamp) -> Result<(Record, Vec<Effect>), Refusal> {
    let mut next = Record { version: record.version + 1, ..record.clone() };
    let mut effects = Vec::new();
    match event {
        Event::Claim { holder, token, lease } => {
            claim(&mut next, Lease { token, holder, until: now.plus(lease) }, now)?
        }
        Event::Start(token) => match held(record, token)? {
            (lease, Held::Assigned) => next.state = State::InProgress(lease),
            _ => return Err(Refusal::OutOfOrder(record.status())),
        },
        Event::Renew(token, time) => {
            let (lease, held) = held(record, token)?;
            next.state = held.with(Lease { until: now.plus(time), ..lease });
        }
        Event::Release(token) => {
            let (_, held) = held(record, token)?;
            if !matches!(held, Held::Evaluating(_)) {
                next.deliveries = next.deliveries.saturating_sub(1);
            }
            requeue(&mut next, held, now, &mut effects);
        }
        Event::Answer { token, answer, attempts, then } => {
            let (Held::Assigned | Held::InProgress) = held(record, token)?.1 else {
                return Err(Refusal::OutOfOrder(record.status()));
            };
            charge(&mut next, attempts, &mut effects);
            match then {
                Then::Settle => settle(&mut next, State::Completed(answer), now, &mut effects),
                Then::Evaluate => {
                    next.queued_at = now;
                    next.state = State::Answered(answer);
                    effects.push(Effect::Wake(Stage::Evaluate));
                }
                Then::Judged(judgement, follows) => {
                    judge(&mut next, answer, judgement, follows, now, &mut effects)?
                }
            }
        }
        Event::Postpone { token, attempts, delay } => {
            let (Held::Assigned | Held::InProgress) = held(record, token)?.1 else {
                return Err(Refusal::OutOfOrder(record.status()));
            };
            charge(&mut next, attempts, &mut effects);
            next.deliveries = next.deliveries.saturating_sub(1);
            enqueue(&mut next, now.plus(delay), now, &mut effects);
        }
        Event::Fail { token, failure, attempts } => {
            held(record, token)?;
            charge(&mut next, attempts, &mut effects);
            settle(&mut next, State::Failed(failure), now, &mut effects);
        }
        Event::Judge { token, judgement, next: follows } => {
            let (_, Held::Evaluating(answer)) = held(record, token)? else {
                return Err(Refusal::OutOfOrder(record.status()));
            };
            judge(&mut next, answer, judgement, follows, now, &mut effects)?;
        }
        Event::Expire => {
            let lease = record.lease().filter(|lease| lease.until <= now).ok_or(Refusal::NotOverdue)?.clone();
            let (lease, held) = held(record, lease.token)?;
            if next.deliveries >= MAX_DELIVERIES {
                let failure = Failure::new(
                    "deliveries_exhausted",
                    format!(
                        "{MAX_DELIVERIES} holders vanished with this task, the last one {}; look at their logs, then `ghost retry`",
                        lease.holder
                    ),
                );
                settle(&mut next, State::Failed(failure), now, &mut effects);
            } else {
                effects.push(Effect::Count(stats::redelivered()));
                requeue(&mut next, held, now, &mut effects);
            }
        }
        Event::GiveUp { max_wait } => {
            let failure = overdue(record, max_wait, now).ok_or(Refusal::NotOverdue)?;
            settle(&mut next, State::Failed(failure), now, &mut effects);
        }
        Event::Charge(attempts) => charge(&mut next, attempts, &mut effects),
        Event::Cancel => {
            unsettled(record)?;
            settle(&mut next, State::Cancelled, now, &mut effects);
        }
        Event::Retry(verdict, decision) => {
            if !matches!(record.state, State::Failed(_)) {
                return Err(Refusal::NotFailed(record.status()));
            }
            next.generation += 1;
            next.verdict = verdict;
            next.decision = decision;
            next.first_claimed_at = None;
            next.settled_at = None;
            next.deliveries = 0;
            next.revisions = 0;
            next.judgements.clear();
            next.draft = None;
            effects.push(Effect::Count(stats::retried()));
            enqueue(&mut next, now, now, &mut effects);
        }
    }
    if next.status() != record.status() {
        effects.push(Effect::Publish(next.status()));
    }
    Ok((next, effects))
}

/// What a holder's record was before, with everything but the lease.
enum Held {
    Assigned,
    InProgress,
    Evaluating(Answer),
}

impl Held {
    fn with(self, lease: Lease) -> State {
        match self {
            Held::Assigned => State::Assigned(lease),
            Held::InProgress => State::InProgress(lease),
            Held::Evaluating(answer) => State::Evaluating(lease, answer),
        }
    }
}

fn held(record: &Record, token: LeaseToken) -> Result<(Lease, Held), Refusal> {
    let (lease, held) = match &record.state {
        State::Assigned(lease) => (lease, Held::Assigned),
        State::InProgress(lease) => (lease, Held::InProgress),
        State::Evaluating(lease, answer) => (lease, Held::Evaluating(answer.clone())),
        _ => return Err(Refusal::LeaseLost),
    };
    if lease.token != token {
        return Err(Refusal::LeaseLost);
    }
    Ok((lease.clone(), held))
}

fn unsettled(record: &Record) -> Result<(), Refusal> {
    let status = record.status();
    if status.is_settled() { Err(Refusal::Settled(status)) } else { Ok(()) }
}

fn claim(next: &mut Record, lease: Lease, now: Timestamp) -> Result<(), Refusal> {
    match std::mem::replace(&mut next.state, State::Cancelled) {
        State::Pending(not_before) if not_before <= now => {
            next.state = State::Assigned(lease);
            next.deliveries += 1;
            next.first_claimed_at.get_or_insert(now);
            Ok(())
        }
        State::Answered(answer) => {
            next.state = State::Evaluating(lease, answer);
            next.deliveries += 1;
            Ok(())
        }
        _ => Err(Refusal::NotClaimable),
    }
}

fn enqueue(next: &mut Record, not_before: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
    next.queued_at = now;
    next.state = State::Pending(not_before);
    effects.push(Effect::Wake(Stage::Infer));
}

fn requeue(next: &mut Record, held: Held, now: Timestamp, effects: &mut Vec<Effect>) {
    match held {
        Held::Assigned | Held::InProgress => enqueue(next, now, now, effects),
        Held::Evaluating(answer) => {
            next.state = State::Answered(answer);
            effects.push(Effect::Wake(Stage::Evaluate));
        }
    }
}

fn charge(next: &mut Record, attempts: Vec<Attempt>, effects: &mut Vec<Effect>) {
    for attempt in attempts {
        next.spent.calls += 1;
        next.spent.usage += attempt.usage;
        next.spent.cost_micro_usd = next.spent.cost_micro_usd.saturating_add(attempt.cost_micro_usd);
        effects.push(Effect::Count(stats::called(&attempt)));
        next.attempts.push(attempt);
    }
    let surplus = next.attempts.len().saturating_sub(MAX_ATTEMPTS_KEPT);
    next.attempts.drain(..surplus);
}

fn judge(
    next: &mut Record,
    answer: Answer,
    judgement: Judgement,
    follows: Next,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) -> Result<(), Refusal> {
    effects.push(Effect::Count(stats::judged(&judgement)));
    match follows {
        Next::Accept => settle(next, State::Completed(answer), now, effects),
        Next::Revise if next.revisions >= MAX_REVISIONS => return Err(Refusal::Exhausted),
        Next::Revise => {
            next.revisions += 1;
            next.draft = Some(answer);
            enqueue(next, now, now, effects);
        }
        Next::Escalate if next.decision.route == Route::Llm => return Err(Refusal::Exhausted),
        Next::Escalate => {
            next.decision = Decision {
                route: Route::Llm,
                reason: "the evaluator did not accept the SLM's answer".to_owned(),
            };
            next.draft = None;
            effects.push(Effect::Count(stats::escalated()));
            enqueue(next, now, now, effects);
        }
        Next::GiveUp => {
            let why =
                judgement.findings.iter().map(|f| format!("{}: {}", f.kind, f.evidence)).collect::<Vec<_>>();
            let failure =
                Failure::new("rejected", format!("no answer passed the checks ({})", why.join("; ")));
            settle(next, State::Failed(failure), now, effects);
        }
    }
    next.judgements.push(judgement);
    Ok(())
}

fn settle(next: &mut Record, state: State, now: Timestamp, effects: &mut Vec<Effect>) {
    next.settled_at = Some(now);
    next.draft = None;
    next.state = state;
    effects.push(Effect::Count(stats::settled(next)));
}

fn overdue(record: &Record, max_wait: Duration, now: Timestamp) -> Option<Failure> {
    if record.status().is_settled() {
        return None;
    }
    if record.deadline().is_some_and(|deadline| deadline <= now) {
        return Some(Failure::new(
            "timeout",
            format!(
                "not settled within {} s of its first claim; raise `timeout` or look at `ghost explain`",
                record.request.timeout
            ),
        ));
    }
    let waits = matches!(record.place(), Place::Queue { .. });
    (waits && now.since(record.queued_at) >= max_wait).then(|| {
        Failure::new(
            "expired",
            format!(
                "waited {} s, and nobody offered the capability `{}`",
                max_wait.as_secs(),
                record.capability()
            ),
        )
    })
}
