//! The model of a dry run: says the simplest thing that fits the shape that was asked for.
//!
//! One fixed text would fail the checks of form, and a dry run would show failures that the real run does not have.

use std::sync::Arc;

use async_trait::async_trait;
use ghost_core::config::Config;
use ghost_core::inference::hybrid::{Engine, Slm};
use ghost_core::inference::{Backend, Completion, Deltas, Error, Finish, Provider, Request, Shape, Usage};
use ghost_service::models;
use ghost_worker::engine::{self, Loaded};
use serde_json::{Map, Value, json};

/// What it says where any text will do.
const WORDS: &str = "(dry run)";

/// Scripted models in the place of the real ones: nothing is loaded, sent or paid.
pub(crate) fn load(config: &Config) -> anyhow::Result<Loaded> {
    let model = config.llm.model_or_default();
    let slm = models::capability(config)?.map(|capability| Slm {
        backend: Arc::new(Rehearsal::new(Provider::Slm, capability.model.clone())),
        capability,
    });
    let llm: Arc<dyn Backend> = Arc::new(Rehearsal::new(Provider::Llm, model));
    Ok(Loaded::of(Engine::build(engine::hybrid_config(config)?, slm, Some(llm), engine::pricing(config)?)))
}

/// A model that is none.
#[derive(Debug)]
struct Rehearsal {
    provider: Provider,
    model: String,
}

impl Rehearsal {
    /// Stands in for this model.
    fn new(provider: Provider, model: impl Into<String>) -> Self {
        Self { provider, model: model.into() }
    }
}

#[async_trait]
impl Backend for Rehearsal {
    fn provider(&self) -> Provider {
        self.provider
    }

    fn model(&self) -> &str {
        &self.model
    }

    async fn generate(&self, request: Request, deltas: Option<Deltas>) -> Result<Completion, Error> {
        let text = fitting(&request.shape);
        if let Some(deltas) = deltas {
            // Whoever listened may be gone; the answer is wanted all the same.
            let _ = deltas.send(text.clone()).await;
        }
        let words = |text: &str| text.split_whitespace().count() as u64;
        Ok(Completion {
            usage: Usage {
                input_tokens: request.messages.iter().map(|message| words(&message.text)).sum(),
                output_tokens: words(&text),
                ..Usage::default()
            },
            text,
            finish: Finish::Stop,
            model: request.model.unwrap_or_else(|| self.model.clone()),
            request_id: None,
            // Entirely sure of itself.
            logprobs: vec![0.0],
            tokens: Vec::new(),
            tool_calls: Vec::new(),
            warnings: Vec::new(),
        })
    }
}

fn fitting(shape: &Shape) -> String {
    match shape {
        Shape::Text | Shape::Line | Shape::Grammar(_) => WORDS.to_owned(),
        Shape::Choice(categories) => categories.first().cloned().unwrap_or_default(),
        Shape::Span(source) => source.split_whitespace().next().unwrap_or_default().to_owned(),
        Shape::Json(schema) | Shape::JsonOfSpans { schema, .. } => instance(schema).to_string(),
    }
}

/// A document that the common kinds of schema accept.
fn instance(schema: &Value) -> Value {
    if let Some(fixed) = schema.get("const").or_else(|| schema.get("enum")?.get(0)) {
        return fixed.clone();
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        kind => kind.and_then(Value::as_str),
    };
    match kind {
        Some("string") => json!(WORDS),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(0)),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        Some("array") => {
            let length = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0).min(16);
            (0..length).map(|_| instance(schema.get("items").unwrap_or(&Value::Bool(true)))).collect()
        }
        _ => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let required = schema.get("required").and_then(Value::as_array);
            let field = |name: &Value| {
                let name = name.as_str()?;
                let schema = properties.and_then(|all| all.get(name)).unwrap_or(&Value::Bool(true));
                Some((name.to_owned(), instance(schema)))
            };
            Value::Object(required.into_iter().flatten().filter_map(field).collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_fits_what_was_asked_for() {
        let said = |shape| fitting(&shape);
        assert_eq!(said(Shape::Choice(vec!["spam".to_owned(), "ham".to_owned()])), "spam");
        assert_eq!(said(Shape::Span("one two".to_owned())), "one");
        let schema = json!({
            "type": "object",
            "properties": {"n": {"type": "integer", "minimum": 3}, "tags": {"type": "array", "minItems": 1,
                "items": {"enum": ["a", "b"]}}, "free": {"type": "string"}},
            "required": ["n", "tags"],
        });
        assert_eq!(said(Shape::Json(schema)), r#"{"n":3,"tags":["a"]}"#);
    }
}
