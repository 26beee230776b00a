//! What comes back from chat completions, folded into an answer: chunks, or a completion in one piece.
//!
//! Pure. Fields that we do not know are skipped; so is a chunk that is no JSON.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::extension;
use crate::inference::http::{Complaint, Fold as Folding, Meaning, Progress, numbers};
use crate::inference::sse::Event;
use crate::inference::{Completion, Finish, Request, Usage};

/// The answer so far.
#[derive(Debug, Default)]
pub(super) struct Fold {
    model: String,
    text: String,
    refusal: String,
    calls: BTreeMap<u64, Call>,
    finish: Option<String>,
    /// The stop string that ended it, where the server says so (vLLM, ours).
    stop_reason: Option<String>,
    logprobs: Vec<f32>,
    tokens: Vec<String>,
    usage: Option<Reported>,
    skipped: u32,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Reported>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    #[serde(alias = "message")]
    delta: Option<Delta>,
    finish_reason: Option<String>,
    /// vLLM puts a token's number here too.
    stop_reason: Option<Value>,
    logprobs: Option<Logprobs>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<CallPart>>,
}

#[derive(Debug, Default, Deserialize)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

#[derive(Deserialize)]
struct CallPart {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionPart>,
}

#[derive(Deserialize)]
struct FunctionPart {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Logprobs {
    content: Option<Vec<TokenLogprob>>,
}

#[derive(Deserialize)]
struct TokenLogprob {
    #[serde(default)]
    token: String,
    logprob: f32,
}

#[derive(Debug, Deserialize)]
struct Reported {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

impl Folding for Fold {
    fn event(&mut self, event: &Event) -> Result<Progress, Complaint> {
        if event.data.trim() == "[DONE]" {
            return Ok(Progress::End);
        }
        let chunk: Chunk = match serde_json::from_str(&event.data) {
            Ok(chunk) => chunk,
            Err(_) if event.name.as_deref() == Some("error") => {
                return Err(complaint(500, &event.data.clone().into()));
            }
            Err(_) => {
                self.skipped += 1;
                return Ok(Progress::Nothing);
            }
        };
        if let Some(error) = &chunk.error {
            return Err(complaint(500, error));
        }
        let said = self.text.len();
        let alive = self.take(chunk);
        Ok(match &self.text[said..] {
            "" if alive => Progress::Alive,
            "" => Progress::Nothing,
            text => Progress::Text(text.to_owned()),
        })
    }

    fn whole(&mut self, body: Value) -> Result<(), Complaint> {
        let chunk = Chunk::deserialize(&body).ok().filter(|chunk| {
            chunk.error.is_none() && chunk.choices.iter().any(|choice| choice.delta.is_some())
        });
        let none = json!("an answer that is none");
        self.take(chunk.ok_or_else(|| complaint(502, body.get("error").unwrap_or(&none)))?);
        // An answer in one piece is whole, also where nobody says why it ended.
        self.finish.get_or_insert_default();
        Ok(())
    }

    fn has_stopped(&self) -> bool {
        self.finish.is_some()
    }

    fn complete(self, asked: &Request, request_id: Option<String>) -> Completion {
        let mut warnings = Vec::new();
        if self.skipped > 0 {
            warnings.push(format!("{} malformed chunks of the answer were skipped", self.skipped));
        }
        let usage = self.usage.map_or_else(
            || {
                warnings.push(
                    "the endpoint did not report its usage: a token for four bytes is assumed".to_owned(),
                );
                let bytes = asked.system.iter().chain(asked.messages.iter().map(|message| &message.text));
                Usage {
                    input_tokens: bytes.map(|text| text.len().div_ceil(4) as u64).sum(),
                    output_tokens: self.text.len().div_ceil(4) as u64,
                    ..Usage::default()
                }
            },
            Reported::total,
        );
        let finish = match self.finish.as_deref().unwrap_or_default() {
            "content_filter" => Finish::Refusal,
            _ if !self.refusal.is_empty() => Finish::Refusal,
            "length" => Finish::Length,
            "tool_calls" | "function_call" => Finish::ToolUse,
            _ if !self.calls.is_empty() => Finish::ToolUse,
            _ => self.stop_reason.map_or(Finish::Stop, Finish::StopSequence),
        };
        if !self.refusal.is_empty() {
            warnings.push(format!("the model declined: {}", self.refusal));
        }
        Completion {
            text: self.text,
            finish,
            usage,
            model: self.model,
            request_id,
            logprobs: self.logprobs,
            tokens: self.tokens,
            tool_calls: self.calls.into_values().map(Value::from).collect(),
            warnings,
        }
    }

