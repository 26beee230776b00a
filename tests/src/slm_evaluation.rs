//! Measures the tiny SLM as users meet it: through TaskMaster, the hybrid engine and the formal checks.
//!
//! A task counts as answered only if it would have been settled with the SLM's answer: its kind was seen, the route led
//! to the SLM, the answer was sure enough and passed the checks. Everything else would have gone up to the LLM.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ghost_core::checks;
use ghost_core::id::{TaskId, TaskKey};
use ghost_core::inference::hybrid::{self, Engine, Job, Outcome, Slm};
use ghost_core::inference::pricing::Pricing;
use ghost_core::lifecycle::{Answer, Evaluation, Record, Timestamp};
use ghost_core::task::{Kind, TaskRequest};
use ghost_core::taskmaster::TaskMaster;
use ghost_core::taskmaster::capability::Capability;
use ghost_core::taskmaster::route::{self, Route};
use ghost_llama::Llama;
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// The precision that each kind should reach.
pub const PRECISION_GOAL: f64 = 0.97;
/// The share that each kind should answer.
pub const COVERAGE_GOAL: f64 = 0.90;
/// The most prompts beyond the model that may end as its answer, as a share.
pub const LEAK_GOAL: f64 = 0.01;

/// A task with the answer that it should get.
#[derive(Debug, Clone, Deserialize)]
pub struct Row {
    /// What is asked; its `task_type` is the true kind.
    pub task: TaskRequest,
    /// The right answer.
    pub expected: String,
}

/// Reads JSON lines.
///
/// # Panics
/// Where the file cannot be read: an evaluation without its data has nothing to say.
pub fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Vec<T> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let row =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", path.display()));
    text.lines().filter(|line| !line.trim().is_empty()).map(row).collect()
}

/// The SLM with everything that stands around it in the product, and no LLM behind it.
pub struct Subject {
    taskmaster: TaskMaster,
    engine: Engine,
}

impl Subject {
    /// Loads a model and its capability table.
    ///
    /// # Panics
    /// Where either cannot be loaded.
    pub fn load(gguf: &Path, table: &str) -> Self {
        let backend = Llama::load(ghost_llama::Config::new(gguf)).expect("the model loads");
        let capability = Capability::parse(table).expect("a capability table");
        let slm = Slm { backend: Arc::new(backend), capability };
        let engine = Engine::build(hybrid::Config::default(), Some(slm), None, Pricing::builtin());
        Self { taskmaster: TaskMaster::new(Default::default()), engine }
    }

    /// The SLM's answer, where it would have settled the task.
    pub async fn answer(&self, task: &TaskRequest) -> Option<Answer> {
        let verdict = self.taskmaster.classify(task);
        let decision = route::decide(task, &verdict, &self.engine.available());
        if decision.route == Route::Llm {
            return None;
        }
        let job = Job {
            request: task.clone(),
            kind: verdict.kind,
            decision: decision.clone(),
            arm: None,
            critique: Vec::new(),
            previous: None,
            timeout: Duration::from_secs(60),
            cancel: CancellationToken::new(),
        };
        let Outcome::Answered { answer, .. } = self.engine.infer(job, None).await else { return None };
        let key = TaskKey::lone(TaskId::generate());
        let record = Record::new(key, task.clone(), verdict, decision, Timestamp::default());
        checks::judge(&record, &answer, Evaluation::Full).is_valid.then_some(answer)
    }

