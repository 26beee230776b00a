//! What is sent: the body of a `POST …/chat/completions`.

use serde_json::{Value, json};

use super::{Config, extension};
use crate::inference::{Request, Sampling, Shape, decimal, instructions};

/// A call's body.
pub(super) struct Body {
    /// As it is sent.
    pub(super) json: Value,
    /// What was left out of it.
    pub(super) warnings: Vec<String>,
}

/// The body that asks for this. OpenAI's own newer models know only `max_completion_tokens`, all other endpoints know
/// `max_tokens`.
pub(super) fn body(request: &Request, config: &Config, streaming: bool, at_openai: bool) -> Body {
    let (format, words) = match &request.shape {
        // Held to it, it need not be told: it is asked exactly as a model in the process would be.
        _ if config.extended => (None, None),
        Shape::Json(schema) => (Some(schema), None),
        Shape::JsonOfSpans { schema, .. } => (Some(schema), Some(instructions::COPY.to_owned())),
        other => (None, instructions::shape(other)),
    };
    let system = instructions::system(request, words).map(|text| json!({"role": "system", "content": text}));
    let turns =
        request.messages.iter().map(|message| json!({"role": message.role.name(), "content": message.text}));
    let messages: Vec<Value> = system.into_iter().chain(turns).collect();
    let model = request.model.as_deref().unwrap_or(&config.model);
    let mut json = json!({"model": model, "messages": messages});
    json[if at_openai { "max_completion_tokens" } else { "max_tokens" }] = request.max_tokens.into();
    if streaming {
        json["stream"] = true.into();
        json["stream_options"] = json!({"include_usage": true});
    }
    if config.logprobs {
        json["logprobs"] = true.into();
    }
    if let Some(shape) = extension::write_shape(&request.shape).filter(|_| config.extended) {
        json[extension::SHAPE] = shape;
    }
    if let Some(schema) = format {
        let schema = json!({"name": "answer", "schema": schema});
        json["response_format"] = json!({"type": "json_schema", "json_schema": schema});
    }
    let warnings = sampling(&request.sampling, at_openai, &mut json);
    if !request.stop.is_empty() {
        json["stop"] = json!(request.stop);
    }
    if let Some(tools) = &request.tools {
        json["tools"] = tools.clone();
    }
    Body { json, warnings }
}

/// Adds what of this the endpoint takes. OpenAI's own API refuses names that it does not know; other servers know more
/// of them, or pass over them.
fn sampling(sampling: &Sampling, at_openai: bool, json: &mut Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let everywhere = [
        ("temperature", sampling.temperature.map(decimal)),
        ("top_p", sampling.top_p.map(decimal)),
        ("presence_penalty", sampling.presence_penalty.map(decimal)),
        ("frequency_penalty", sampling.frequency_penalty.map(decimal)),
        ("seed", sampling.seed.map(Value::from)),
    ];
    let elsewhere = [
        ("top_k", sampling.top_k.map(Value::from)),
        ("min_p", sampling.min_p.map(decimal)),
        // The same thing as vLLM and as llama-server call it.
        ("repetition_penalty", sampling.repetition_penalty.map(decimal)),
        ("repeat_penalty", sampling.repetition_penalty.map(decimal).filter(|_| !at_openai)),
    ];
    for (name, value) in everywhere {
        if let Some(value) = value {
            json[name] = value;
        }
    }
    for (name, value) in elsewhere {
        match value {
            Some(_) if at_openai => warnings.push(format!("{name} was dropped: OpenAI does not take it")),
            Some(value) => json[name] = value,
            None => {}
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::Provider;

    #[test]
    fn a_request_of_a_small_model_streams_with_usage_and_log_probabilities() {
        let config = Config::new(Provider::Slm, "http://localhost:8080", "phi");
        let body = body(&Request::new("hello"), &config, true, false).json;
        let expected = json!({
            "model": "phi",
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": 1024,
            "stream": true,
            "stream_options": {"include_usage": true},
            "logprobs": true
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn a_server_of_our_own_is_sent_the_shape_itself_and_no_words_about_it() {
        let config = Config { extended: true, ..Config::new(Provider::Slm, "http://localhost:8090", "tiny") };
        let shape = Shape::Span("a=1".to_owned());
        let body = body(&Request { shape, ..Request::new("a=1") }, &config, false, false).json;
        assert_eq!(body["messages"], json!([{"role": "user", "content": "a=1"}]), "as it was trained");
        assert_eq!(body["shape"], json!({"type": "span", "source": "a=1"}));
        assert!(body.get("response_format").is_none());
    }

    #[test]
    fn every_part_of_a_request_has_its_place() {
        let config = Config::new(Provider::Llm, "https://api.openai.com/v1", "gpt");
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let request = Request {
            system: Some("be kind".to_owned()),
            model: Some("gpt-2".to_owned()),
            sampling: Sampling {
                temperature: Some(0.7),
                top_k: Some(40),
                seed: Some(3),
                ..Sampling::default()
            },
            stop: vec!["END".to_owned()],
            shape: Shape::JsonOfSpans { schema: schema.clone(), source: "text".to_owned() },
            tools: Some(json!([{"type": "function", "function": {"name": "clock"}}])),
            ..Request::new("hello")
        };
        let Body { json: body, warnings } = body(&request, &config, false, true);
        assert_eq!((&body["seed"], warnings.len()), (&json!(3), 1), "OpenAI takes a seed and no top_k");
        assert_eq!(body["model"], "gpt-2");
        assert_eq!(body["messages"][0]["role"], "system");
        assert_eq!(body["messages"][0]["content"], format!("be kind\n\n{}", instructions::COPY));
        assert_eq!(body["response_format"]["json_schema"]["schema"], schema);
        assert_eq!((&body["temperature"], &body["stop"]), (&json!(0.7), &json!(["END"])));
        assert_eq!(body["tools"][0]["function"]["name"], "clock");
        assert_eq!(body["max_completion_tokens"], 1024);
        for absent in ["max_tokens", "stream", "stream_options", "logprobs", "top_k"] {
            assert!(body.get(absent).is_none(), "{absent}");
        }
    }
}
