//! Experiments: tasks are dealt to arms that answer them in different ways, and the arms are compared as they run.
//!
//! What runs stands in the broker ([`store`]), so every orchestrator deals alike: by a hash of the experiment and of the
//! task's session or user, so that one user stays in one arm. The [`Assignment`] becomes part of the task's record, is
//! applied where its route is decided and where its model is asked, and is counted in the very commit that settles the
//! task ([`count`]). [`report`] reads the counters back; [`sequential`] says what may be concluded from them, at any time.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::id::TaskKey;
use crate::lifecycle::{DEFAULT_CAPABILITY, Record, State, Timestamp, saved_micro_usd};
use crate::stats::{self, Count};
use crate::task::TaskRequest;
use crate::taskmaster::Thresholds;

pub mod report;
pub mod sequential;
pub mod store;
#[cfg(test)]
mod tests;

pub use report::Report;
pub use store::Board;

/// The most bytes that one definition may have as JSON: eight arms with two long prompts each, every character escaped.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;
/// The most arms that one experiment may have.
pub const MAX_ARMS: usize = 8;
/// The most bytes that a prompt of an arm may have: each task carries those of its arm.
pub const MAX_PROMPT_BYTES: usize = 8 << 10;
/// The most that an arm may weigh.
pub const MAX_WEIGHT: u32 = 10_000;
/// Where a task names its session or its user: first one that is there, in `context`, then in `parameters`.
pub const UNITS: [&str; 4] = ["session_id", "session", "user_id", "user"];

/// An experiment as whoever starts it describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Its name: 1 to 64 letters, digits, dashes and underscores.
    pub name: String,
    /// Two to eight ways to answer. The others are compared with the first, the control.
    pub arms: Vec<Arm>,
    /// What they are compared by.
    #[serde(default)]
    pub metric: Metric,
    /// How often, at most, a difference may be told that is not there.
    #[serde(default = "five_percent")]
    pub alpha: f64,
    /// By how much of the scale (0 to 1) an arm may be below the control and still count as no worse.
    #[serde(default = "five_percent")]
    pub margin: f64,
}

fn five_percent() -> f64 {
    0.05
}

/// One way to answer. What it does not set is as it is for everybody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Its name, of the same form as an experiment's.
    pub name: String,
    /// Its share of the tasks, against the weights of the others.
    #[serde(default = "one")]
    pub weight: u32,
    /// Instead of SIMPLE_THRESHOLD; both thresholds or neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simple_threshold: Option<f64>,
    /// Instead of COMPLEX_THRESHOLD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complex_threshold: Option<f64>,
    /// The LLM's model, for tasks that name none themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Goes before what models are told anyway. A local model that was trained on a few kinds is told nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// Goes before the task's own words, for the same models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_prefix: Option<String>,
}

fn one() -> u32 {
    1
}

/// What arms are compared by, from 0 to 1 for each task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Whether its answer passed the evaluator; a failed task did not. A task that nobody judged does not count.
    #[default]
    Verdict,
    /// How its user rated the answer. A task that nobody rated does not count.
    Rating,
}

impl Metric {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Verdict => "verdict",
            Metric::Rating => "rating",
        }
    }
}

/// An experiment in the broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// As it was described.
    pub definition: Definition,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; none while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
}

/// The arm of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// [`Experiment::id`].
    pub experiment: String,
    /// How the task is to be answered.
    pub arm: Arm,
}

/// Why a definition was refused, or an experiment neither started nor stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More bytes than [`MAX_REQUEST_BYTES`].
    #[error("an experiment has at most {MAX_REQUEST_BYTES} bytes, not {0}")]
    TooLarge(usize),
    /// Not JSON, or not the JSON of an experiment.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A field whose value makes no sense.
    #[error("{field}: {problem}")]
    Field {
        /// The field's path, as in `arms[1].weight`.
        field: String,
        /// What would be right.
        problem: String,
    },
    /// Two at a time could not be told apart.
    #[error("the experiment {0} runs; stop it first, since one runs at a time")]
    Running(String),
    /// The name belongs to another one.
    #[error("there was another experiment {0}; choose another name")]
    Taken(String),
    /// There is none of this name.
    #[error("there is no experiment {0}")]
    Unknown(String),
    /// The store did not do it; the same again is safe.
    #[error(transparent)]
    Broker(#[from] crate::broker::Error),
}

