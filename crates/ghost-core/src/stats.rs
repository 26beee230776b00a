//! Counts what happened: tasks, calls, tokens, money, time.
//!
//! Everything is a named counter that only goes up, so that stores can add ([`Count`]) and merge without knowing what
//! a counter means; [`Statistics`] reads the meaning back. Latencies are counters too, one for each bucket of a
//! histogram.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::feedback::Feedback;
use crate::inference::Provider;
use crate::lifecycle::{Attempt, DELIVERIES_EXHAUSTED, Judgement, Record, State, saved_micro_usd};
use crate::task::Status;

#[cfg(test)]
mod tests;

/// Additions to counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Count(pub Vec<(String, i64)>);

/// The counters of a store.
pub type Counters = BTreeMap<String, i64>;

fn one(name: &str) -> Count {
    Count(vec![(name.to_owned(), 1)])
}

/// A task was accepted.
pub fn submitted() -> Count {
    one("tasks.submitted")
}

/// A failed task gets another generation.
pub fn retried() -> Count {
    one("tasks.retried")
}

/// A lease ended without a word of its holder.
pub fn redelivered() -> Count {
    one("tasks.redelivered")
}

/// The evaluator sent a task up to the LLM.
pub fn escalated() -> Count {
    one("evaluations.escalated")
}

/// The evaluator judged an answer.
pub fn judged(judgement: &Judgement) -> Count {
    one(if judgement.is_valid { "evaluations.valid" } else { "evaluations.invalid" })
}

/// A model was called.
pub fn called(attempt: &Attempt) -> Count {
    let provider = attempt.provider.name();
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let usage = attempt.usage;
    let input = usage.input_tokens
        + usage.cache_read_tokens
        + usage.cache_write_5m_tokens
        + usage.cache_write_1h_tokens;
    let mut counts = vec![
        (format!("{provider}.calls"), 1),
        (format!("{provider}.input_tokens"), signed(input)),
        (format!("{provider}.output_tokens"), signed(usage.output_tokens)),
        (format!("{provider}.cost_micro_usd"), signed(attempt.cost_micro_usd)),
        (bucket(attempt.provider.name(), attempt.duration_ms), 1),
    ];
    if attempt.failure.is_some() {
        counts.push((format!("{provider}.failures"), 1));
    }
    Count(counts)
}

/// A task was settled.
pub fn settled(record: &Record) -> Count {
    let mut counts = vec![
        (format!("tasks.{}", record.status().name()), 1),
        (format!("routes.{}", record.decision.route.name()), 1),
    ];
    if matches!(&record.state, State::Failed(failure) if failure.code == DELIVERIES_EXHAUSTED) {
        counts.push(("tasks.dead_letters".to_owned(), 1));
    }
    if let State::Completed(answer) = &record.state {
        counts.push((format!("{}.answers", answer.provider.name()), 1));
        counts.push(("saved_micro_usd".to_owned(), saved_micro_usd(answer, record.spent)));
    }
    let mut took = |of, time: Duration| {
        counts.push((bucket(of, u64::try_from(time.as_millis()).unwrap_or(u64::MAX)), 1));
    };
    if let (Some(first), Some(last)) = (record.first_claimed_at, record.settled_at) {
        took(RUN, last.since(first));
        // Of a task that was retried nobody knows when it was queued anew.
        if record.generation == 0 {
            took(DISPATCH, first.since(record.submitted_at));
        }
    }
    Count(counts)
}

/// A call was charged to a task that was answered already: it saved that much less.
pub fn spent_late(cost_micro_usd: u64) -> Count {
    Count(vec![(
        "saved_micro_usd".to_owned(),
        i64::try_from(cost_micro_usd).unwrap_or(i64::MAX).saturating_neg(),
    )])
}

/// An answer was rated, perhaps not for the first time.
pub fn rated(before: Option<&Feedback>, now: &Feedback) -> Count {
    let millionths = |feedback: &Feedback| millionths(feedback.rating.get());
    Count(vec![
        ("feedback.ratings".to_owned(), i64::from(before.is_none())),
        ("feedback.millionths".to_owned(), millionths(now) - before.map_or(0, millionths)),
    ])
}

/// A share as a counter holds it.
pub(crate) fn millionths(share: f64) -> i64 {
    (share * 1e6).round() as i64
}

/// The latencies of tasks from their first claim to their settlement, as [`latencies`] names them.
pub const RUN: &str = "tasks";
/// Those from their acceptance to their first claim.
pub const DISPATCH: &str = "dispatch";

/// Histograms of 1 ms to a day with two significant figures.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 86_400_000, 2).expect("constant bounds that are valid")
}

/// The counter of the histogram bucket that `ms` falls into.
pub(crate) fn bucket(of: &str, ms: u64) -> String {
    // Made once: it is 20 KB, and every call to a model and every settlement asks.
    static BUCKETS: LazyLock<Histogram<u64>> = LazyLock::new(histogram);
    format!("{of}.latency_ms.{}", BUCKETS.lowest_equivalent(ms.clamp(1, 86_400_000)))
}

