//! Messages between ghosts, in the seed's JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::AgentId;

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
