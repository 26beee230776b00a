//! Decides who answers a task.

use serde::{Deserialize, Serialize};

/// Who answers a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// The local model; the LLM only if it stumbles.
    Slm,
    /// The LLM.
    Llm,
    /// The local model first, and its draft decides.
    SlmThenLlm,
}

/// A route, and why it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Who answers.
    pub route: Route,
    /// Why, in words.
    pub reason: String,
}