    /// Measures the held-out tasks and the prompts beyond the model.
    pub async fn measure(&self, held_out: &[Row], beyond: &[TaskRequest]) -> Report {
        let mut report = Report::default();
        for kind in Kind::ALL {
            let mut tally = Tally { kind: kind.name(), asked: 0, answered: 0, right: 0 };
            for row in held_out.iter().filter(|row| row.task.task_type == kind.name()) {
                tally.asked += 1;
                match self.answer(&row.task).await {
                    Some(answer) if right(kind, &row.expected, &answer.text) => {
                        tally.answered += 1;
                        tally.right += 1;
                    }
                    Some(answer) => {
                        tally.answered += 1;
                        report.wrong.push(Wrong {
                            task: row.task.clone(),
                            expected: Some(row.expected.clone()),
                            answer,
                        });
                    }
                    None => {}
                }
            }
            report.kinds.push(tally);
        }
        for task in beyond {
            report.beyond += 1;
            if let Some(answer) = self.answer(task).await {
                report.leaked += 1;
                report.wrong.push(Wrong { task: task.clone(), expected: None, answer });
            }
        }
        report
    }
}

/// Objects are equal whatever the order of their members; everything else letter by letter.
fn right(kind: Kind, expected: &str, given: &str) -> bool {
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    match kind {
        Kind::EmailParse | Kind::KeyValue => json(given).is_some() && json(given) == json(expected),
        _ => given == expected,
    }
}

/// What came out.
#[derive(Debug, Default)]
pub struct Report {
    /// One for each kind.
    pub kinds: Vec<Tally>,
    /// Prompts beyond the model.
    pub beyond: usize,
    /// Of those, the ones that ended as its answer.
    pub leaked: usize,
    /// Every wrong answer that was given.
    pub wrong: Vec<Wrong>,
}

/// One kind's count.
#[derive(Debug)]
pub struct Tally {
    /// The kind.
    pub kind: &'static str,
    /// How many tasks there were.
    pub asked: usize,
    /// How many got an answer of the SLM.
    pub answered: usize,
    /// How many of those were right.
    pub right: usize,
}

/// A wrong answer.
#[derive(Debug)]
pub struct Wrong {
    /// What was asked.
    pub task: TaskRequest,
    /// What was right; nothing where the prompt is beyond the model.
    pub expected: Option<String>,
    /// What the SLM said.
    pub answer: Answer,
}

impl Tally {
    /// The share of right answers among those given.
    pub fn precision(&self) -> f64 {
        share(self.right, self.answered)
    }

    /// The share of tasks that got an answer.
    pub fn coverage(&self) -> f64 {
        share(self.answered, self.asked)
    }
}

impl Report {
    /// Whether every goal is reached.
    pub fn reaches_its_goals(&self) -> bool {
        let good = |tally: &Tally| tally.precision() >= PRECISION_GOAL && tally.coverage() >= COVERAGE_GOAL;
        self.kinds.iter().all(good) && share(self.leaked, self.beyond) <= LEAK_GOAL
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Wilson's 95 % interval of a share.
fn interval(part: usize, whole: usize) -> (f64, f64) {
    if whole == 0 {
        return (0.0, 1.0);
    }
    let (n, p, z) = (whole as f64, share(part, whole), 1.96);
    let middle = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    ((middle - half) / scale, (middle + half) / scale)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:14} {:>6} {:>9} {:>10}  {:13} {:>9}  95 % interval",
            "kind", "asked", "answered", "precision", "95 % interval", "coverage"
        )?;
        for t in &self.kinds {
            let (least, most) = interval(t.right, t.answered);
            let (fewest, all) = interval(t.answered, t.asked);
            writeln!(
                f,
                "{:14} {:>6} {:>9} {:>9.1}%  {:5.1} – {:5.1} {:>8.1}%  {:5.1} – {:5.1}",
                t.kind,
                t.asked,
                t.answered,
                100.0 * t.precision(),
                100.0 * least,
                100.0 * most,
                100.0 * t.coverage(),
                100.0 * fewest,
                100.0 * all
            )?;
        }
        let (_, most) = interval(self.leaked, self.beyond);
        writeln!(
            f,
            "beyond the model: {} of {} ended as its answer (at most {:.1} % with 95 % confidence)",
            self.leaked,
            self.beyond,
            100.0 * most
        )
    }
}
