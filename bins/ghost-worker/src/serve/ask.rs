//! What a body of `POST /v1/chat/completions` asks for.
//!
//! Pure. A parameter that is not known is refused by its name, so that nobody wonders why it does nothing; those that
//! change no answer of this server are passed over. `null` counts as absent everywhere.

use axum::http::StatusCode;
use ghost_core::inference::openai_compatible::extension;
use ghost_core::inference::{Message, Request, Role, Sampling, Shape};
use serde_json::{Map, Value, json};

use super::Refusal;

/// The most tokens of an answer where nobody says; the engine sets memory aside for as many.
const MAX_TOKENS: u32 = 1_024;
/// The most stop strings.
const MAX_STOPS: usize = 16;
/// The most bytes of each.
const MAX_STOP_BYTES: usize = 256;

/// Parameters of OpenAI's that say something of the caller, or ask for what every answer here has anyway.
const PASSED_OVER: [&str; 11] = [
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "store",
    "tool_choice",
    "user",
    "verbosity",
];

/// A request, checked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Which model, where one is named.
    pub model: Option<String>,
    /// What the engine is asked.
    pub request: Request,
    /// Whether the answer comes as a stream.
    pub stream: bool,
    /// Whether the stream ends with what it took.
    pub include_usage: bool,
    /// Whether the answer tells each token's log-probability.
    pub logprobs: bool,
}

impl Asked {
    /// Reads and checks a body. It is bounded by whoever read it.
    ///
    /// # Errors
    /// [`Refusal`] names the parameter that is to blame.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let body: Value = serde_json::from_slice(body).map_err(|error| {
            Refusal::new(StatusCode::BAD_REQUEST, "invalid_json", format!("the body is no JSON: {error}"))
        })?;
        let Value::Object(body) = body else {
            let words = "the body must be a JSON object with `messages`";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "invalid_json", words));
        };
        let mut fields = Fields(body);

        let model = fields.string("model")?;
        let (system, messages) = conversation(fields.take("messages"))?;
        let mut request = Request { system, messages, ..Request::new("") };
        request.sampling = sampling(&mut fields)?;
        let newer = fields.whole("max_completion_tokens", 1, u64::from(u32::MAX))?;
        let older = fields.whole("max_tokens", 1, u64::from(u32::MAX))?;
        request.max_tokens =
            newer.or(older).map_or(MAX_TOKENS, |most| u32::try_from(most).unwrap_or(u32::MAX));
        request.stop = stops(fields.take("stop"))?;
        request.shape = shape(&mut fields)?;

        let stream = fields.boolean("stream")?;
        let include_usage = match fields.take("stream_options") {
            None => false,
            Some(_) if !stream => {
                return Err(Refusal::invalid("stream_options", "is only for a stream: set `stream` to true"));
            }
            Some(Value::Object(options)) => {
                let mut options = Fields(options);
                // It pads chunks against eavesdroppers; nothing here is padded.
                options.take("include_obfuscation");
                let include_usage = options.boolean("include_usage");
                options.nothing_else("stream_options.").and(include_usage)?
            }
            Some(_) => return Err(Refusal::invalid("stream_options", "must be an object")),
        };
        let logprobs = fields.boolean("logprobs")?;
        if fields.whole("top_logprobs", 0, 20)?.unwrap_or(0) > 0 {
            let words = "must be 0: the log-probabilities of tokens that were not taken are not kept";
            return Err(Refusal::invalid("top_logprobs", words));
        }
        fields.whole("n", 1, 1)?;
        for (name, words) in [
            ("tools", "must be empty: the local model uses no tools"),
            ("functions", "must be empty: the local model uses no tools"),
            ("logit_bias", "must be empty: this server does not take any"),
        ] {
            let given = fields.take(name);
            let empty = given.as_ref().is_none_or(|given| *given == json!([]) || *given == json!({}));
            if !empty {
                return Err(Refusal::invalid(name, words));
            }
        }
        if fields.take("modalities").is_some_and(|given| given != json!(["text"])) {
            return Err(Refusal::invalid("modalities", "must be [\"text\"]"));
        }
        for name in PASSED_OVER {
            fields.take(name);
        }
        fields.nothing_else("")?;
        Ok(Self { model, request, stream, include_usage, logprobs })
    }
}

/// The members of an object that nobody has looked at.
struct Fields(Map<String, Value>);

