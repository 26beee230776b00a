//! What is sent to Claude: the body of a `POST /v1/messages`, and a warning for each thing that the model does not take.

use serde_json::{Value, json};

use super::schema::expressible;
use crate::inference::{Request, Sampling, Shape, decimal, instructions};

/// Parts of the names of the models that take sampling parameters. The later ones, and any that we do not know, answer
/// them with status 400.
const TAKE_SAMPLING: [&str; 9] = [
    "claude-3",
    "claude-haiku-4",
    "claude-sonnet-4",
    "claude-opus-4-0",
    "claude-opus-4-1",
    "claude-opus-4-2",
    "claude-opus-4-5",
    "claude-opus-4-6",
    "claude-4-",
];

/// A call's body.
pub(super) struct Body {
    /// As it is sent.
    pub(super) json: Value,
    /// What was left out of it.
    pub(super) warnings: Vec<String>,
}

/// The body that asks `model` for this.
pub(super) fn body(request: &Request, model: &str, streaming: bool) -> Body {
    let mut warnings = Vec::new();
    let messages: Vec<Value> = request
        .messages
        .iter()
        .map(|message| json!({"role": message.role.name(), "content": message.text}))
        .collect();
    let mut json = json!({"model": model, "max_tokens": request.max_tokens, "messages": messages});
    if streaming {
        json["stream"] = true.into();
    }

    let (format, words) = match &request.shape {
        Shape::Json(schema) => (expressible(schema), None),
        Shape::JsonOfSpans { schema, .. } => (expressible(schema), Some(instructions::COPY.to_owned())),
        _ => (None, None),
    };
    let words = if format.is_some() { words } else { instructions::shape(&request.shape) };
    if let Some(schema) = format {
        json["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
    }
    if let Some(system) = instructions::system(request, words) {
        json["system"] = system.into();
    }

    sampling(&request.sampling, model, &mut json, &mut warnings);
    let (stop, blank): (Vec<&String>, Vec<&String>) =
        request.stop.iter().partition(|stop| !stop.trim().is_empty());
    if !blank.is_empty() {
        warnings.push("stop strings of white space alone were dropped: claude does not take them".to_owned());
    }
    if !stop.is_empty() {
        json["stop_sequences"] = json!(stop);
    }
    if let Some(tools) = &request.tools {
        json["tools"] = tools.clone();
    }
    Body { json, warnings }
}

/// Adds what of this the model takes.
fn sampling(sampling: &Sampling, model: &str, json: &mut Value, warnings: &mut Vec<String>) {
    let takes = TAKE_SAMPLING.iter().any(|part| model.contains(part));
    let mut dropped = |name: &str| warnings.push(format!("{name} was dropped: {model} does not take it"));
    match sampling.temperature {
        Some(_) if !takes => dropped("temperature"),
        Some(temperature) => json["temperature"] = decimal(temperature.min(1.0)),
        None => {}
    }
    match sampling.top_p {
        // The later ones of these models refuse the two together.
        Some(_) if !takes || sampling.temperature.is_some() => dropped("top_p"),
        Some(top_p) => json["top_p"] = decimal(top_p),
        None => {}
    }
    match sampling.top_k {
        Some(_) if !takes => dropped("top_k"),
        Some(top_k) => json["top_k"] = top_k.into(),
        None => {}
    }
    for (name, is_set) in [
        ("min_p", sampling.min_p.is_some()),
        ("repetition_penalty", sampling.repetition_penalty.is_some()),
        ("presence_penalty", sampling.presence_penalty.is_some()),
        ("frequency_penalty", sampling.frequency_penalty.is_some()),
        ("seed", sampling.seed.is_some()),
    ] {
        if is_set {
            dropped(name);
        }
    }
    if let Some(temperature) = sampling.temperature.filter(|&temperature| takes && temperature > 1.0) {
        warnings.push(format!("temperature {temperature} became 1, the most that {model} takes"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::{Message, Role};

    fn sent(change: impl FnOnce(&mut Request), model: &str) -> Body {
        let mut request = Request::new("hello");
        change(&mut request);
        body(&request, model, true)
    }

    #[test]
    fn a_plain_request_is_a_plain_body() {
        let Body { json, warnings } = sent(|_| {}, "claude-sonnet-5-5");
        let plain = json!({
            "model": "claude-sonnet-5-5",
            "max_tokens": 1024,
            "messages": [{"role": "user", "content": "hello"}],
            "stream": true
        });
        assert_eq!((json, warnings), (plain, Vec::new()));
    }

    #[test]
    fn every_part_of_a_request_has_its_place() {
        let Body { json, .. } = sent(
            |request| {
                request.system = Some("be kind".to_owned());
                request.messages.push(Message { role: Role::Assistant, text: "hello?".to_owned() });
                request.messages.push(Message { role: Role::User, text: "yes".to_owned() });
                request.sampling.temperature = Some(0.7);
                request.stop = vec!["END".to_owned()];
                request.tools = Some(json!([{"name": "clock", "input_schema": {"type": "object"}}]));
            },
            "claude-haiku-4-5",
        );
        assert_eq!(json["system"], "be kind");
        assert_eq!(json["messages"][1], json!({"role": "assistant", "content": "hello?"}));
        assert_eq!(json["temperature"], json!(0.7));
        assert_eq!(json["stop_sequences"], json!(["END"]));
        assert_eq!(json["tools"][0]["name"], "clock");
    }

    #[test]
    fn temperature_goes_only_to_models_that_take_it() {
        let warm = |model: &str, temperature| {
            let Body { json, warnings } =
                sent(|request| request.sampling.temperature = Some(temperature), model);
            (json.get("temperature").cloned(), warnings.len())
        };
        assert_eq!(warm("claude-sonnet-4-6", 0.2), (Some(json!(0.2)), 0));
        assert_eq!(warm("anthropic/claude-haiku-4-5", 1.0), (Some(json!(1.0)), 0));
        assert_eq!(warm("claude-haiku-4-5", 1.5), (Some(json!(1.0)), 1));
        for model in
            ["claude-sonnet-5", "claude-sonnet-5-5", "claude-opus-4-8", "claude-opus-5-5", "house-model"]
        {
            assert_eq!(warm(model, 0.2), (None, 1), "{model}");
        }
    }

    #[test]
    fn what_claude_does_not_take_of_the_sampling_is_dropped_with_a_word() {
        let asked = Sampling {
            top_k: Some(40),
            top_p: Some(0.9),
            min_p: Some(0.1),
            repetition_penalty: Some(1.1),
            presence_penalty: Some(0.5),
            frequency_penalty: Some(0.5),
            seed: Some(1),
            temperature: None,
        };
        let Body { json, warnings } = sent(|request| request.sampling = asked, "claude-haiku-4-5");
        assert_eq!((&json["top_p"], &json["top_k"], warnings.len()), (&json!(0.9), &json!(40), 5));
        let Body { json, warnings } = sent(|request| request.sampling = asked, "claude-sonnet-5-5");
        assert!(json.get("top_p").is_none() && json.get("top_k").is_none());
        assert_eq!(warnings.len(), 7);
        let both = Sampling { temperature: Some(0.5), top_p: Some(0.9), ..Sampling::default() };
        let Body { json, warnings } = sent(|request| request.sampling = both, "claude-haiku-4-5");
        assert!(json.get("top_p").is_none() && warnings.len() == 1);
    }

    #[test]
    fn a_schema_is_a_format_where_claude_knows_it_and_words_where_not() {
        let closed = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let Body { json, .. } = sent(|request| request.shape = Shape::Json(closed.clone()), "m");
        assert_eq!(json["output_config"]["format"]["type"], "json_schema");
        assert_eq!(json["output_config"]["format"]["schema"]["additionalProperties"], false);
        assert!(json.get("system").is_none());

        let free = json!({"type": "object", "additionalProperties": {"type": "string"}});
        let Body { json, .. } = sent(|request| request.shape = Shape::Json(free.clone()), "m");
        assert!(json.get("output_config").is_none());
        assert!(json["system"].as_str().expect("words").contains(&free.to_string()));

        let spans = Shape::JsonOfSpans { schema: closed, source: "text".to_owned() };
        let Body { json, .. } = sent(|request| request.shape = spans, "m");
        assert!(json["output_config"].is_object());
        assert_eq!(json["system"], instructions::COPY);
    }

    #[test]
    fn a_choice_is_asked_for_in_words_after_the_callers_own() {
        let Body { json, .. } = sent(
            |request| {
                request.system = Some("be kind".to_owned());
                request.shape = Shape::Choice(vec!["red".to_owned(), "blue".to_owned()]);
            },
            "m",
        );
        let system = json["system"].as_str().expect("words");
        assert!(system.starts_with("be kind\n\n") && system.ends_with("\n- red\n- blue"), "{system}");
    }

    #[test]
    fn a_stop_string_of_white_space_is_dropped_and_said_so() {
        let Body { json, warnings } =
            sent(|request| request.stop = vec!["\n\n".to_owned(), "END".to_owned()], "m");
        assert_eq!(json["stop_sequences"], json!(["END"]));
        assert_eq!(warnings.len(), 1);
    }
}
