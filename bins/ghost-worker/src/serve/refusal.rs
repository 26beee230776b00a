//! How the server says no: an error in OpenAI's form, `{"error": {"message", "type", "param", "code"}}`, under the status
//! that OpenAI's own clients act by.

use std::time::Duration;

use axum::http::header::{HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ghost_core::inference::Error;
use ghost_core::inference::openai_compatible::extension::ENGINE_FAILED;
use ghost_core::retry::Retry;
use ghost_service::door::Problem;
use serde_json::{Value, json};

/// In milliseconds; OpenAI's clients and ours prefer it to `retry-after`, which counts seconds.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// Whether another try is of any use, as OpenAI's clients and ours understand it.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In HTTP's terms.
    pub status: StatusCode,
    /// A short stable code, as in `model_not_found`.
    pub code: &'static str,
    /// What happened, and what would be right.
    pub message: String,
    /// The parameter that is to blame, as in `messages[0].role`.
    pub param: Option<String>,
    /// Whether the same request may succeed later, and when.
    pub retry: Option<Retry>,
}

impl Refusal {
    /// A refusal that blames no parameter.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), param: None, retry: None }
    }

    /// A parameter that makes no sense.
    pub fn invalid(param: impl Into<String>, words: impl AsRef<str>) -> Self {
        let param = param.into();
        let message = format!("{param} {}", words.as_ref());
        Self { param: Some(param), ..Self::new(StatusCode::BAD_REQUEST, "invalid_value", message) }
    }

    /// A parameter that there is not.
    pub fn unknown(param: impl Into<String>) -> Self {
        let refusal = Self::invalid(param, "is no parameter that this server knows; leave it out");
        Self { code: "unknown_parameter", ..refusal }
    }

    /// The model is still to come.
    pub(super) fn loading() -> Self {
        let refusal =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "model_loading", "the model is loading; try again");
        Self { retry: Some(Retry::After(Duration::from_secs(1))), ..refusal }
    }

    /// A model that is not served here.
    pub(super) fn no_such_model(asked: &str, served: &str) -> Self {
        let words = format!("there is no model {asked} here; there is {served}");
        let refusal = Self::new(StatusCode::NOT_FOUND, "model_not_found", words);
        Self { param: Some("model".to_owned()), ..refusal }
    }

    /// As OpenAI writes it.
    pub fn json(&self) -> Value {
        error(self.status, self.code, &self.message, self.param.as_deref())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let words = error.to_string();
        let refusal = match &error {
            Error::InvalidRequest { message, .. } => {
                Self::new(StatusCode::BAD_REQUEST, "invalid_value", message)
            }
            Error::ContextTooLong { needed, limit } => Self {
                param: Some("messages".to_owned()),
                ..Self::new(
                    StatusCode::BAD_REQUEST,
                    "context_length_exceeded",
                    format!(
                        "This model's maximum context length is {limit} tokens. However, your messages need {needed}."
                    ),
                )
            },
            Error::Overloaded { .. } => {
                let words = "too many requests wait for the model; try again";
                Self::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", words)
            }
            Error::Timeout { .. } => Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", words),
            Error::ContentFilter { .. } => Self::new(StatusCode::BAD_REQUEST, "content_filter", words),
            Error::Unavailable(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", words),
            Error::Engine(problem) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, ENGINE_FAILED, problem),
            Error::Server { .. }
            | Error::Connection { .. }
            | Error::Authentication { .. }
            | Error::Cancelled => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.code(), words),
        };
        Self { retry: Some(error.retry()), ..refusal }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let problem = Problem {
            status: self.status,
            code: self.code,
            message: self.message.clone(),
            retry_after: match self.retry {
                Some(Retry::After(wait)) => Some(wait),
                _ => None,
            },
        };
        let mut response = problem.response(&self.json());
        let headers = response.headers_mut();
        if headers.contains_key(RETRY_AFTER)
            && let Some(wait) = problem.retry_after
        {
            headers.insert(RETRY_AFTER_MS, HeaderValue::from(wait.as_millis().max(1) as u64));
        }
        if self.status.is_server_error() && self.retry == Some(Retry::Never) {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }
}

/// How the door itself refuses, in OpenAI's form.
pub(super) fn wording(problem: &Problem) -> Value {
    error(problem.status, problem.code, &problem.message, None)
}

fn error(status: StatusCode, code: &str, message: &str, param: Option<&str>) -> Value {
    let kind = match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    };
    json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_of_the_engine_has_the_status_that_clients_act_by() {
        let provider = || "slm".to_owned();
        let message = || "because".to_owned();
        let wait = Some(Duration::from_millis(120));
        for (error, status, code) in [
            (Error::InvalidRequest { provider: provider(), message: message() }, 400, "invalid_value"),
            (Error::ContextTooLong { needed: 9, limit: 8 }, 400, "context_length_exceeded"),
            (Error::Overloaded { provider: provider(), retry_after: wait }, 429, "overloaded"),
            (Error::Timeout { provider: provider(), waited: Duration::ZERO }, 504, "timeout"),
            (Error::Unavailable(message()), 503, "unavailable"),
            (Error::Engine(message()), 500, "engine_failed"),
        ] {
            let refusal = Refusal::from(error);
            assert_eq!((refusal.status.as_u16(), refusal.code), (status, code));
            let response = refusal.into_response();
            let header =
                |name: &HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
            let expected = if status == 429 { (Some("1"), Some("120")) } else { (None, None) };
            assert_eq!((header(&RETRY_AFTER), header(&RETRY_AFTER_MS)), expected, "{code}");
            assert_eq!(header(&SHOULD_RETRY), (status >= 500).then_some("false"), "{code}");
        }
    }

    #[test]
    fn a_parameter_is_blamed_by_its_name() {
        let refusal = Refusal::invalid("top_p", "must be above 0 and at most 1");
        let expected = json!({"error": {"message": "top_p must be above 0 and at most 1",
            "type": "invalid_request_error", "param": "top_p", "code": "invalid_value"}});
        assert_eq!(refusal.json(), expected);
    }
}
