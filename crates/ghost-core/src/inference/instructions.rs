//! Says in words what a remote model cannot be held to token by token.

use super::{Request, Shape};

/// The request's system text, and after it what the answer must look like.
pub(super) fn system(request: &Request, shape: Option<String>) -> Option<String> {
    match (&request.system, shape) {
        (Some(system), Some(shape)) => Some(format!("{system}\n\n{shape}")),
        (system, shape) => system.clone().or(shape),
    }
}

/// What the answer must look like, in words; nothing where any text will do.
pub(super) fn shape(shape: &Shape) -> Option<String> {
    Some(match shape {
        Shape::Text => return None,
        Shape::Line => "Answer in a single line.".to_owned(),
        Shape::Json(schema) => json(schema),
        Shape::Choice(options) => {
            let options: String = options.iter().map(|option| format!("\n- {option}")).collect();
            format!("Answer with exactly one of these, letter by letter, and nothing else:{options}")
        }
        Shape::Span(_) => {
            "Answer with a part of the user's text, letter by letter, and nothing else.".to_owned()
        }
        Shape::JsonOfSpans { schema, .. } => format!("{} {COPY}", json(schema)),
        Shape::Grammar(grammar) => {
            format!(
                "Answer with text that this GBNF grammar generates from its rule `root`, and nothing else:\n\
                 {grammar}"
            )
        }
    })
}

/// Where strings come from, for a model that is held to the schema but not to the text.
pub(super) const COPY: &str = "Copy every string letter by letter from the user's text.";

fn json(schema: &serde_json::Value) -> String {
    format!(
        "Answer with JSON alone, without a code fence around it, that satisfies this JSON Schema: {schema}"
    )
}
