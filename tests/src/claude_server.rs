//! Plays Claude's Messages API: in one piece and as a stream, with either sort of authentication, as strict as the
//! API is about what its models take.

use serde_json::{Value, json};

use crate::scripted_server::{Call, Dialect, Failure, KEY, Reply, Script, Server, event, tokens};

/// The server.
pub type ClaudeServer = Server<Messages>;

/// The Messages API.
#[derive(Debug)]
pub enum Messages {}

/// The versions that the API knows.
const VERSIONS: [&str; 2] = ["2023-06-01", "2026-10-21"];
/// The fields that a request may have.
const FIELDS: [&str; 19] = [
    "cache_control",
    "container",
    "inference_geo",
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "output_config",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

impl Dialect for Messages {
    const PATH: &'static str = "/v1/messages";
    const BASE: &'static str = "";

    fn problem(call: &Call) -> Option<Failure> {
        let header = |name: &str| call.headers.get(name).map(String::as_str);
        let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match bearer.or(header("x-api-key")) {
            None => return Some(Failure::new(401, "authentication_error", "a key is required")),
            Some(key) if key != KEY => {
                return Some(Failure::new(401, "authentication_error", "invalid key"));
            }
            Some(_) => {}
        }
        let version = header("anthropic-version").unwrap_or_default();
        invalid(version, &call.body).map(|message| match message {
            Invalid::Request(message) => Failure::new(400, "invalid_request_error", &message),
            Invalid::Model(model) => Failure::new(404, "not_found_error", &format!("model: {model}")),
        })
    }

    fn stream(reply: &Reply, call: &Call, id: &str) -> Script {
        let mut script = Script::default();
        let mut opening = message(reply, call, id);
        opening["content"] = json!([]);
        opening["stop_reason"] = Value::Null;
        opening["stop_sequence"] = Value::Null;
        opening["usage"]["output_tokens"] = 1.into();
        script.opening.push(typed(json!({"type": "message_start", "message": opening})));
        script.opening.push(typed(json!({"type": "ping"})));
        let start = |index, block| {
            typed(json!({"type": "content_block_start", "index": index, "content_block": block}))
        };
        let delta =
            |index, delta| typed(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        let stop = |index| typed(json!({"type": "content_block_stop", "index": index}));
        let mut index = 0;
        if let Some(thinking) = &reply.thinking {
            script.opening.push(start(index, json!({"type": "thinking", "thinking": "", "signature": ""})));
            let thoughts = tokens(thinking).map(|text| json!({"type": "thinking_delta", "thinking": text}));
            let signature = json!({"type": "signature_delta", "signature": "c2lnbmVk"});
            script.opening.extend(thoughts.chain([signature]).map(|part| delta(index, part)));
            script.opening.push(stop(index));
            index += 1;
        }
        if !reply.text.is_empty() {
            script.opening.push(start(index, json!({"type": "text", "text": ""})));
            let texts = tokens(&reply.text).map(|text| json!({"type": "text_delta", "text": text}));
            script.tokens.extend(texts.map(|part| delta(index, part)));
            script.closing.push(stop(index));
            index += 1;
        }
        if let Some((name, input)) = &reply.tool {
            let call = json!({"type": "tool_use", "id": "toolu_scripted", "name": name, "input": {}});
            script.closing.push(start(index, call));
            let input = input.to_string();
            for part in ["", &input[..input.len() / 2], &input[input.len() / 2..]] {
                script.closing.push(delta(index, json!({"type": "input_json_delta", "partial_json": part})));
            }
            script.closing.push(stop(index));
        }
        let whole = message(reply, call, id);
        let end = json!({"stop_reason": whole["stop_reason"], "stop_sequence": whole["stop_sequence"],
                         "stop_details": whole["stop_details"]});
        let usage = json!({"output_tokens": whole["usage"]["output_tokens"]});
        script.closing.push(typed(json!({"type": "message_delta", "delta": end, "usage": usage})));
        script.end.push(typed(json!({"type": "message_stop"})));
        script
    }

    fn whole(reply: &Reply, call: &Call, id: &str) -> Value {
        message(reply, call, id)
    }

    fn error(failure: &Failure, id: &str) -> Value {
        let error = json!({"type": failure.kind, "message": failure.message});
        json!({"type": "error", "error": error, "request_id": id})
    }

    fn trouble(failure: &Failure, id: &str) -> String {
        typed(Self::error(failure, id))
    }
}

/// An event that is named after its type.
fn typed(data: Value) -> String {
    event(data["type"].as_str(), &data)
}

/// A whole answer.
fn message(reply: &Reply, call: &Call, id: &str) -> Value {
    let mut content = Vec::new();
    if let Some(thinking) = &reply.thinking {
        content.push(json!({"type": "thinking", "thinking": thinking, "signature": "c2lnbmVk"}));
    }
    if !reply.text.is_empty() {
        content.push(json!({"type": "text", "text": reply.text, "citations": null}));
    }
    if let Some((name, input)) = &reply.tool {
        content.push(json!({"type": "tool_use", "id": "toolu_scripted", "name": name, "input": input}));
    }
    let natural = if reply.tool.is_some() { "tool_use" } else { "end_turn" };
    let stop = reply.stop.as_deref().unwrap_or(natural);
    let (stop_sequence, stop_details) = match stop {
        "stop_sequence" => (call.body["stop_sequences"][0].clone(), Value::Null),
        "refusal" => {
            (Value::Null, json!({"type": "refusal", "category": "cyber", "explanation": "it is a script"}))
        }
        _ => (Value::Null, Value::Null),
    };
    let usage = reply.usage(call.words());
    let written = json!({"ephemeral_5m_input_tokens": usage.cache_write_5m_tokens,
                         "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens});
    json!({
        "id": id.replace("req_", "msg_"),
        "type": "message",
        "role": "assistant",
        "model": call.body["model"],
        "content": content,
        "stop_reason": stop,
        "stop_sequence": stop_sequence,
        "stop_details": stop_details,
        "usage": {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_read_input_tokens": usage.cache_read_tokens,
            "cache_creation_input_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
            "cache_creation": written,
            "service_tier": "standard"
        }
    })
}

enum Invalid {
    Request(String),
    Model(String),
}

/// What is wrong with a request.
fn invalid(version: &str, body: &Value) -> Option<Invalid> {
    let problem = |message: &str| Some(Invalid::Request(message.to_owned()));
    if !VERSIONS.contains(&version) {
        return problem("anthropic-version: a version that is known is required");
    }
    let Some(fields) = body.as_object() else { return problem("the body is no JSON object") };
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return problem(&format!("{unknown}: Extra inputs are not permitted"));
    }
    let Some(model) = body["model"].as_str() else { return problem("model: Field required") };
    if !model.starts_with("claude-") {
        return Some(Invalid::Model(model.to_owned()));
    }
    if body["max_tokens"].as_u64().is_none_or(|tokens| tokens == 0) {
        return problem("max_tokens: Input should be greater than 0");
    }
    let Some(turns) = body["messages"].as_array().filter(|turns| !turns.is_empty()) else {
        return problem("messages: at least one message is required");
    };
    for turn in turns {
        match turn["role"].as_str() {
            Some("user" | "assistant") => {}
            Some("system") if version == VERSIONS[1] => {}
            _ => return problem("messages: the role is not one of those allowed"),
        }
    }
    let newer = !["claude-3", "-4-"].iter().any(|part| model.contains(part));
    if newer && turns.last().is_some_and(|turn| turn["role"] == "assistant") {
        return problem(
            "this model does not take a prefilled answer; the conversation must end with a user message",
        );
    }
    if newer && let Some(name) = ["temperature", "top_p", "top_k"].iter().find(|name| !body[**name].is_null())
    {
        return problem(&format!("{name}: this model does not take it"));
    }
    if !(body["temperature"].is_null()
        || body["temperature"].as_f64().is_some_and(|t| (0.0..=1.0).contains(&t)))
    {
        return problem("temperature: must be 0 to 1");
    }
    let stops = body["stop_sequences"].as_array();
    if stops.into_iter().flatten().any(|stop| stop.as_str().is_none_or(|stop| stop.trim().is_empty())) {
        return problem("stop_sequences: each must contain non-whitespace");
    }
    let format = &body["output_config"]["format"];
    if !format.is_null() && (format["type"] != "json_schema" || !closed(&format["schema"])) {
        return problem("output_config.format.schema: for objects, additionalProperties must be false");
    }
    None
}

/// Whether every object that a schema describes is closed.
fn closed(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            (fields.get("type") != Some(&json!("object"))
                || fields.get("additionalProperties") == Some(&json!(false)))
                && fields.values().all(closed)
        }
        Value::Array(items) => items.iter().all(closed),
        _ => true,
    }
}
