//! How a door says no, the same at every door: `{"error": {"code", "message"}}`.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ghost_core::inference::openai_compatible::extension::REALM;
use serde_json::{Value, json};

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// In HTTP's terms.
    pub status: StatusCode,
    /// A short stable code, as in `queue_full`.
    pub code: &'static str,
    /// What happened, and what would be right.
    pub message: String,
    /// When the same request may succeed.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem with its code and its words.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// The same, that may be over after this time.
    pub fn after(self, time: Duration) -> Self {
        Self { retry_after: Some(time), ..self }
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        json!({ "error": { "code": self.code, "message": self.message } })
    }

    /// The response with this body, which callers of another form understand.
    pub fn response(&self, body: &Value) -> Response {
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(REALM));
        }
        if let Some(time) = self.retry_after {
            // In whole seconds, and never at once.
            headers.insert(RETRY_AFTER, HeaderValue::from(time.as_secs_f64().ceil().max(1.0) as u64));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.response(&self.json())
    }
}
