//! Messages between agents, in the seed's JSON.
//!
//! Field names and enum values are those of the Python original, so that its clients are understood; fields that we do
//! not know are ignored, as it did. Tasks and their results are in [`crate::task`].

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::id::{AgentId, MessageId};
use crate::lifecycle::Judgement;

/// One message from agent to agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its name; a repeat carries the same one.
    pub id: MessageId,
    /// What sort of message it is. Open, since agents of your own may have sorts of their own.
    #[serde(rename = "type")]
    pub sort: String,
    /// Who sent it.
    pub sender_id: AgentId,
    /// Whom it is for; everybody, where absent.
    #[serde(default)]
    pub recipient_id: Option<AgentId>,
    /// When it was sent, where its sender says so.
    #[serde(default)]
    pub timestamp: Option<Moment>,
    /// The message that this one answers.
    #[serde(default)]
    pub correlation_id: Option<MessageId>,
    /// What it says.
    #[serde(default)]
    pub payload: Map<String, Value>,
    /// Whatever else travels with it.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// A moment as its sender writes it, echoed unchanged: agents' clocks decide nothing here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Moment {
    /// A date and time, as in `2026-11-25T09:00:00Z`.
    Text(String),
    /// Seconds since 1970.
    Seconds(Number),
}

/// What an evaluator says of an answer, in the seed's words; [`Judgement`] says it in ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationResult {
    /// Whether the answer will do.
    pub is_valid: bool,
    /// How sure the evaluator is that the answer is good, 0 to 1.
    pub confidence: f64,
    /// What is wrong with it.
    #[serde(default)]
    pub issues: Vec<String>,
    /// What would be right.
    #[serde(default)]
    pub suggestions: Vec<String>,
    /// Whatever else there is to say.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

impl From<&Judgement> for EvaluationResult {
    fn from(judgement: &Judgement) -> Self {
        let findings = &judgement.findings;
        Self {
            is_valid: judgement.is_valid,
            confidence: judgement.confidence,
            issues: findings
                .iter()
                .map(|finding| format!("{}: {}", finding.kind, finding.evidence))
                .collect(),
            suggestions: findings.iter().filter_map(|finding| finding.suggested_edit.clone()).collect(),
            metadata: Map::new(),
        }
    }
}

/// Documents that were found for a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RagContext {
    /// The question.
    pub query: String,
    /// What was found, best first, each as its source keeps it.
    #[serde(default)]
    pub retrieved_documents: Vec<Value>,
    /// How well each of them fits, in the same order; more is better.
    #[serde(default)]
    pub relevance_scores: Vec<f64>,
    /// Whatever else there is to say.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// What an agent is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes tasks in, classifies and dispatches them.
    Orchestrator,
    /// Has tasks answered.
    Worker,
    /// Decides who answers.
    Router,
    /// Judges answers.
    Evaluator,
    /// Improves the others.
    Optimizer,
}

/// How an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// Not ready yet.
    Initializing,
    /// Has nothing to do.
    Idle,
    /// Has something to do.
    Busy,
    /// Cannot work.
    Error,
    /// Gone.
    Offline,
}

/// One agent of the swarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentInfo {
    /// Its name.
    pub agent_id: AgentId,
    /// What it is for.
    pub role: Role,
    /// How it is.
    pub status: AgentStatus,
    /// What tasks may ask of it.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// How many tasks it has.
    #[serde(default)]
    pub current_load: u32,
    /// How many tasks it can have.
    #[serde(default)]
    pub max_load: u32,
    /// Whatever else it says of itself.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{Evaluation, Finding, Severity};

    #[test]
    fn a_judgement_reads_as_the_seeds_evaluation_result() {
        let finding = |kind: &str, edit: Option<&str>| Finding {
            kind: kind.to_owned(),
            span: None,
            evidence: "2 + 2 is 4, not 5".to_owned(),
            suggested_edit: edit.map(str::to_owned),
            severity: Severity::Reject,
        };
        let findings = vec![finding("arithmetic", Some("4")), finding("schema", None)];
        let judgement =
            Judgement { is_valid: false, confidence: 0.25, evaluation: Evaluation::Full, findings };
        let result = EvaluationResult::from(&judgement);
        assert_eq!(result.issues, ["arithmetic: 2 + 2 is 4, not 5", "schema: 2 + 2 is 4, not 5"]);
        assert_eq!(result.suggestions, ["4"]);
    }

    #[test]
    fn a_message_without_its_name_or_its_sender_is_refused() {
        for json in [
            r#"{"type": "heartbeat", "sender_id": "w"}"#,
            r#"{"id": "1", "type": "heartbeat"}"#,
            r#"{"id": "", "type": "heartbeat", "sender_id": "w"}"#,
            r#"{"id": "1", "type": "heartbeat", "sender_id": "w", "timestamp": {}}"#,
        ] {
            assert!(serde_json::from_str::<Message>(json).is_err(), "{json}");
        }
    }
}