    fn complaint(status: u16, body: &str) -> Complaint {
        let body: Value = serde_json::from_str(body).unwrap_or_else(|_| body.trim().into());
        complaint(status, body.get("error").unwrap_or(&body))
    }
}

impl Fold {
    /// Takes in a chunk; whether it shows that the model is at work.
    fn take(&mut self, chunk: Chunk) -> bool {
        if let Some(model) = chunk.model.filter(|model| !model.is_empty()) {
            self.model = model;
        }
        if chunk.usage.is_some() {
            self.usage = chunk.usage;
        }
        let mut alive = false;
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            let delta = choice.delta.unwrap_or_default();
            let text = delta.content.unwrap_or_default();
            alive |= !text.is_empty()
                || choice.finish_reason.is_some()
                || delta.refusal.is_some()
                || delta.reasoning_content.is_some()
                || delta.tool_calls.is_some();
            self.text.push_str(&text);
            self.refusal.push_str(&delta.refusal.unwrap_or_default());
            for (position, part) in (0..).zip(delta.tool_calls.unwrap_or_default()) {
                let call = self.calls.entry(part.index.unwrap_or(position)).or_default();
                call.id.push_str(&part.id.unwrap_or_default());
                if let Some(function) = part.function {
                    call.name.push_str(&function.name.unwrap_or_default());
                    call.arguments.push_str(&function.arguments.unwrap_or_default());
                }
            }
            for token in choice.logprobs.and_then(|logprobs| logprobs.content).unwrap_or_default() {
                self.logprobs.push(token.logprob);
                self.tokens.push(token.token);
            }
            if let Some(Value::String(stop)) = choice.stop_reason {
                self.stop_reason = Some(stop);
            }
            self.finish = choice.finish_reason.or(self.finish.take());
        }
        alive
    }
}

impl From<Call> for Value {
    fn from(call: Call) -> Self {
        let function = json!({"name": call.name, "arguments": call.arguments});
        json!({"id": call.id, "type": "function", "function": function})
    }
}

impl Reported {
    fn total(self) -> Usage {
        let cached = self.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0);
        Usage {
            input_tokens: self.prompt_tokens.saturating_sub(cached),
            output_tokens: self.completion_tokens,
            cache_read_tokens: cached.min(self.prompt_tokens),
            ..Usage::default()
        }
    }
}

/// What an error means; every server words it in its own way.
fn complaint(status: u16, error: &Value) -> Complaint {
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    let message = error.as_str().or_else(|| error["message"].as_str());
    let message = message.map_or_else(|| error.to_string(), str::to_owned);
    let status = error["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(status);
    let lower = message.to_lowercase();
    let kinds = [text("code"), text("type")];
    let meaning = if kinds.contains(&"exceed_context_size_error") {
        let number = |name: &str| error[name].as_u64().unwrap_or(0);
        Some(Meaning::TooLong { needed: number("n_prompt_tokens"), limit: number("n_ctx") })
    } else if kinds.contains(&"context_length_exceeded") || lower.contains("maximum context length") {
        let mut counts = numbers(&lower);
        let limit = counts.next().unwrap_or(0);
        Some(Meaning::TooLong { needed: counts.next().unwrap_or(0), limit })
    } else if kinds.contains(&extension::ENGINE_FAILED) {
        Some(Meaning::Engine)
    } else if kinds.iter().any(|kind| kind.contains("content_filter") || kind.contains("content_policy")) {
        Some(Meaning::Filtered)
    } else {
        None
    };
    Complaint { status: Some(status), message, meaning }
}

#[cfg(test)]
mod tests;
