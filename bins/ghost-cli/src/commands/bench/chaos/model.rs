//! The models that everybody asks, SLM and LLM alike: a server in this process that speaks OpenAI's chat completions and
//! keeps a journal of the calls. It never dies, so what it noted is true whatever happens to the swarm.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::load::{self, Kind};

/// How long an ordinary answer takes: long enough that parts of the swarm die while some are under way.
const THINKING: Duration = Duration::from_millis(20);

/// The server; it ends with this.
pub(super) struct Model {
    pub(super) address: SocketAddr,
    journal: Arc<Journal>,
    serving: AbortHandle,
}

/// How often each task was asked about.
struct Journal {
    calls: Vec<AtomicU32>,
    slow: Duration,
}

impl Model {
    /// One that knows so many tasks; slow answers take this long.
    pub(super) async fn start(tasks: usize, slow: Duration) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port is free for a model")?;
        let address = listener.local_addr()?;
        let journal = Arc::new(Journal { calls: (0..tasks).map(|_| AtomicU32::new(0)).collect(), slow });
        let router = Router::new().route("/v1/chat/completions", post(complete)).with_state(journal.clone());
        let serving = tokio::spawn(async move {
            // It serves until it is aborted.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, journal, serving: serving.abort_handle() })
    }

    /// How often each task was asked about, by its number.
    pub(super) fn calls(&self) -> Vec<u32> {
        self.journal.calls.iter().map(|calls| calls.load(Ordering::Relaxed)).collect()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn complete(State(journal): State<Arc<Journal>>, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let number = body["messages"]
        .as_array()
        .and_then(|messages| load::number(messages.last()?["content"].as_str()?))
        .filter(|number| *number < journal.calls.len());
    let Some(number) = number else { return refusal("there is no such task") };
    journal.calls[number].fetch_add(1, Ordering::Relaxed);
    let kind = Kind::of(number);
    sleep(if kind.takes_long() { journal.slow } else { THINKING }).await;
    if kind == Kind::Unanswerable {
        return refusal("this model does not speak of that");
    }
    ([(CONTENT_TYPE, "text/event-stream")], stream(&body["model"], &load::answer(number))).into_response()
}

fn refusal(words: &str) -> Response {
    let error =
        json!({"error": {"message": words, "type": "invalid_request_error", "code": null, "param": null}});
    (StatusCode::BAD_REQUEST, axum::Json(error)).into_response()
}

fn stream(model: &Value, text: &str) -> String {
    let tokens: Vec<Value> =
        text.split(' ').map(|token| json!({"token": token, "logprob": 0.0, "top_logprobs": []})).collect();
    let count = tokens.len();
    let chunk = |choices: Value, usage: Value| json!({"id": "chatcmpl-chaos", "object": "chat.completion.chunk", "model": model, "choices": choices, "usage": usage});
    let said = json!([{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": "stop",
                       "logprobs": {"content": tokens}}]);
    let usage = json!({"prompt_tokens": count, "completion_tokens": count, "total_tokens": 2 * count});
    format!("data: {}\n\ndata: {}\n\ndata: [DONE]\n\n", chunk(said, Value::Null), chunk(json!([]), usage))
}
