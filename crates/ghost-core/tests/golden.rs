//! The seed's JSON is understood, and written back under the same names: one file in `golden/` for each type.

use ghost_core::messages::{AgentInfo, AgentStatus, EvaluationResult, Message, RagContext, Role};
use ghost_core::task::{Status, TaskRequest, TaskResult};
use ghost_core::taskmaster::Complexity;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a type from its golden file and writes it back; both must be the same JSON.
fn survives<T: DeserializeOwned + Serialize>(golden: &str) -> T {
    let value: T = serde_json::from_str(golden).expect("the seed's JSON is understood");
    let written = serde_json::to_value(&value).expect("every message is JSON");
    let read: Value = serde_json::from_str(golden).expect("the file is JSON");
    assert_eq!(written, read);
    value
}

fn same_names<T: Copy + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    values: &[T],
    names: &[&str],
) {
    for (value, name) in values.iter().zip(names) {
        assert_eq!(serde_json::to_value(value).expect("a name"), *name);
        let read: T = serde_json::from_value(Value::from(*name)).expect("a value");
        assert_eq!(read, *value);
    }
    assert_eq!(values.len(), names.len());
}

#[test]
fn task_request() {
    let golden = include_str!("golden/task_request.json");
    let request: TaskRequest = survives(golden);
    assert_eq!(TaskRequest::parse(golden.as_bytes()).expect("it makes sense"), request);
}

#[test]
fn task_result() {
    let result: TaskResult = survives(include_str!("golden/task_result.json"));
    assert_eq!(result.status, Status::Completed);
}

#[test]
fn message() {
    let message: Message = survives(include_str!("golden/message.json"));
    assert_eq!(message.sort, "task_request");
}

#[test]
fn agent_info() {
    survives::<AgentInfo>(include_str!("golden/agent_info.json"));
}

#[test]
fn evaluation_result() {
    survives::<EvaluationResult>(include_str!("golden/evaluation_result.json"));
}

#[test]
fn rag_context() {
    survives::<RagContext>(include_str!("golden/rag_context.json"));
}

#[test]
fn enumerations_keep_their_values() {
    same_names(&Status::ALL, &["pending", "assigned", "in_progress", "completed", "failed", "cancelled"]);
    same_names(
        &[Role::Orchestrator, Role::Worker, Role::Router, Role::Evaluator, Role::Optimizer],
        &["orchestrator", "worker", "router", "evaluator", "optimizer"],
    );
    same_names(
        &[
            AgentStatus::Initializing,
            AgentStatus::Idle,
            AgentStatus::Busy,
            AgentStatus::Error,
            AgentStatus::Offline,
        ],
        &["initializing", "idle", "busy", "error", "offline"],
    );
    same_names(
        &[Complexity::Simple, Complexity::Moderate, Complexity::Complex],
        &["simple", "moderate", "complex"],
    );
}