fn field(field: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Field { field: field.into(), problem: problem.into() }
}

impl Definition {
    /// Reads a definition from JSON and checks every field.
    ///
    /// # Errors
    /// [`Error`] names the field and what would be right.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        if json.len() > MAX_REQUEST_BYTES {
            return Err(Error::TooLarge(json.len()));
        }
        // Serde would take an array of values for the fields in their order.
        if json.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
            let words = "an experiment is a JSON object: {\"name\": …, \"arms\": [{\"name\": …}, …]}";
            return Err(<serde_json::Error as serde::de::Error>::custom(words).into());
        }
        let definition: Self = serde_json::from_slice(json)?;
        definition.check()?;
        Ok(definition)
    }

    /// Checks what the types alone cannot say.
    ///
    /// # Errors
    /// [`Error::Field`] for the first field that makes no sense.
    pub fn check(&self) -> Result<(), Error> {
        named(&self.name).map_err(|problem| field("name", problem))?;
        if !(2..=MAX_ARMS).contains(&self.arms.len()) {
            return Err(field(
                "arms",
                format!("there are 2 to {MAX_ARMS} of them, the first is the control"),
            ));
        }
        for (at, arm) in self.arms.iter().enumerate() {
            let of = |name: &str| format!("arms[{at}].{name}");
            named(&arm.name).map_err(|problem| field(of("name"), problem))?;
            if self.arms[..at].iter().any(|other| other.name == arm.name) {
                return Err(field(of("name"), format!("another arm is called {} too", arm.name)));
            }
            if !(1..=MAX_WEIGHT).contains(&arm.weight) {
                return Err(field(of("weight"), format!("must be 1 to {MAX_WEIGHT}")));
            }
            match (arm.simple_threshold, arm.complex_threshold) {
                (None, None) => {}
                (Some(simple), Some(complex)) if Thresholds::new(simple, complex).is_ok() => {}
                (Some(_), Some(_)) => {
                    let words = "must be 0 to 1, and simple_threshold not above complex_threshold";
                    return Err(field(of("simple_threshold"), words));
                }
                _ => return Err(field(of("simple_threshold"), "set both thresholds or neither")),
            }
            if arm.model.as_ref().is_some_and(|model| model.trim().is_empty() || model.len() > 256) {
                return Err(field(of("model"), "has 1 to 256 bytes"));
            }
            for (name, prompt) in
                [("system_prompt", &arm.system_prompt), ("prompt_prefix", &arm.prompt_prefix)]
            {
                if prompt
                    .as_ref()
                    .is_some_and(|prompt| prompt.trim().is_empty() || prompt.len() > MAX_PROMPT_BYTES)
                {
                    return Err(field(
                        of(name),
                        format!("says something, in at most {MAX_PROMPT_BYTES} bytes"),
                    ));
                }
            }
        }
        if !(self.alpha > 0.0 && self.alpha <= 0.5) {
            return Err(field("alpha", "must be above 0 and at most 0.5; 0.05 is usual"));
        }
        if !(0.0..=1.0).contains(&self.margin) {
            return Err(field("margin", "must be 0 to 1"));
        }
        Ok(())
    }
}

/// Names are parts of counters' names, and of what people type.
fn named(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=64).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(format!("has 1 to 64 letters, digits, dashes or underscores, not {name:?}"))
}

impl Arm {
    /// Where tasks of this arm stop to be simple and begin to be complex, if it says so.
    pub fn thresholds(&self) -> Option<Thresholds> {
        // What was checked makes sense.
        self.simple_threshold
            .zip(self.complex_threshold)
            .and_then(|(simple, complex)| Thresholds::new(simple, complex).ok())
    }
}

impl Experiment {
    /// Tells it from one of the same name that was forgotten.
    pub fn id(&self) -> String {
        format!("{}@{}", self.definition.name, self.started_at.0)
    }

    /// Whether tasks are dealt to its arms.
    pub fn runs(&self) -> bool {
        self.stopped_at.is_none()
    }

