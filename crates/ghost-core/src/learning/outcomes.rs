//! Training rows: what a settled task tells of its prompt.
//!
//! A row is not stored beside its task but read from it: the record has everything, a rating that comes later included, and
//! the row goes when the task goes (RESULT_TTL, `ghost gc`), which is its bound. Prompts therefore stay where the tasks
//! are, until their owner writes rows to a file.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::broker::{Broker, Error, Query, patiently};
use crate::inference::Provider;
use crate::lifecycle::{DEFAULT_CAPABILITY, Record, State};
use crate::task::Status;
use crate::taskmaster::route::Route;

/// Records that are read at once: each may have megabytes.
const PAGE: usize = 64;

/// What came of one prompt. Of rows from elsewhere, `prompt` and `weak` are enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The task; any JSON in rows from elsewhere.
    #[serde(default)]
    pub id: Value,
    /// What was asked.
    pub prompt: String,
    /// How good the local model's answer was, 0 to 1; none where it was not asked, or nobody can say.
    #[serde(default)]
    pub weak: Option<f64>,
    /// How good the LLM's answer was, in the same way.
    #[serde(default)]
    pub strong: Option<f64>,
    /// The route that was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// What TaskMaster said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// What the candidate said that ran in shadow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// Whether the answer that settled it passed the evaluator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<bool>,
    /// How sure the evaluator was of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// What its user said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating: Option<f64>,
    /// What all calls cost, in micro-dollars.
    #[serde(default)]
    pub cost_micro_usd: u64,
}

/// What a candidate said of a task, beside the model that decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// The model that decided,
    pub live: String,
    /// and its score.
    pub live_score: f64,
    /// The candidate,
    pub candidate: String,
    /// and its score.
    pub score: f64,
}

impl Row {
    /// What this record tells; none where it tells nothing of either model.
    pub fn of(record: &Record) -> Option<Self> {
        let judgement = record.judgements.last();
        let rating = record.feedback.as_ref().map(|feedback| feedback.rating.get());
        let passed = judgement.map(|judgement| judgement.is_valid);
        // A user's word goes before the evaluator's.
        let settled = rating.or(passed.map(|passed| if passed { 1.0 } else { 0.0 }));
        let (weak, strong) = match &record.state {
            State::Completed(answer) if answer.provider == Provider::Slm => (settled, None),
            State::Completed(_) => (slm_fell_short(record).then_some(0.0), settled),
            State::Failed(_) => (slm_fell_short(record).then_some(0.0), None),
            _ => return None,
        };
        let models = record.capability() == DEFAULT_CAPABILITY;
        (models && (weak.is_some() || strong.is_some())).then(|| Self {
            id: record.key.to_string().into(),
            prompt: record.request.text(),
            weak,
            strong,
            route: Some(record.decision.route),
            score: Some(record.verdict.score),
            shadow: record.shadow.clone(),
            passed,
            confidence: judgement.map(|judgement| judgement.confidence),
            rating,
            cost_micro_usd: record.spent.cost_micro_usd,
        })
    }

    /// What a score is to foretell: how far the local model's answer would not do.
    pub fn hard(&self) -> Option<f64> {
        self.weak.map(|weak| 1.0 - weak.clamp(0.0, 1.0))
    }
}

/// Whether the local model was asked and had no good answer. One that was only busy or away tells nothing of the prompt.
fn slm_fell_short(record: &Record) -> bool {
    const FAULTS_OF_ITS_OWN: [&str; 4] = ["slm_passed", "slm_unsure", "cut_off", "refused"];
    record.attempts.iter().filter(|attempt| attempt.provider == Provider::Slm).any(|attempt| {
        match &attempt.failure {
            // It answered, and yet its answer did not settle the task.
            None => true,
            Some(failure) => FAULTS_OF_ITS_OWN.contains(&failure.code.as_str()),
        }
    })
}

/// The rows of all settled tasks that a broker keeps, oldest first, the latest [`super::MOST`] of them.
///
/// # Errors
/// [`Error`] of the store.
pub async fn all(broker: &dyn Broker) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for status in [Status::Completed, Status::Failed] {
        let mut query = Query { status: Some(status), limit: PAGE, ..Query::default() };
        loop {
            let records = patiently(|| broker.list(&query)).await?;
            rows.extend(records.iter().filter_map(|record| Some((record.settled_at, Row::of(record)?))));
            query.offset += records.len();
            if records.len() < PAGE || query.offset >= 2 * super::MOST {
                break;
            }
        }
    }
    // Lists are the newest first.
    rows.reverse();
    rows.sort_by_key(|(settled_at, _)| *settled_at);
    // What was settled while it was read may have been on two pages.
    rows.dedup_by(|(_, one), (_, other)| one.id == other.id);
    let surplus = rows.len().saturating_sub(super::MOST);
    Ok(rows.into_iter().skip(surplus).map(|(_, row)| row).collect())
}
