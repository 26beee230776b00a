//! Messages between ghosts, in the seed's JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::AgentId;

/// What an agent is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Orchestrator,
    Worker,
    Router,
    Evaluator,
    Optimizer,
}

/// How an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    Initializing,
    Idle,
    Busy,
    Error,
    Offline,
}

/// One agent of the swarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentInfo {
    pub agent_id: AgentId,
    pub role: Role,
    pub status: AgentStatus,
    #[serde(default)]
    pub capabilities: Vec<String>,
    #[serde(default)]
    pub current_load: u32,
    #[serde(default)]
    pub max_load: u32,
    #[serde(default)]
    pub metadata: Map<String, Value>,
}
