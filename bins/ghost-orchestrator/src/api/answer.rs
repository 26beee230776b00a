//! What callers are told: records as they may see them, and errors as HTTP has them.

use std::time::Duration;

use axum::Json;
use axum::http::header::LOCATION;
use axum::http::{HeaderName, StatusCode};
use ghost_core::broker::{AdvanceError, Error};
use ghost_core::id::LeaseToken;
use ghost_core::lifecycle::{Lease, Record, Refusal, State};
use ghost_service::door::Problem;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::warn;

/// How much of a task a caller wants to see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum View {
    /// Its result.
    #[default]
    Result,
    /// Everything that is known of it.
    Record,
}

impl View {
    pub(super) fn of(self, record: &Record) -> Value {
        match self {
            View::Result => json!(record.result()),
            View::Record => json!(without_token(record)),
        }
    }
}

/// A task, and where it is found from now on.
pub(super) type Located = (StatusCode, [(HeaderName, String); 1], Json<Value>);

pub(super) fn located(status: StatusCode, record: &Record, view: View) -> Located {
    (status, [(LOCATION, location(record))], Json(view.of(record)))
}

fn location(record: &Record) -> String {
    let mut path = "/v1/tasks/".to_owned();
    for byte in record.key.to_string().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(byte.into()),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

/// Who may look at a task may not act for its holder.
fn without_token(record: &Record) -> Record {
    let hide = |lease: &Lease| Lease { token: LeaseToken::HIDDEN, ..lease.clone() };
    let state = match &record.state {
        State::Assigned(lease) => State::Assigned(hide(lease)),
        State::InProgress(lease) => State::InProgress(hide(lease)),
        State::Evaluating(lease, answer) => State::Evaluating(hide(lease), answer.clone()),
        other => other.clone(),
    };
    Record { state, ..record.clone() }
}

/// The store did not do it.
pub(super) fn store(error: Error) -> Problem {
    let soon = Duration::from_secs(1);
    match error {
        Error::Full { retry_after, .. } => {
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", error.to_string()).after(retry_after)
        }
        Error::Locked(_) | Error::Unavailable(_) => {
            warn!(error = %error, "a request was turned away: {error}");
            let words =
                "the store does not answer just now; the same request again is safe where the task has an id";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", words).after(soon)
        }
        Error::DiskFull(_) => {
            warn!(error = %error, "a request was turned away: {error}");
            let words = "the store has no room; nothing accepted is lost, and its operator must make some";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_full", words).after(soon)
        }
        Error::Damaged(_) | Error::Misconfigured(_) => {
            tracing::error!(error = %error, "a request was turned away: {error}");
            let words = "the store cannot be used; the log of the orchestrator says why";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "store_unusable", words)
        }
    }
}

/// An event changed nothing.
pub(super) fn not_advanced(error: AdvanceError) -> Problem {
    let code = match &error {
        AdvanceError::Broker(error) => return store(error.clone()),
        AdvanceError::Gone => return no_task(),
        AdvanceError::Refused(Refusal::NotFailed(_)) => "not_failed",
        AdvanceError::Refused(Refusal::NoAnswer(_)) => "no_answer",
        AdvanceError::Refused(Refusal::Settled(_)) => "already_settled",
        AdvanceError::Refused(_) => "conflict",
    };
    Problem::new(StatusCode::CONFLICT, code, error.to_string())
}

pub(super) fn no_task() -> Problem {
    let words = "there is no such task here; settled ones are removed after a time";
    Problem::new(StatusCode::NOT_FOUND, "task_not_found", words)
}