/// What the counters mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Tasks by what became of them.
    pub tasks: Tasks,
    /// Calls of the SLM.
    pub slm: ProviderStatistics,
    /// Calls of the LLM.
    pub llm: ProviderStatistics,
    /// The share of all answers that the SLM gave, 0 to 1; none before the first answer.
    pub slm_share: Option<f64>,
    /// From acceptance to first claim, in milliseconds, of the settled tasks that were never retried.
    #[serde(default)]
    pub dispatch_ms: Latency,
    /// From first claim to settlement, in milliseconds.
    pub latency_ms: Latency,
    /// What all calls cost, in micro-dollars.
    pub cost_micro_usd: i64,
    /// What the answers saved against asking the LLM at once, in micro-dollars.
    pub saved_micro_usd: i64,
    /// `cost_micro_usd` for each settled task; none before the first one.
    pub cost_per_task_micro_usd: Option<f64>,
    /// What users said of the answers.
    #[serde(default)]
    pub feedback: Ratings,
}

/// What users said of answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Ratings {
    /// How many were rated.
    pub ratings: i64,
    /// The mean, 0 to 1; none before the first one.
    pub mean: Option<f64>,
}

/// Tasks by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tasks {
    /// Accepted.
    pub submitted: i64,
    /// Answered.
    pub completed: i64,
    /// Given up.
    pub failed: i64,
    /// Withdrawn.
    pub cancelled: i64,
    /// Taken up again after they had failed.
    pub retried: i64,
    /// Handed out again after a holder vanished.
    pub redelivered: i64,
}

/// Calls of one sort of model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ProviderStatistics {
    /// All of them.
    pub calls: i64,
    /// Those without an answer.
    pub failures: i64,
    /// Answers that settled a task.
    pub answers: i64,
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// In micro-dollars.
    pub cost_micro_usd: i64,
    /// Of a call, in milliseconds.
    pub latency_ms: Latency,
}

/// Percentiles, in milliseconds; none before the first measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Half are faster.
    pub p50: Option<u64>,
    /// 95 of 100 are faster.
    pub p95: Option<u64>,
    /// 99 of 100 are faster.
    pub p99: Option<u64>,
}

impl From<&Counters> for Statistics {
    fn from(counters: &Counters) -> Self {
        let get = |name: &str| counters.get(name).copied().unwrap_or(0);
        let status = |status: Status| get(&format!("tasks.{}", status.name()));
        let slm = ProviderStatistics::read(counters, Provider::Slm);
        let llm = ProviderStatistics::read(counters, Provider::Llm);
        let tasks = Tasks {
            submitted: get("tasks.submitted"),
            completed: status(Status::Completed),
            failed: status(Status::Failed),
            cancelled: status(Status::Cancelled),
            retried: get("tasks.retried"),
            redelivered: get("tasks.redelivered"),
        };
        let cost_micro_usd = slm.cost_micro_usd + llm.cost_micro_usd;
        Self {
            tasks,
            slm,
            llm,
            slm_share: share(slm.answers, slm.answers + llm.answers),
            dispatch_ms: Latency::read(counters, DISPATCH),
            latency_ms: Latency::read(counters, RUN),
            cost_micro_usd,
            saved_micro_usd: get("saved_micro_usd"),
            cost_per_task_micro_usd: share(cost_micro_usd, tasks.completed + tasks.failed + tasks.cancelled),
            feedback: Ratings {
                ratings: get("feedback.ratings"),
                mean: share(get("feedback.millionths"), get("feedback.ratings")).map(|mean| mean / 1e6),
            },
        }
    }
}

fn share(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl ProviderStatistics {
    fn read(counters: &Counters, provider: Provider) -> Self {
        let get = |name: &str| counters.get(&format!("{}.{name}", provider.name())).copied().unwrap_or(0);
        Self {
            calls: get("calls"),
            failures: get("failures"),
            answers: get("answers"),
            input_tokens: get("input_tokens"),
            output_tokens: get("output_tokens"),
            cost_micro_usd: get("cost_micro_usd"),
            latency_ms: Latency::read(counters, provider.name()),
        }
    }
}

impl Latency {
    pub(crate) fn read(counters: &Counters, of: &str) -> Self {
        let mut histogram = histogram();
        for (ms, count) in latencies(counters, of) {
            histogram.saturating_record_n(ms, count);
        }
        let at = |quantile| (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile));
        Self { p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }
}

/// What was counted of these latencies: milliseconds, at most 1 % less than they were, and how many took so long.
pub fn latencies(counters: &Counters, of: &str) -> Vec<(u64, u64)> {
    let prefix = format!("{of}.latency_ms.");
    let buckets = counters.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
    buckets
        .map(|(name, &count)| (name[prefix.len()..].parse().unwrap_or(0), u64::try_from(count).unwrap_or(0)))
        .collect()
}
