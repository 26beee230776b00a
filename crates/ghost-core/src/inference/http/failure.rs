//! What a provider's failure means for whoever asked: wait, try again, or do not.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;

use crate::inference::Error;
use crate::retry;

/// More of what a provider says is not passed on, in characters.
const MAX_MESSAGE: usize = 500;

/// What a provider says went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// The HTTP status that it stands for, where it came inside a stream.
    pub(crate) status: Option<u16>,
    /// In its words.
    pub(crate) message: String,
    /// What it means, where the status does not say.
    pub(crate) meaning: Option<Meaning>,
}

/// What a complaint means that its status does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Prompt and answer need `needed` tokens of `limit`; 0 where the provider does not say.
    TooLong { needed: u64, limit: u64 },
    /// A content filter.
    Filtered,
    /// The engine behind it broke a promise, and would again.
    Engine,
}

/// The error that a status, its headers and a complaint amount to.
pub(crate) fn failure(
    provider: &str,
    status: u16,
    headers: &HeaderMap,
    request_id: Option<&str>,
    complaint: Complaint,
) -> Error {
    let provider = provider.to_owned();
    let mut message: String = complaint.message.chars().take(MAX_MESSAGE).collect();
    if let Some(id) = request_id {
        message.push_str(&format!(" (request {id})"));
    }
    let hints = Hints::read(headers, Timestamp::now());
    match (complaint.meaning, status) {
        (Some(Meaning::TooLong { needed, limit }), _) => return Error::ContextTooLong { needed, limit },
        (Some(Meaning::Filtered), _) => return Error::ContentFilter { provider, message },
        (Some(Meaning::Engine), _) => return Error::Engine(message),
        (None, 413) => return Error::ContextTooLong { needed: 0, limit: 0 },
        (None, 401 | 403) => return Error::Authentication { provider, message },
        (None, 402) => return Error::Unavailable(format!("{provider} wants to be paid: {message}")),
        (None, 300..=399) => {
            return Error::Unavailable(format!(
                "{provider} answers with a redirect (status {status}); set the address that it points to"
            ));
        }
        _ => {}
    }
    let transient = matches!(status, 408 | 409 | 429 | 500..);
    match (hints.should_retry.unwrap_or(transient), status) {
        (false, _) if transient => Error::Unavailable(format!(
            "{provider} failed with status {status} and says that another try is of no use: {message}"
        )),
        (false, _) => Error::InvalidRequest { provider, message: format!("status {status}: {message}") },
        (true, 429 | 529) => Error::Overloaded { provider, retry_after: hints.retry_after },
        (true, _) if hints.retry_after.is_some() => {
            Error::Overloaded { provider, retry_after: hints.retry_after }
        }
        (true, _) => Error::Server { provider, status, message },
    }
}

/// The whole numbers in a text, in order.
pub(crate) fn numbers(text: &str) -> impl Iterator<Item = u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok())
}

/// What headers say about another try.
#[derive(Debug, PartialEq, Eq)]
struct Hints {
    retry_after: Option<Duration>,
    should_retry: Option<bool>,
}

impl Hints {
    fn read(headers: &HeaderMap, now: Timestamp) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let milliseconds = header("retry-after-ms").and_then(|text| retry::seconds(text, 1e-3));
        let retry_after = || retry::retry_after(header("retry-after")?, now);
        Self {
            retry_after: milliseconds.or_else(retry_after),
            should_retry: header("x-should-retry").and_then(|text| text.parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::retry::Retry;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let header = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("plain text"))
        };
        pairs.iter().map(header).collect()
    }

    fn meant(status: u16, pairs: &[(&'static str, &str)]) -> Error {
        let complaint = Complaint { message: "so it is".to_owned(), ..Complaint::default() };
        failure("claude", status, &headers(pairs), Some("req_1"), complaint)
    }

    #[test]
    fn a_wait_is_read_from_milliseconds_seconds_fractions_and_dates() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().expect("a timestamp");
        let wait = |pairs: &[(&'static str, &str)]| Hints::read(&headers(pairs), now).retry_after;
        assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[("retry-after", "0.25")]), Some(Duration::from_millis(250)));
        assert_eq!(
            wait(&[("retry-after-ms", "120"), ("retry-after", "7")]),
            Some(Duration::from_millis(120))
        );
        assert_eq!(wait(&[("retry-after-ms", "soon"), ("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[("retry-after", "Wed, 25 Nov 2026 12:00:30 GMT")]), Some(Duration::from_secs(30)));
        assert_eq!(wait(&[("retry-after", "Wed, 25 Nov 2026 11:59:00 GMT")]), Some(Duration::ZERO));
        assert_eq!(wait(&[("retry-after", "1e300")]), Some(Duration::from_secs(86_400)));
        for nonsense in ["-1", "NaN", "inf", "tomorrow", ""] {
            assert_eq!(wait(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
    }

    #[test]
    fn every_status_says_whether_to_ask_again() {
        for (status, code, retry) in [
            (302, "unavailable", Retry::Never),
            (400, "invalid_request", Retry::Never),
            (401, "authentication_failed", Retry::Never),
            (402, "unavailable", Retry::Never),
            (403, "authentication_failed", Retry::Never),
            (404, "invalid_request", Retry::Never),
            (408, "server_error", Retry::Now),
            (409, "server_error", Retry::Now),
            (413, "context_too_long", Retry::Never),
            (422, "invalid_request", Retry::Never),
            (429, "overloaded", Retry::Now),
            (500, "server_error", Retry::Now),
            (503, "server_error", Retry::Now),
            (529, "overloaded", Retry::Now),
        ] {
            let error = meant(status, &[]);
            assert_eq!((error.code(), error.retry()), (code, retry), "{status}");
        }
    }

    #[test]
    fn the_provider_has_the_last_word_on_another_try() {
        assert_eq!(meant(429, &[("x-should-retry", "false")]).retry(), Retry::Never);
        assert_eq!(meant(400, &[("x-should-retry", "true")]).retry(), Retry::Now);
        let wait = Duration::from_secs(3);
        for status in [429, 500, 503, 529] {
            assert_eq!(meant(status, &[("retry-after", "3")]).retry(), Retry::After(wait), "{status}");
        }
    }

    #[test]
    fn a_message_names_the_request_and_has_an_end() {
        let complaint = Complaint { message: "é".repeat(10_000), ..Complaint::default() };
        let error = failure("claude", 500, &HeaderMap::new(), Some("req_42"), complaint).to_string();
        assert!(error.ends_with("é (request req_42)") && error.chars().count() < 600, "{error}");
    }
}