impl Fields {
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn boolean(&mut self, name: &str) -> Result<bool, Refusal> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(value),
            Some(_) => Err(Refusal::invalid(name, "must be true or false")),
        }
    }

    fn string(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(_) => Err(Refusal::invalid(name, "must be a string")),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<f32>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            // What is out of range is refused by its value.
            Some(value) => match value.as_f64() {
                Some(value) => Ok(Some(value as f32)),
                None => Err(Refusal::invalid(name, "must be a number")),
            },
        }
    }

    fn whole(&mut self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let whole = value.as_u64().filter(|value| (least..=most).contains(value));
        whole.map(Some).ok_or_else(|| {
            let range =
                if least == most { least.to_string() } else { format!("a whole number, {least} to {most}") };
            Refusal::invalid(name, format!("must be {range}"))
        })
    }

    fn nothing_else(self, within: &str) -> Result<(), Refusal> {
        match self.0.into_iter().find(|(_, value)| !value.is_null()) {
            None => Ok(()),
            Some((name, _)) => Err(Refusal::unknown(format!("{within}{name}"))),
        }
    }
}

fn sampling(fields: &mut Fields) -> Result<Sampling, Refusal> {
    // The same thing as vLLM and as llama-server call it.
    let (theirs, other) = (fields.number("repetition_penalty")?, fields.number("repeat_penalty")?);
    let sampling = Sampling {
        temperature: fields.number("temperature")?,
        top_k: fields.whole("top_k", 1, 1_000)?.and_then(|k| u32::try_from(k).ok()),
        top_p: fields.number("top_p")?,
        min_p: fields.number("min_p")?,
        repetition_penalty: theirs.or(other),
        presence_penalty: fields.number("presence_penalty")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        seed: match fields.take("seed") {
            None => None,
            // OpenAI's seeds have a sign; which number it becomes is the same each time.
            Some(seed) => match seed.as_u64().or_else(|| seed.as_i64().map(i64::cast_unsigned)) {
                None => return Err(Refusal::invalid("seed", "must be a whole number")),
                seed => seed,
            },
        },
    };
    match sampling.out_of_range() {
        None => Ok(sampling),
        Some((name, range)) => Err(Refusal::invalid(name, format!("must be {range}"))),
    }
}

fn stops(given: Option<Value>) -> Result<Vec<String>, Refusal> {
    let wrong = || {
        let words =
            format!("must be a string or up to {MAX_STOPS} of them, of 1 to {MAX_STOP_BYTES} bytes each");
        Refusal::invalid("stop", words)
    };
    let stops = match given {
        None => return Ok(Vec::new()),
        Some(Value::String(stop)) => vec![stop],
        Some(Value::Array(stops)) if stops.len() <= MAX_STOPS => {
            let text = |stop| if let Value::String(stop) = stop { Some(stop) } else { None };
            stops.into_iter().map(text).collect::<Option<Vec<_>>>().ok_or_else(wrong)?
        }
        Some(_) => return Err(wrong()),
    };
    if stops.iter().all(|stop| (1..=MAX_STOP_BYTES).contains(&stop.len())) { Ok(stops) } else { Err(wrong()) }
}

/// What the answer must look like: as OpenAI says it, as llama-server does, or by our own extension.
fn shape(fields: &mut Fields) -> Result<Shape, Refusal> {
    let format =
        fields.take("response_format").map(format).transpose()?.filter(|shape| *shape != Shape::Text);
    let grammar = fields.string("grammar")?.map(Shape::Grammar);
    let own = fields
        .take(extension::SHAPE)
        .map(|shape| {
            extension::read_shape(shape)
                .map_err(|problem| Refusal::invalid(extension::SHAPE, format!("is none: {problem}")))
        })
        .transpose()?;
    let mut given = [("response_format", format), ("grammar", grammar), (extension::SHAPE, own)]
        .into_iter()
        .filter_map(|(name, shape)| shape.map(|shape| (name, shape)));
    let first = given.next();
    if let (Some((first, _)), Some((second, _))) = (&first, given.next()) {
        return Err(Refusal::invalid(
            second,
            format!("and {first} cannot both shape an answer; leave one out"),
        ));
    }
    Ok(first.map_or(Shape::Text, |(_, shape)| shape))
}

