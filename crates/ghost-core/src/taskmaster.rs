//! Classifies a task in microseconds: how hard it is, how sure we are, and why.
//!
//! Pure: a request goes in, a [`Verdict`] comes out; [`route`] turns it into the decision who answers. No clock, no
//! I/O, no await. The prompt decides; what its sender wrote as `task_type` is not looked at.

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use crate::task::{Kind, TaskRequest};

pub mod calibration;
pub mod capability;
pub mod drafts;
pub mod features;
pub mod kinds;
pub mod measures;
pub mod model;
pub mod need;
pub mod quality;
pub mod route;
pub mod rows;
pub mod signs;
pub mod train;

use drafts::Answer;
use features::Features;
use model::Model;

/// How hard a task is, in the seed's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Complexity {
    /// The SLM will do.
    Simple,
    /// The SLM may do.
    Moderate,
    /// It takes the LLM.
    Complex,
}

impl Complexity {
    /// Its name in JSON, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Complexity::Simple => "simple",
            Complexity::Moderate => "moderate",
            Complexity::Complex => "complex",
        }
    }
}

/// What TaskMaster thinks of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// `score` against the two thresholds.
    pub complexity: Complexity,
    /// The calibrated probability, 0 to 1, that a Phi-3-mini class model's answer would not do.
    pub score: f64,
    /// How sure TaskMaster is of `complexity`, 0 to 1.
    pub confidence: f64,
    /// The kind of simple task that the prompt itself shows, whatever `task_type` says.
    pub kind: Option<Kind>,
    /// The strongest reasons, in words a user understands.
    pub reasons: Vec<String>,
}

/// From which score on a task is no longer simple, and from which it is complex.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    simple: f64,
    complex: f64,
}

/// Two thresholds that contradict each other or the scale.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "SIMPLE_THRESHOLD ({simple}) and COMPLEX_THRESHOLD ({complex}) must be 0 to 1, and the first not above the second"
)]
pub struct BadThresholds {
    simple: f64,
    complex: f64,
}

impl Thresholds {
    /// SIMPLE_THRESHOLD and COMPLEX_THRESHOLD: below the first the SLM answers, above the second the LLM.
    ///
    /// # Errors
    /// [`BadThresholds`] unless 0 ≤ `simple` ≤ `complex` ≤ 1.
    pub fn new(simple: f64, complex: f64) -> Result<Self, BadThresholds> {
        if 0.0 <= simple && simple <= complex && complex <= 1.0 {
            Ok(Self { simple, complex })
        } else {
            Err(BadThresholds { simple, complex })
        }
    }

    /// What a score is called.
    pub fn complexity(self, score: f64) -> Complexity {
        if score < self.simple {
            Complexity::Simple
        } else if score > self.complex {
            Complexity::Complex
        } else {
            Complexity::Moderate
        }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { simple: 0.3, complex: 0.7 }
    }
}

/// The classifier: a trained model and two thresholds.
#[derive(Clone)]
pub struct TaskMaster {
    model: Arc<Model>,
    thresholds: Thresholds,
}

impl TaskMaster {
    /// With the model that ships.
    pub fn new(thresholds: Thresholds) -> Self {
        /// Read once in a process, however many want it.
        static SHIPPED: LazyLock<Arc<Model>> = LazyLock::new(|| {
            Arc::new(Model::from_bytes(model::EMBEDDED).expect("a test reads the model that ships"))
        });
        Self { model: SHIPPED.clone(), thresholds }
    }

    /// With a model of your own.
    pub fn with_model(model: Model, thresholds: Thresholds) -> Self {
        Self { model: Arc::new(model), thresholds }
    }

    /// Its thresholds.
    pub fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// The same model with other thresholds, as an arm of an experiment has them.
    pub fn with_thresholds(&self, thresholds: Thresholds) -> Self {
        Self { thresholds, ..self.clone() }
    }

    /// What it thinks of a task.
    pub fn classify(&self, request: &TaskRequest) -> Verdict {
        let features = Features::of(request);
        let log_odds = f64::from(self.model.need.log_odds(&features));
        let score = sigmoid(log_odds);
        let kind = self.model.kinds.shown(&features);
        Verdict {
            complexity: self.thresholds.complexity(score),
            score,
            confidence: self.confidence(log_odds),
            kind,
            reasons: self.reasons(&features, score, kind),
        }
    }

    /// The probability, once drafts are seen, that the first of them would not do.
    pub fn need_after(&self, request: &TaskRequest, drafts: &[Option<Answer>]) -> f64 {
        let features = Features::of(request);
        let material = request.parameters.prompt.as_deref().unwrap_or_default();
        let prompt = [&request.description, material].join("\n");
        let views = drafts::views(&prompt, drafts, self.model.need.gain(&features));
        sigmoid(f64::from(self.model.drafts.log_odds(&features, &views)))
    }

    /// The probability that a model trained on other prompts would put this one into the same band.
    fn confidence(&self, log_odds: f64) -> f64 {
        let doubt = f64::from(self.model.need.doubt).max(f64::EPSILON);
        // A logistic curve stands in for the normal one; 1.7 brings their widths together.
        let below = |threshold: f64| sigmoid(1.7 * ((threshold / (1.0 - threshold)).ln() - log_odds) / doubt);
        let Thresholds { simple, complex } = self.thresholds;
        match self.thresholds.complexity(sigmoid(log_odds)) {
            Complexity::Simple => below(simple),
            Complexity::Moderate => below(complex) - below(simple),
            Complexity::Complex => 1.0 - below(complex),
        }
    }

    /// The three strongest: the kind, then what speaks most for the score's side.
    fn reasons(&self, features: &Features, score: f64, kind: Option<Kind>) -> Vec<String> {
        let side = if score < 0.5 { -1.0 } else { 1.0 };
        let found = self.model.need.reasons(features, side, 3);
        kind.map(words).into_iter().chain(found).take(3).map(str::to_owned).collect()
    }
}

impl std::fmt::Debug for TaskMaster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskMaster").field("thresholds", &self.thresholds).finish_non_exhaustive()
    }
}

pub(crate) fn sigmoid(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}

fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::JsonField => "asks for a single field of a JSON document",
        Kind::EmailParse => "asks for sender and subject of an e-mail",
        Kind::Classify => "asks to pick one of the given categories",
        Kind::KeyValue => "asks to turn keys and values into JSON",
        Kind::ExtractValue => "asks for one value that stands in the text",
        Kind::StatusUpdate => "asks for a line that states a status",
    }
}

#[cfg(test)]
mod tests;
