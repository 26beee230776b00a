//! What comes back from Claude, folded into an answer: the events of a stream, or a message in one piece.
//!
//! Pure. Events and fields that we do not know are skipped, as the API asks; so is an event that is no JSON.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::inference::http::{Complaint, Fold as Folding, Meaning, Progress, numbers};
use crate::inference::sse::Event;
use crate::inference::{Completion, Finish, Request, Usage};

/// The answer so far.
#[derive(Debug, Default)]
pub(super) struct Fold {
    model: String,
    usage: Reported,
    blocks: BTreeMap<u64, Block>,
    stop: Stop,
    skipped: u32,
}

#[derive(Debug)]
enum Block {
    Text(String),
    Thinking { open: bool },
    ToolUse { call: Value, input: String },
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Incoming {
    MessageStart {
        message: Message,
    },
    ContentBlockStart {
        index: u64,
        content_block: Value,
    },
    ContentBlockDelta {
        index: u64,
        delta: Delta,
    },
    ContentBlockStop {
        index: u64,
    },
    MessageDelta {
        delta: Stop,
        usage: Option<Reported>,
    },
    MessageStop,
    Ping,
    Error {
        error: Trouble,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Message {
    model: String,
    #[serde(default)]
    content: Vec<Value>,
    #[serde(flatten)]
    stop: Stop,
    #[serde(default)]
    usage: Reported,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Default, Deserialize)]
struct Stop {
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    stop_details: Option<StopDetails>,
}

#[derive(Debug, Deserialize)]
struct StopDetails {
    category: Option<String>,
    explanation: Option<String>,
}

/// Tokens as Claude reports them: totals, of which the later ones replace the earlier.
#[derive(Debug, Default, Deserialize)]
struct Reported {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
}

#[derive(Debug, Deserialize)]
struct CacheCreation {
    #[serde(default)]
    ephemeral_1h_input_tokens: u64,
}

#[derive(Debug, Default, Deserialize)]
struct Trouble {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    message: String,
}

impl Folding for Fold {
    fn event(&mut self, event: &Event) -> Result<Progress, Complaint> {
        let incoming = match serde_json::from_str(&event.data) {
            Ok(incoming) => incoming,
            Err(_) if event.name.as_deref() == Some("error") => {
                return Err(Trouble { message: event.data.clone(), ..Trouble::default() }.complaint());
            }
            Err(_) => {
                self.skipped += 1;
                return Ok(Progress::Nothing);
            }
        };
        Ok(match incoming {
            Incoming::MessageStart { message } => {
                self.start(message);
                Progress::Nothing
            }
            Incoming::ContentBlockStart { index, content_block } => {
                let block = Block::from(content_block);
                let text = if let Block::Text(text) = &block { text.clone() } else { String::new() };
                self.blocks.insert(index, block);
                Progress::text(text)
            }
            Incoming::ContentBlockDelta { index, delta } => match (self.blocks.get_mut(&index), delta) {
                (Some(Block::Text(whole)), Delta::Text { text }) => {
                    whole.push_str(&text);
                    Progress::text(text)
                }
                (Some(Block::ToolUse { input, .. }), Delta::InputJson { partial_json }) => {
                    input.push_str(&partial_json);
                    Progress::Alive
                }
                _ => Progress::Alive,
            },
            Incoming::ContentBlockStop { index } => {
                if let Some(Block::Thinking { open }) = self.blocks.get_mut(&index) {
                    *open = false;
                }
                Progress::Alive
            }
            Incoming::MessageDelta { delta, usage } => {
                if delta.stop_reason.is_some() {
                    self.stop = delta;
                }
                if let Some(usage) = usage {
                    self.usage.update(usage);
                }
                Progress::Alive
            }
            Incoming::MessageStop => Progress::End,
            // Thoughts that are not shown come as pings; in a text they prove the connection, not the model.
            Incoming::Ping if self.is_thinking() => Progress::Alive,
            Incoming::Ping | Incoming::Unknown => Progress::Nothing,
            Incoming::Error { error } => return Err(error.complaint()),
        })
    }

    fn whole(&mut self, body: Value) -> Result<(), Complaint> {
        let message = Message::deserialize(&body).map_err(|_| {
            let none = |_| Trouble { message: "an answer that is none".to_owned(), ..Trouble::default() };
            Trouble::deserialize(&body["error"]).unwrap_or_else(none).complaint()
        })?;
        self.start(message);
        Ok(())
    }

    fn has_stopped(&self) -> bool {
        self.stop.stop_reason.is_some()
    }

    fn complete(self, asked: &Request, request_id: Option<String>) -> Completion {
        let mut warnings = Vec::new();
        if self.skipped > 0 {
            warnings.push(format!("{} malformed events of claude's answer were skipped", self.skipped));
        }
        let has_thought = self.blocks.values().any(|block| matches!(block, Block::Thinking { .. }));
        let (mut text, mut tool_calls) = (String::new(), Vec::new());
        for block in self.blocks.into_values() {
            match block {
                Block::Text(part) => text.push_str(&part),
                Block::ToolUse { mut call, input } => {
                    if !input.is_empty() {
                        call["input"] = serde_json::from_str(&input).unwrap_or(Value::String(input));
                    }
                    tool_calls.push(call);
                }
                Block::Thinking { .. } | Block::Other => {}
            }
        }
        let finish = self.stop.finish(&mut warnings);
        if finish == Finish::Length && text.is_empty() && has_thought {
            warnings.push(format!(
                "claude thought until its {} tokens were used up; raise max_tokens",
                asked.max_tokens
            ));
        }
        Completion {
            text,
            finish,
            usage: self.usage.total(),
            model: self.model,
            request_id,
            logprobs: Vec::new(),
            tokens: Vec::new(),
            tool_calls,
            warnings,
        }
    }

    fn complaint(status: u16, body: &str) -> Complaint {
        let body = body.trim();
        let trouble = serde_json::from_str(body).and_then(|body: Value| Trouble::deserialize(&body["error"]));
        let trouble = trouble.unwrap_or_else(|_| Trouble { message: body.to_owned(), ..Trouble::default() });
        Complaint { status: Some(status), ..trouble.complaint() }
    }
}

impl Fold {
    fn start(&mut self, message: Message) {
        self.model = message.model;
        self.usage.update(message.usage);
        self.stop = message.stop;
        self.blocks = (0..).zip(message.content.into_iter().map(Block::from)).collect();
    }

    fn is_thinking(&self) -> bool {
        self.blocks.values().any(|block| matches!(block, Block::Thinking { open: true }))
    }
}

impl Progress {
    fn text(text: String) -> Self {
        if text.is_empty() { Progress::Alive } else { Progress::Text(text) }
    }
}

impl From<Value> for Block {
    fn from(block: Value) -> Self {
        match block["type"].as_str() {
            Some("text") => Block::Text(block["text"].as_str().unwrap_or_default().to_owned()),
            Some("thinking" | "redacted_thinking") => Block::Thinking { open: true },
            Some("tool_use") => Block::ToolUse { call: block, input: String::new() },
            _ => Block::Other,
        }
    }
}

impl Stop {
    fn finish(self, warnings: &mut Vec<String>) -> Finish {
        match self.stop_reason.as_deref().unwrap_or_default() {
            "end_turn" => Finish::Stop,
            "max_tokens" | "model_context_window_exceeded" => Finish::Length,
            "stop_sequence" => Finish::StopSequence(self.stop_sequence.unwrap_or_default()),
            "tool_use" => Finish::ToolUse,
            "refusal" => {
                let details = self.stop_details.map_or_else(String::new, |details| {
                    let said = [details.category, details.explanation];
                    said.into_iter().flatten().map(|part| format!(": {part}")).collect()
                });
                warnings.push(format!("claude declined{details}"));
                Finish::Refusal
            }
            "pause_turn" => {
                warnings.push("claude paused in a long turn: the answer is not whole".to_owned());
                Finish::Length
            }
            other => {
                warnings.push(format!("claude stopped for a reason that we do not know: {other}"));
                Finish::Stop
            }
        }
    }
}

impl Reported {
    fn update(&mut self, later: Reported) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens =
            later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_creation = later.cache_creation.or(self.cache_creation.take());
    }

    fn total(self) -> Usage {
        let written = self.cache_creation_input_tokens.unwrap_or(0);
        let hour = self.cache_creation.map_or(0, |detail| detail.ephemeral_1h_input_tokens).min(written);
        Usage {
            input_tokens: self.input_tokens.unwrap_or(0),
            output_tokens: self.output_tokens.unwrap_or(0),
            cache_read_tokens: self.cache_read_input_tokens.unwrap_or(0),
            cache_write_5m_tokens: written - hour,
            cache_write_1h_tokens: hour,
        }
    }
}

impl Trouble {
    /// What it means, and the status that it would have had outside of a stream.
    fn complaint(self) -> Complaint {
        let status = match self.kind.as_str() {
            "invalid_request_error" => 400,
            "authentication_error" => 401,
            "billing_error" => 402,
            "permission_error" => 403,
            "not_found_error" => 404,
            "conflict_error" => 409,
            "request_too_large" => 413,
            "rate_limit_error" => 429,
            "timeout_error" => 504,
            "overloaded_error" => 529,
            _ => 500,
        };
        let lower = self.message.to_lowercase();
        let meaning = if status != 400 {
            None
        } else if ["prompt is too long", "context limit", "context window"].iter().any(|s| lower.contains(s))
        {
            Some(too_long(&lower))
        } else if lower.contains("content filter") {
            Some(Meaning::Filtered)
        } else {
            None
        };
        Complaint { status: Some(status), message: self.message, meaning }
    }
}

/// Reads "prompt is too long: 208310 tokens > 200000 maximum" and "…: 199000 + 20000 > 200000, …".
fn too_long(message: &str) -> Meaning {
    let (needed, limit) = message.split_once('>').unwrap_or((message, ""));
    let needed = needed.rsplit(':').next().unwrap_or_default();
    Meaning::TooLong {
        needed: if limit.is_empty() { 0 } else { numbers(needed).sum() },
        limit: numbers(limit).next().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