fn format(format: Value) -> Result<Shape, Refusal> {
    match format["type"].as_str() {
        Some("text") => Ok(Shape::Text),
        Some("json_object") => Ok(Shape::Json(json!({ "type": "object" }))),
        Some("json_schema") => match format["json_schema"].get("schema") {
            Some(schema @ Value::Object(_)) => Ok(Shape::Json(schema.clone())),
            _ => Err(Refusal::invalid("response_format.json_schema.schema", "must be a JSON Schema")),
        },
        _ => Err(Refusal::invalid("response_format.type", "must be text, json_object or json_schema")),
    }
}

/// The system text, and the turns.
fn conversation(messages: Option<Value>) -> Result<(Option<String>, Vec<Message>), Refusal> {
    let Some(Value::Array(messages)) = messages else {
        return Err(Refusal::invalid("messages", "must be a list of messages"));
    };
    let mut system: Option<String> = None;
    let mut turns = Vec::new();
    for (number, message) in messages.into_iter().enumerate() {
        let at = format!("messages[{number}]");
        let Value::Object(message) = message else { return Err(Refusal::invalid(at, "must be an object")) };
        let mut message = Fields(message);
        let role =
            message.string("role").map_err(|_| Refusal::invalid(format!("{at}.role"), "must be a string"))?;
        let text = text(&at, message.take("content"))?;
        match role.as_deref() {
            Some("system" | "developer") if turns.is_empty() => {
                system = Some(system.map_or(text.clone(), |before| format!("{before}\n\n{text}")));
            }
            Some("system" | "developer") => {
                let words =
                    "must stand before the first turn: that is where the model reads what it is to be";
                return Err(Refusal::invalid(at, words));
            }
            Some("user") => turns.push(Message { role: Role::User, text }),
            Some("assistant") => turns.push(Message { role: Role::Assistant, text }),
            _ => {
                let words = "must be system, developer, user or assistant";
                return Err(Refusal::invalid(format!("{at}.role"), words));
            }
        }
        if message.take("tool_calls").is_some_and(|calls| calls != json!([])) {
            return Err(Refusal::invalid(
                format!("{at}.tool_calls"),
                "must be empty: the local model uses no tools",
            ));
        }
        for name in ["name", "refusal", "annotations", "audio", "reasoning_content"] {
            message.take(name);
        }
        message.nothing_else(&format!("{at}."))?;
    }
    if turns.last().is_none_or(|turn| turn.role != Role::User) {
        return Err(Refusal::invalid("messages", "must end with a turn of the user's"));
    }
    Ok((system, turns))
}

