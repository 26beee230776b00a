//! What a user says of an answer. The last word counts, so who lost a reply says it again.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use ghost_core::feedback::{Error, Feedback};
use ghost_service::door::Problem;
use serde_json::Value;
use serde_json::error::Category;

use super::App;
use super::answer::{View, not_advanced};
use super::ask::{Name, json_only};

pub(super) async fn rate(
    State(app): App,
    name: Name,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    json_only(&headers, "the feedback")?;
    let feedback = Feedback::parse(&body).map_err(unreadable)?;
    let record = app.find(&name).await?;
    let record = app.handle.rate(&record.key, feedback).await.map_err(not_advanced)?;
    Ok(Json(View::Result.of(&record)))
}

fn unreadable(error: Error) -> Problem {
    let (status, code) = match &error {
        Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        Error::Json(error) if error.classify() != Category::Data => (StatusCode::BAD_REQUEST, "invalid_json"),
        Error::Json(_) | Error::TooLong { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_feedback"),
    };
    Problem::new(status, code, error.to_string())
}
