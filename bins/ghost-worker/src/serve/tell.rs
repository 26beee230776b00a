//! Tells an answer as OpenAI does: in one piece, or as chunks while it appears.
//!
//! A stream has no status once it has begun, so its head waits for the first text: what fails before has a status of
//! its own. Beyond OpenAI's form, `stop_reason` is the stop string that ended the answer, as vLLM says it; and the
//! log-probabilities hold one more token, without a text: the one that ended the turn.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::http::header::HeaderName;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use futures_util::stream;
use ghost_core::id::TaskId;
use ghost_core::inference::{Backend, Completion, Error, Finish, Usage};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;
use tracing::debug;

use super::{Asked, Refusal};

/// Parts of an answer that may wait to be sent: about a second of a fast model.
const PARTS: usize = 64;
/// OpenAI's word for a probability of nothing.
const NEVER: f64 = -9_999.0;
/// The name of an answer, as clients show it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Has the model answer, and tells what it says. `withdrawn` lives as long as somebody waits for that.
pub(super) async fn answer(
    backend: Arc<dyn Backend>,
    asked: Asked,
    withdrawn: DropGuard,
    heartbeat: Duration,
) -> Result<Response, Refusal> {
    let Asked { request, stream, include_usage, logprobs, .. } = asked;
    let head = Head {
        id: format!("chatcmpl-{}", TaskId::generate()),
        created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        model: backend.model().to_owned(),
        include_usage,
        logprobs,
    };
    let id = [(REQUEST_ID, head.id.clone())];
    if !stream {
        let completion = backend.generate(request, None).await?;
        drop(withdrawn);
        return Ok((id, Json(head.whole(&completion))).into_response());
    }
    let (parts, heard) = mpsc::channel(PARTS);
    let answer: BoxFuture<_> = Box::pin(async move { backend.generate(request, Some(parts)).await });
    let mut live = Live { answer: Some(answer), end: None, heard, _withdrawn: withdrawn };
    let first = match live.next().await {
        Some(Heard::End(Err(error))) => return Err(error.into()),
        first => first,
    };
    let opening = data(&head.chunk(json!({ "role": "assistant", "content": "" }), None));
    let telling = Telling { head, live, heard: first, due: VecDeque::from([opening]) };
    let events = stream::unfold(telling, |mut telling| async move {
        let event = telling.next().await?;
        Some((Ok::<_, Infallible>(event), telling))
    });
    let alive = KeepAlive::new().interval(heartbeat).text("still here");
    Ok((id, Sse::new(events).keep_alive(alive)).into_response())
}

/// An answer as it appears.
struct Live {
    /// Ended where it is none.
    answer: Option<BoxFuture<'static, Result<Completion, Error>>>,
    /// How it ended, until that is told.
    end: Option<Result<Completion, Error>>,
    heard: mpsc::Receiver<String>,
    _withdrawn: DropGuard,
}

/// What an answer brings.
enum Heard {
    Part(String),
    End(Result<Box<Completion>, Error>),
}

impl Live {
    /// The next text, and after the last one how it ended; then nothing.
    async fn next(&mut self) -> Option<Heard> {
        if let Some(answer) = &mut self.answer {
            tokio::select! {
                biased;
                Some(part) = self.heard.recv() => return Some(Heard::Part(part)),
                end = answer => (self.end, self.answer) = (Some(end), None),
            }
        }
        // Nobody speaks any more, so this waits for nothing: it brings what was said last.
        match self.heard.recv().await {
            Some(part) => Some(Heard::Part(part)),
            None => self.end.take().map(|end| Heard::End(end.map(Box::new))),
        }
    }
}

/// A stream that has begun.
struct Telling {
    head: Head,
    live: Live,
    /// What was heard already.
    heard: Option<Heard>,
    /// Events that are due.
    due: VecDeque<Event>,
}

impl Telling {
    /// The next event; none after the last one.
    async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.due.pop_front() {
            return Some(event);
        }
        let heard = match self.heard.take() {
            None => self.live.next().await?,
            Some(heard) => heard,
        };
        match heard {
            Heard::Part(text) => return Some(data(&self.head.chunk(json!({ "content": text }), None))),
            Heard::End(Ok(completion)) => self.due.extend(self.head.closing(&completion).iter().map(data)),
            Heard::End(Err(error)) => {
                debug!(error = %error, "an answer broke off: {error}");
                self.due.push_back(data(&Refusal::from(error).json()));
            }
        }
        self.due.push_back(Event::default().data("[DONE]"));
        self.due.pop_front()
    }
}

fn data(json: &Value) -> Event {
    Event::default().data(json.to_string())
}

/// What all parts of an answer have in common.
struct Head {
    id: String,
    created: u64,
    model: String,
    include_usage: bool,
    logprobs: bool,
}

impl Head {
    fn of(&self, object: &str, choices: &Value) -> Value {
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices })
    }

    fn whole(&self, completion: &Completion) -> Value {
        let message = json!({ "role": "assistant", "content": completion.text, "refusal": null });
        let mut choice = json!({ "index": 0, "message": message });
        self.end(&mut choice, completion);
        let mut whole = self.of("chat.completion", &json!([choice]));
        whole["usage"] = usage(completion.usage);
        whole
    }

    fn chunk(&self, delta: Value, end: Option<&Completion>) -> Value {
        let mut choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": null });
        if let Some(completion) = end {
            self.end(&mut choice, completion);
        }
        let mut chunk = self.of("chat.completion.chunk", &json!([choice]));
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    /// The last chunks: why it ended, and what it took.
    fn closing(&self, completion: &Completion) -> Vec<Value> {
        let mut chunks = vec![self.chunk(json!({}), Some(completion))];
        if self.include_usage {
            let mut last = self.of("chat.completion.chunk", &json!([]));
            last["usage"] = usage(completion.usage);
            chunks.push(last);
        }
        chunks
    }

    fn end(&self, choice: &mut Value, completion: &Completion) {
        let (reason, stop) = match &completion.finish {
            Finish::Stop => ("stop", None),
            Finish::StopSequence(stop) => ("stop", Some(stop)),
            Finish::Length => ("length", None),
            Finish::ToolUse => ("tool_calls", None),
            Finish::Refusal => ("content_filter", None),
        };
        choice["logprobs"] = if self.logprobs { logprobs(completion) } else { Value::Null };
        choice["finish_reason"] = reason.into();
        choice["stop_reason"] = stop.map(String::as_str).into();
    }
}

fn usage(usage: Usage) -> Value {
    let prompt = usage.input_tokens + usage.cache_read_tokens;
    json!({ "prompt_tokens": prompt, "completion_tokens": usage.output_tokens, "total_tokens": prompt + usage.output_tokens })
}

fn logprobs(completion: &Completion) -> Value {
    let texts = completion.tokens.iter().map(String::as_str).chain(std::iter::repeat(""));
    let content: Vec<Value> = completion
        .logprobs
        .iter()
        .zip(texts)
        // As exact as it is known: our own clients multiply them.
        .map(|(logprob, token)| {
            let logprob = f64::from(*logprob).max(NEVER);
            json!({ "token": token, "logprob": logprob, "bytes": null, "top_logprobs": [] })
        })
        .collect();
    json!({ "content": content, "refusal": null })
}