/// The text of a message: a string, or parts that are text.
fn text(at: &str, content: Option<Value>) -> Result<String, Refusal> {
    match content {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) => {
            let mut whole = String::new();
            for (number, part) in parts.iter().enumerate() {
                let at = format!("{at}.content[{number}]");
                match (part["type"].as_str(), part["text"].as_str()) {
                    (Some("text"), Some(text)) => whole.push_str(text),
                    (Some("text"), None) => {
                        return Err(Refusal::invalid(format!("{at}.text"), "must be a string"));
                    }
                    _ => {
                        return Err(Refusal::invalid(
                            format!("{at}.type"),
                            "must be text: the local model reads nothing else",
                        ));
                    }
                }
            }
            Ok(whole)
        }
        _ => {
            Err(Refusal::invalid(format!("{at}.content"), "must be a string or a list of parts of type text"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body of a question, with these members over it.
    fn body(more: Value) -> Value {
        let mut body = json!({"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]});
        for (name, value) in more.as_object().cloned().unwrap_or_default() {
            body[name] = value;
        }
        body
    }

    fn asked(more: Value) -> Result<Asked, Refusal> {
        Asked::parse(body(more).to_string().as_bytes())
    }

    #[test]
    fn every_parameter_has_its_place_in_the_request() {
        let asked = asked(json!({
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "system", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]},
                {"role": "user", "content": "One?", "name": "ann"},
                {"role": "assistant", "content": "Two.", "refusal": null, "tool_calls": []},
                {"role": "user", "content": "Three?"},
            ],
            "max_tokens": 9, "max_completion_tokens": 7, "temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.05,
            "repeat_penalty": 1.1, "presence_penalty": -1, "frequency_penalty": 1, "seed": -1, "stop": "END",
            "stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false}, "logprobs": true,
            "top_logprobs": 0, "n": 1, "tools": [], "logit_bias": {}, "user": "u", "store": false, "modalities": ["text"],
        }))
        .expect("it makes sense");
        let Asked { request, model, .. } = &asked;
        assert_eq!(
            (model.as_deref(), request.system.as_deref()),
            (Some("tiny"), Some("Be brief.\n\nBe kind."))
        );
        let turns: Vec<_> =
            request.messages.iter().map(|turn| (turn.role.name(), turn.text.as_str())).collect();
        assert_eq!(turns, [("user", "One?"), ("assistant", "Two."), ("user", "Three?")]);
        let sampling = Sampling {
            temperature: Some(0.7),
            top_p: Some(0.9),
            top_k: Some(40),
            min_p: Some(0.05),
            repetition_penalty: Some(1.1),
            presence_penalty: Some(-1.0),
            frequency_penalty: Some(1.0),
            seed: Some(u64::MAX),
        };
        assert_eq!((request.sampling, request.max_tokens), (sampling, 7));
        assert_eq!(request.stop, ["END"]);
        assert!(asked.stream && asked.include_usage && asked.logprobs);
    }

    #[test]
    fn what_is_absent_or_null_has_its_default() {
        let asked =
            asked(json!({"stop": null, "temperature": null, "response_format": null, "stream": null}))
                .expect("it makes sense");
        assert_eq!((asked.request.max_tokens, asked.request.shape), (1_024, Shape::Text));
        assert!(!asked.stream && !asked.logprobs && asked.request.stop.is_empty());
    }

    #[test]
    fn an_answer_is_shaped_in_one_of_three_ways() {
        let shape = |more| asked(more).map(|asked| asked.request.shape);
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let format =
            json!({"type": "json_schema", "json_schema": {"name": "a", "strict": true, "schema": schema}});
        assert_eq!(shape(json!({"response_format": format})), Ok(Shape::Json(schema)));
        let object = json!({"response_format": {"type": "json_object"}});
        assert_eq!(shape(object), Ok(Shape::Json(json!({"type": "object"}))));
        let grammar = "root ::= \"a\"";
        assert_eq!(shape(json!({"grammar": grammar})), Ok(Shape::Grammar(grammar.to_owned())));
        let span = json!({"shape": {"type": "span", "source": "a b"}, "response_format": {"type": "text"}});
        assert_eq!(shape(span), Ok(Shape::Span("a b".to_owned())));
        let both = shape(json!({"grammar": grammar, "shape": {"type": "line"}})).expect_err("which?");
        assert_eq!(both.message, "shape and grammar cannot both shape an answer; leave one out");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_name() {
        let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
        for (more, param) in [
            (json!({"messages": null}), "messages"),
            (json!({"messages": []}), "messages"),
            (
                json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
                "messages",
            ),
            (json!({"messages": ["hello"]}), "messages[0]"),
            (json!({"messages": [{"role": "tool", "content": "a"}]}), "messages[0].role"),
            (json!({"messages": [{"role": "user", "content": "a", "weight": 1}]}), "messages[0].weight"),
            (user(json!(7)), "messages[0].content"),
            (user(json!([{"type": "image_url", "image_url": {}}])), "messages[0].content[0].type"),
            (json!({"model": 7}), "model"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_completion_tokens": 1.5}), "max_completion_tokens"),
            (json!({"temperature": 3}), "temperature"),
            (json!({"temperature": "hot"}), "temperature"),
            (json!({"top_p": 0}), "top_p"),
            (json!({"seed": 0.5}), "seed"),
            (json!({"stop": ["a", ""]}), "stop"),
            (json!({"stop": vec!["a"; 17]}), "stop"),
            (json!({"response_format": {"type": "xml"}}), "response_format.type"),
            (json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema.schema"),
            (json!({"shape": {"type": "circle"}}), "shape"),
            (json!({"stream": "yes"}), "stream"),
            (json!({"stream_options": {"include_usage": true}}), "stream_options"),
            (json!({"stream": true, "stream_options": {"speed": 9}}), "stream_options.speed"),
            (json!({"top_logprobs": 5}), "top_logprobs"),
            (json!({"n": 2}), "n"),
            (json!({"tools": [{"type": "function"}]}), "tools"),
            (json!({"logit_bias": {"5": 1}}), "logit_bias"),
            (json!({"telepathy": true}), "telepathy"),
        ] {
            let refusal = asked(more.clone()).expect_err(param);
            assert_eq!((refusal.status.as_u16(), refusal.param.as_deref()), (400, Some(param)), "{more}");
            assert!(refusal.message.len() > param.len() + 5, "{}", refusal.message);
        }
        for body in ["", "{", "[]", "7", "\"hello\""] {
            assert_eq!(Asked::parse(body.as_bytes()).expect_err(body).param, None);
        }
    }
}
