//! The way in: one task, or an array of them that are accepted together.
//!
//! A task's id is its idempotency key: the same request again finds the same task. Where the caller gives none, one is
//! made before the store is asked, so that a lost reply of the store never makes two tasks.

use std::fmt;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use ghost_core::broker::{MAX_BATCH, Submission, patiently};
use ghost_core::id::TaskId;
use ghost_core::task::{self, TaskRequest};
use ghost_service::door::Problem;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answer::{View, located, store};
use super::ask::{Asked, bad_query, json_only, patience};
use super::{App, Shared};

/// Whether to wait for the end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    wait: Option<f64>,
    #[serde(default)]
    view: View,
}

pub(super) async fn submit(
    State(app): App,
    Asked(Wait { wait, view }): Asked<Wait>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let patience = patience(wait)?;
    json_only(&headers, "the task")?;
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') if wait.is_some() => Err(bad_query("wait goes with a single task")),
        Some(b'[') => app.submit_many(&body, view).await,
        Some(b'{') => app.submit_one(&body, view, patience).await,
        _ => Err(match serde_json::from_slice::<IgnoredAny>(&body) {
            Ok(_) => unreadable(task::Error::NotAnObject, None),
            Err(error) => unreadable(error.into(), None),
        }),
    }
}

impl Shared {
    async fn submit_one(&self, body: &[u8], view: View, patience: Duration) -> Result<Response, Problem> {
        let request = TaskRequest::parse(body).map_err(|error| unreadable(error, None))?;
        let (record, new) = match self.accepted(vec![request]).await?.pop() {
            Some(Submission::New(record)) => (record, true),
            Some(Submission::Known(record)) => (record, false),
            Some(Submission::Conflict(key)) => return Err(conflict(&key.id)),
            None => return Err(silent()),
        };
        let record = self.waited(record, patience).await?;
        let done = !new || record.status().is_settled();
        let status = if done { StatusCode::OK } else { StatusCode::ACCEPTED };
        Ok(located(status, &record, view).into_response())
    }

    async fn submit_many(&self, body: &[u8], view: View) -> Result<Response, Problem> {
        let text = std::str::from_utf8(body)
            .map_err(|error| unreadable(task::Error::NotUtf8(error.valid_up_to() + 1), None))?;
        let Tasks(texts) = serde_json::from_str(text).map_err(|error| unreadable(error.into(), None))?;
        let parse = |(at, text): (usize, &&RawValue)| {
            TaskRequest::parse(text.get().as_bytes()).map_err(|error| unreadable(error, Some(at)))
        };
        let requests: Vec<TaskRequest> = texts.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        let submissions = self.accepted(requests).await?;
        let new = submissions.iter().any(|submission| matches!(submission, Submission::New(_)));
        let tell = |submission: &Submission| match submission {
            Submission::New(record) => json!({ "outcome": "new", "task": view.of(record) }),
            Submission::Known(record) => json!({ "outcome": "known", "task": view.of(record) }),
            Submission::Conflict(key) => {
                json!({ "outcome": "conflict", "task_id": key.id, "error": conflict(&key.id).json()["error"] })
            }
        };
        let told: Vec<Value> = submissions.iter().map(tell).collect();
        let status = if new { StatusCode::ACCEPTED } else { StatusCode::OK };
        Ok((status, Json(json!({ "tasks": told }))).into_response())
    }

    async fn accepted(&self, mut requests: Vec<TaskRequest>) -> Result<Vec<Submission>, Problem> {
        for request in &mut requests {
            request.task_id.get_or_insert_with(TaskId::generate);
        }
        patiently(|| self.handle.submit(None, requests.clone())).await.map_err(store)
    }
}

/// An array of tasks, still unread. It stops where there are too many, since each costs memory.
struct Tasks<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Tasks<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Few;
        impl<'de> Visitor<'de> for Few {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of 1 to {MAX_BATCH} tasks")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element()? {
                    if texts.len() == MAX_BATCH {
                        return Err(serde::de::Error::custom(format!(
                            "at most {MAX_BATCH} tasks go together"
                        )));
                    }
                    texts.push(text);
                }
                if texts.is_empty() {
                    return Err(serde::de::Error::custom("there is no task in the array"));
                }
                Ok(texts)
            }
        }
        deserializer.deserialize_seq(Few).map(Tasks)
    }
}

/// Bytes that are no JSON are the caller's carelessness (400); JSON that is no task says what is wrong (422).
fn unreadable(error: task::Error, at: Option<usize>) -> Problem {
    let at = at.map(|at| format!("task {}: ", at + 1)).unwrap_or_default();
    let (status, code) = match &error {
        task::Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        task::Error::NotUtf8(_) => (StatusCode::BAD_REQUEST, "invalid_json"),
        task::Error::Json(error) if error.classify() != Category::Data => {
            (StatusCode::BAD_REQUEST, "invalid_json")
        }
        task::Error::Json(_) | task::Error::NotAnObject | task::Error::Field { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid_task")
        }
    };
    Problem::new(status, code, format!("{at}{error}"))
}

fn conflict(id: &TaskId) -> Problem {
    let words = format!("another task has the id {id}; choose another id, or leave it out");
    Problem::new(StatusCode::CONFLICT, "id_conflict", words)
}

fn silent() -> Problem {
    let words = "the store did not say what became of the task; submit it again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", words).after(Duration::from_secs(1))
}
