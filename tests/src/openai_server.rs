//! Plays OpenAI's chat completions, as llama-server, Ollama, vLLM and OpenAI serve them.

use serde_json::{Value, json};

use crate::scripted_server::{Call, Dialect, Failure, KEY, Reply, Script, Server, event, tokens};

/// The server.
pub type OpenAiServer = Server<ChatCompletions>;

/// Chat completions.
#[derive(Debug)]
pub enum ChatCompletions {}

impl Dialect for ChatCompletions {
    const PATH: &'static str = "/v1/chat/completions";
    const BASE: &'static str = "/v1";

    fn problem(call: &Call) -> Option<Failure> {
        let invalid = |message: &str| Some(Failure::new(400, "invalid_request_error", message));
        if call.headers.get("authorization").is_some_and(|value| *value != format!("Bearer {KEY}")) {
            return Some(Failure::new(401, "invalid_api_key", "incorrect API key provided"));
        }
        if !call.body["model"].is_string() {
            return invalid("you must provide a model parameter");
        }
        if call.body["messages"].as_array().is_none_or(Vec::is_empty) {
            return invalid("'messages' must not be empty");
        }
        None
    }

    fn stream(reply: &Reply, call: &Call, id: &str) -> Script {
        let chunk = |delta: Value, finish: Value| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish, "logprobs": null});
            let mut chunk = head(call, id, "chat.completion.chunk");
            chunk["choices"] = json!([choice]);
            chunk
        };
        let mut script = Script::default();
        let role = chunk(json!({"role": "assistant", "content": ""}), Value::Null);
        script.opening.push(event(None, &role));
        if let Some(thinking) = &reply.thinking {
            let thought = chunk(json!({"reasoning_content": thinking}), Value::Null);
            script.opening.push(event(None, &thought));
        }
        for token in tokens(&reply.text) {
            let mut chunk = chunk(json!({"content": token}), Value::Null);
            if call.body["logprobs"] == true {
                chunk["choices"][0]["logprobs"] = logprobs([token].into_iter());
            }
            script.tokens.push(event(None, &chunk));
        }
        if let Some((name, arguments)) = &reply.tool {
            let function = json!({"name": name, "arguments": arguments.to_string()});
            let part = json!({"index": 0, "id": "call_scripted", "type": "function", "function": function});
            script.closing.push(event(None, &chunk(json!({"tool_calls": [part]}), Value::Null)));
        }
        script.closing.push(event(None, &chunk(json!({}), finish(reply))));
        if call.body["stream_options"]["include_usage"] == true {
            let mut last = head(call, id, "chat.completion.chunk");
            last["choices"] = json!([]);
            last["usage"] = usage(reply, call);
            script.closing.push(event(None, &last));
        }
        script.end.push("data: [DONE]\n\n".to_owned());
        script
    }

    fn whole(reply: &Reply, call: &Call, id: &str) -> Value {
        let mut message = json!({"role": "assistant", "content": reply.text});
        if let Some((name, arguments)) = &reply.tool {
            let function = json!({"name": name, "arguments": arguments.to_string()});
            message["tool_calls"] =
                json!([{"id": "call_scripted", "type": "function", "function": function}]);
        }
        let mut choice = json!({"index": 0, "message": message, "finish_reason": finish(reply)});
        if call.body["logprobs"] == true {
            choice["logprobs"] = logprobs(tokens(&reply.text));
        }
        let mut whole = head(call, id, "chat.completion");
        whole["choices"] = json!([choice]);
        whole["usage"] = usage(reply, call);
        whole
    }

    fn error(failure: &Failure, _id: &str) -> Value {
        let error =
            json!({"message": failure.message, "type": failure.kind, "code": failure.kind, "param": null});
        json!({"error": error})
    }

    fn trouble(failure: &Failure, id: &str) -> String {
        event(None, &Self::error(failure, id))
    }
}

fn head(call: &Call, id: &str, object: &str) -> Value {
    let id = id.replace("req_", "chatcmpl-");
    json!({"id": id, "object": object, "created": 1_795_564_800, "model": call.body["model"]})
}

fn finish(reply: &Reply) -> Value {
    let natural = if reply.tool.is_some() { "tool_calls" } else { "stop" };
    reply.stop.as_deref().unwrap_or(natural).into()
}

fn usage(reply: &Reply, call: &Call) -> Value {
    let usage = reply.usage(call.words());
    let prompt = usage.input_tokens + usage.cache_read_tokens;
    json!({"prompt_tokens": prompt, "completion_tokens": usage.output_tokens,
           "total_tokens": prompt + usage.output_tokens,
           "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens}})
}

/// Every token is as likely as a fair coin.
fn logprobs<'a>(tokens: impl Iterator<Item = &'a str>) -> Value {
    let content: Vec<Value> =
        tokens.map(|token| json!({"token": token, "logprob": 0.5f64.ln(), "top_logprobs": []})).collect();
    json!({"content": content})
}
