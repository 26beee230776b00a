//! Classifies a task in microseconds: how hard it is, how sure we are, and why.
//!
//! Pure: a request goes in, a [`Verdict`] comes out; [`route`] turns it into the decision who answers. No clock, no
//! I/O, no await.

use serde::{Deserialize, Serialize};

use crate::task::Kind;

pub mod capability;
pub mod features;
pub mod model;
pub mod route;

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

// TEMPORARY STAND-IN, until the taskmaster branch is merged.
#[derive(Debug, Clone, Copy)]
pub struct TaskMaster;
impl TaskMaster {
    pub fn classify(&self, request: &crate::task::TaskRequest) -> Verdict {
        Verdict { complexity: Complexity::Simple, score: 0.1, confidence: 0.9, kind: Kind::from_name(&request.task_type), reasons: Vec::new() }
    }
}
impl Complexity {
    pub fn name(self) -> &'static str { match self { Complexity::Simple => "simple", Complexity::Moderate => "moderate", Complexity::Complex => "complex" } }
}
