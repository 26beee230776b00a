//! What came of an experiment so far: figures for each arm, read back from counters, and what may be concluded.

use serde::{Deserialize, Serialize};

use super::sequential::{Difference, Sample, difference};
use super::{Arm, Experiment, Metric, prefix};
use crate::lifecycle::Timestamp;
use crate::stats::{Counters, Latency};
use crate::task::Status;

/// How an experiment stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// Whether tasks are dealt to its arms.
    pub running: bool,
    /// When it began, in milliseconds since 1970.
    pub started_at: Timestamp,
    /// When it ended; none while it runs.
    pub stopped_at: Option<Timestamp>,
    /// What the arms are compared by.
    pub metric: Metric,
    /// How often, at most, a difference is told that is not there, over all arms and all looks together.
    pub alpha: f64,
    /// By how much an arm may be below the control and still count as no worse.
    pub margin: f64,
    /// The control first.
    pub arms: Vec<Figures>,
}

/// What came of the tasks of one arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The arm.
    pub arm: Arm,
    /// Its tasks that were settled.
    pub tasks: i64,
    /// Of these, those with an answer,
    pub completed: i64,
    /// those without one,
    pub failed: i64,
    /// and those that were withdrawn.
    pub cancelled: i64,
    /// Answers that the SLM gave.
    pub slm_answers: i64,
    /// Answers that the LLM gave.
    pub llm_answers: i64,
    /// What all calls cost, in micro-dollars.
    pub cost_micro_usd: i64,
    /// The same for each settled task; none before the first one.
    pub cost_per_task_micro_usd: Option<f64>,
    /// What the answers saved against asking the LLM at once, in micro-dollars.
    pub saved_micro_usd: i64,
    /// From first claim to settlement, in milliseconds.
    pub latency_ms: Latency,
    /// The share of answers that passed the evaluator.
    pub verdict: Mean,
    /// What users said of the answers.
    pub rating: Mean,
    /// How it compares with the control, by the experiment's metric; none for the control itself.
    pub against_control: Option<Comparison>,
}

/// A mean of numbers from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// Of how many.
    pub n: u64,
    /// None where there are none.
    pub mean: Option<f64>,
    /// The true mean is not below this,
    pub low: f64,
    /// nor above this, at no time, but for a chance of `alpha`.
    pub high: f64,
}

/// How an arm compares with the control.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// How far it lies above.
    #[serde(flatten)]
    pub difference: Difference,
    /// What may be said of it.
    pub conclusion: Conclusion,
}

/// What may be said of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// It is better than the control.
    Better,
    /// It is worse.
    Worse,
    /// It is below the control by less than the margin, if at all.
    NoWorse,
    /// Nothing yet.
    Undecided,
}

impl Report {
    /// How this experiment stands by these counters.
    pub fn of(experiment: &Experiment, counters: &Counters) -> Self {
        let definition = &experiment.definition;
        let id = experiment.id();
        let samples: Vec<[Sample; 2]> =
            definition.arms.iter().map(|arm| samples(&id, arm, counters)).collect();
        // The metric's, of all arms.
        let of_metric = |at: usize| match definition.metric {
            Metric::Verdict => samples[at][0],
            Metric::Rating => samples[at][1],
        };
        // Each comparison may be wrong less often, so that all of them together are not wrong more often.
        let alpha = definition.alpha / (definition.arms.len().max(2) - 1) as f64;
        let compare = |at: usize| {
            let difference = difference(of_metric(0), of_metric(at), alpha);
            Comparison { difference, conclusion: Conclusion::of(&difference, definition.margin) }
        };
        let arms = definition.arms.iter().enumerate().map(|(at, arm)| {
            let [verdict, rating] = samples[at].map(|sample| Mean::of(sample, definition.alpha));
            Figures {
                verdict,
                rating,
                against_control: (at > 0).then(|| compare(at)),
                ..figures(&id, arm, counters)
            }
        });
        Self {
            name: definition.name.clone(),
            running: experiment.runs(),
            started_at: experiment.started_at,
            stopped_at: experiment.stopped_at,
            metric: definition.metric,
            alpha: definition.alpha,
            margin: definition.margin,
            arms: arms.collect(),
        }
    }
}

impl Conclusion {
    fn of(difference: &Difference, margin: f64) -> Self {
        if difference.low > 0.0 {
            Self::Better
        } else if difference.high < 0.0 {
            Self::Worse
        } else if difference.low > -margin {
            Self::NoWorse
        } else {
            Self::Undecided
        }
    }

    /// What it says, in words.
    pub fn words(self, margin: f64) -> String {
        match self {
            Self::Better => "better".to_owned(),
            Self::Worse => "worse".to_owned(),
            Self::NoWorse => format!("no worse (by {margin} at most)"),
            Self::Undecided => "undecided".to_owned(),
        }
    }
}

impl Mean {
    fn of(sample: Sample, alpha: f64) -> Self {
        let (low, high) = sample.interval(alpha);
        Self { n: sample.n, mean: sample.mean(), low, high }
    }
}

/// Verdicts and ratings of an arm.
fn samples(id: &str, arm: &Arm, counters: &Counters) -> [Sample; 2] {
    let prefix = prefix(id, &arm.name);
    let get = |name: &str| counters.get(&format!("{prefix}{name}")).copied().unwrap_or(0);
    let sample = |n: i64, sum: f64| Sample { n: u64::try_from(n).unwrap_or(0), sum };
    [
        sample(get("verdicts"), get("verdicts_passed") as f64),
        sample(get("ratings"), get("ratings_millionths") as f64 / 1e6),
    ]
}

fn figures(id: &str, arm: &Arm, counters: &Counters) -> Figures {
    let prefix = prefix(id, &arm.name);
    let get = |name: &str| counters.get(&format!("{prefix}{name}")).copied().unwrap_or(0);
    let [completed, failed, cancelled] =
        [Status::Completed, Status::Failed, Status::Cancelled].map(|status| get(status.name()));
    let tasks = completed + failed + cancelled;
    let cost_micro_usd = get("cost_micro_usd");
    let nothing = Mean::of(Sample::default(), 0.5);
    Figures {
        arm: arm.clone(),
        tasks,
        completed,
        failed,
        cancelled,
        slm_answers: get("slm"),
        llm_answers: get("llm"),
        cost_micro_usd,
        cost_per_task_micro_usd: (tasks > 0).then(|| cost_micro_usd as f64 / tasks as f64),
        saved_micro_usd: get("saved_micro_usd"),
        latency_ms: Latency::read(counters, &format!("{prefix}time")),
        verdict: nothing,
        rating: nothing,
        against_control: None,
    }
}