    /// The arm of a task; none for tasks that other ghosts than the models do.
    pub fn assign(&self, key: &TaskKey, request: &TaskRequest) -> Option<Assignment> {
        let capability = request.parameters.capability.as_deref();
        if capability.is_some_and(|capability| capability != DEFAULT_CAPABILITY) {
            return None;
        }
        let id = self.id();
        let digest = Sha256::digest(format!("{id}\n{}", unit(key, request)).as_bytes());
        let point = u64::from_be_bytes(std::array::from_fn(|at| digest[at]));
        let arms = &self.definition.arms;
        let total: u64 = arms.iter().map(|arm| u64::from(arm.weight)).sum();
        // A share of 2^64, without the bias of a remainder.
        let mut place = u64::try_from((u128::from(point) * u128::from(total)) >> 64).unwrap_or(0);
        for arm in arms {
            match place.checked_sub(arm.weight.into()) {
                Some(rest) => place = rest,
                None => return Some(Assignment { experiment: id, arm: arm.clone() }),
            }
        }
        None
    }
}

impl Assignment {
    /// The experiment's name.
    pub fn name(&self) -> &str {
        self.experiment.split('@').next().unwrap_or_default()
    }
}

/// What stays in one arm: a session or a user of a tenant, else the task by itself.
fn unit(key: &TaskKey, request: &TaskRequest) -> String {
    let fields = [&request.context, &request.parameters.extra];
    let named = fields.iter().find_map(|fields| {
        UNITS.iter().find_map(|name| match fields.get(*name)? {
            Value::String(text) if !text.is_empty() => Some(format!("{name}\n{text}")),
            Value::Number(number) => Some(format!("{name}\n{number}")),
            _ => None,
        })
    });
    named.map_or_else(|| format!("task\n{key}"), |named| format!("{}\n{named}", request.tenant()))
}

/// What a change of a record adds to the counters of its arm: whatever it tells now, less what it told before. So a
/// rating that comes late, a late bill and a task that is taken up again are right too, and all of it is written once,
/// with the change itself.
pub(crate) fn count(before: &Record, after: &Record) -> Option<Count> {
    let assignment = after.assignment.as_ref()?;
    let prefix = prefix(&assignment.experiment, &assignment.arm.name);
    let mut counts = told(after);
    for (name, n) in told(before) {
        match counts.iter_mut().find(|(of, _)| *of == name) {
            Some((_, sum)) => *sum -= n,
            None => counts.push((name, -n)),
        }
    }
    counts.retain(|(_, n)| *n != 0);
    for (name, _) in &mut counts {
        name.insert_str(0, &prefix);
    }
    (!counts.is_empty()).then_some(Count(counts))
}

/// What the counters of an arm begin with.
fn prefix(experiment: &str, arm: &str) -> String {
    format!("experiments.{experiment}.{arm}.")
}

/// What a settled record tells.
pub(crate) fn told(record: &Record) -> Vec<(String, i64)> {
    if !record.status().is_settled() {
        return Vec::new();
    }
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let mut counts = vec![
        (record.status().name().to_owned(), 1),
        ("cost_micro_usd".to_owned(), signed(record.spent.cost_micro_usd)),
    ];
    if let State::Completed(answer) = &record.state {
        counts.push((answer.provider.name().to_owned(), 1));
        counts.push(("saved_micro_usd".to_owned(), saved_micro_usd(answer, record.spent)));
    }
    if let Some((first, last)) = record.first_claimed_at.zip(record.settled_at) {
        let ms = u64::try_from(last.since(first).as_millis()).unwrap_or(u64::MAX);
        // The prefix of the arm comes before it, as before the others.
        counts.push((stats::bucket("time", ms), 1));
    }
    if let Some(passed) = passed(record) {
        counts.push(("verdicts".to_owned(), 1));
        counts.push(("verdicts_passed".to_owned(), i64::from(passed)));
    }
    if let Some(feedback) = &record.feedback {
        counts.push(("ratings".to_owned(), 1));
        counts.push(("ratings_millionths".to_owned(), stats::millionths(feedback.rating.get())));
    }
    counts
}

/// Whether the task ended with an answer that passed the evaluator; none where nobody judged it.
fn passed(record: &Record) -> Option<bool> {
    match &record.state {
        State::Failed(_) => Some(false),
        State::Completed(_) => record.judgements.last().map(|judgement| judgement.is_valid),
        _ => None,
    }
}
