//! What goes wrong between peers, in JSON-RPC's form: a code for programs, words for people, data where it helps.
//!
//! The codes up to −32000 are JSON-RPC's; those from −31001 are ours and stand in `docs/protocol.md`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The frame is no JSON.
pub const NOT_JSON: i64 = -32700;
/// The frame is JSON, and no request or response.
pub const INVALID_REQUEST: i64 = -32600;
/// There is no such method here.
pub const UNKNOWN_METHOD: i64 = -32601;
/// The parameters make no sense.
pub const INVALID_PARAMS: i64 = -32602;
/// The fault is ours; where `retryAfterMs` is given the same call may succeed then.
pub const INTERNAL: i64 = -32603;
/// Too much at once; `retryAfterMs` says when there may be room.
pub const BACKPRESSURE: i64 = -31003;
/// The task was handed on, settled or withdrawn; what the caller has of it is void.
pub const LEASE_LOST: i64 = -31004;
/// Parts of a stream are missing: begin it anew.
pub const GAP: i64 = -31005;
/// Nobody knows who is calling.
pub const UNAUTHENTICATED: i64 = -31006;
/// The caller may not do this.
pub const FORBIDDEN: i64 = -31007;
/// The call took longer than its caller allowed.
pub const DEADLINE: i64 = -31008;
/// No such agent is alive.
pub const UNREACHABLE: i64 = -31009;
/// A newer instance of the same agent has taken over.
pub const STALE_EPOCH: i64 = -31010;

/// An error as it travels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// What sort of error; see the constants of this module.
    pub code: i64,
    /// What happened, and what to do now.
    pub message: String,
    /// What a program may make use of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl RpcError {
    /// An error without data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The same error with data.
    pub fn with(self, data: Value) -> Self {
        Self { data: Some(data), ..self }
    }

    /// The same error, saying when the same call may succeed.
    pub fn retry_after(self, wait: Duration) -> Self {
        self.with(json!({"retryAfterMs": u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)}))
    }

    /// The parameters make no sense: what would be right.
    pub fn invalid_params(words: impl Into<String>) -> Self {
        Self::new(INVALID_PARAMS, words)
    }

    /// There is no such method here.
    pub fn unknown_method(method: &str) -> Self {
        Self::new(UNKNOWN_METHOD, format!("there is no method `{method}` here"))
    }
}
