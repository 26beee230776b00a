//! What is known of one task: its request, its state, its history, and what follows from them.
//!
//! Data and questions to it; what changes a record is told in [`super`], where it is stored in [`crate::broker`].

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::experiment::Assignment;
use crate::feedback::Feedback;
use crate::id::{AgentId, LeaseToken, TaskKey, Tenant};
use crate::inference::{Finish, Provider, Usage};
use crate::learning::outcomes::Shadow;
use crate::task::{Status, TaskRequest, TaskResult};
use crate::taskmaster::Verdict;
use crate::taskmaster::route::Decision;

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
    /// Its arm of an experiment, if it is part of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Assignment>,
    /// What a model of TaskMaster that runs in shadow said when the task was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
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
    /// Calls to models, oldest first, of every generation; the last [`super::MAX_ATTEMPTS_KEPT`] of them.
    pub attempts: Vec<Attempt>,
    /// What all calls took and cost, those of lost leases too.
    pub spent: Spent,
    /// What the evaluator said of each answer of this generation, oldest first.
    pub judgements: Vec<Judgement>,
    /// The answer that the last judgement sent back, for the model to revise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Answer>,
    /// What its user said of the answer last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
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
    /// Calls to tools that the model asks for, in the provider's own form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<Value>,
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
            assignment: None,
            shadow: None,
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
            feedback: None,
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
                if !answer.tool_calls.is_empty() {
                    result.insert("tool_calls".to_owned(), Value::from(answer.tool_calls.clone()));
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
            "experiment": self.assignment.as_ref().map(Assignment::name),
            "arm": self.assignment.as_ref().map(|assignment| &assignment.arm.name),
            "feedback": self.feedback,
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
