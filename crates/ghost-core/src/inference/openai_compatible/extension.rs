//! What Ghost Swarm's own server understands beyond OpenAI's API, told once for both sides: `docs/slm-server.md` has it
//! for people.
//!
//! A member `shape` of a request holds the answer to its [`Shape`] token by token, as a model in the process would be.
//! A member `ghost` of a model in `GET /v1/models` says what the model can do, so that a worker asks it for nothing
//! else; a server whose models have one knows `shape` too.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::inference::Shape;
use crate::taskmaster::capability::Capability;

/// The member of a request that says what the answer must look like.
pub const SHAPE: &str = "shape";
/// The member of a model that says what it can do.
pub const GHOST: &str = "ghost";
/// The code of an error that no other try will mend: the engine broke a promise of its own.
pub const ENGINE_FAILED: &str = "engine_failed";
/// The name of the protection space that a door of ours asks for a token.
pub const REALM: &str = "Bearer realm=\"ghost\"";

/// A [`Shape`] on the wire. Only a variant with braces refuses members that it does not know.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum OnWire {
    Text {},
    Line {},
    Json { schema: Value },
    Choice { choices: Vec<String> },
    Span { source: String },
    JsonOfSpans { schema: Value, source: String },
    Grammar { grammar: String },
}

/// What a request says of the shape of its answer; nothing where any text will do.
pub fn write_shape(shape: &Shape) -> Option<Value> {
    let shape = match shape.clone() {
        Shape::Text => return None,
        Shape::Line => OnWire::Line {},
        Shape::Json(schema) => OnWire::Json { schema },
        Shape::Choice(choices) => OnWire::Choice { choices },
        Shape::Span(source) => OnWire::Span { source },
        Shape::JsonOfSpans { schema, source } => OnWire::JsonOfSpans { schema, source },
        Shape::Grammar(grammar) => OnWire::Grammar { grammar },
    };
    Some(serde_json::to_value(shape).expect("strings and JSON are always JSON"))
}

/// The shape that a request asks for.
///
/// # Errors
/// In words, what is wrong with it.
pub fn read_shape(shape: Value) -> Result<Shape, String> {
    Ok(match OnWire::deserialize(shape).map_err(|error| error.to_string())? {
        OnWire::Text {} => Shape::Text,
        OnWire::Line {} => Shape::Line,
        OnWire::Json { schema } => Shape::Json(schema),
        OnWire::Choice { choices } => Shape::Choice(choices),
        OnWire::Span { source } => Shape::Span(source),
        OnWire::JsonOfSpans { schema, source } => Shape::JsonOfSpans { schema, source },
        OnWire::Grammar { grammar } => Shape::Grammar(grammar),
    })
}

/// What a model says of what it can do.
pub fn write_capability(capability: &Capability) -> Value {
    json!({ "capability": capability })
}

/// What a model can do, as its member `ghost` says.
///
/// # Errors
/// In words, what is wrong with it.
pub fn read_capability(ghost: &Value) -> Result<Capability, String> {
    let table = Capability::deserialize(&ghost["capability"]).map_err(|error| error.to_string())?;
    table.check()?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_comes_back_from_the_wire() {
        let schema = json!({"type": "object"});
        let source = "a=1".to_owned();
        for shape in [
            Shape::Line,
            Shape::Json(schema.clone()),
            Shape::Choice(vec!["red".to_owned(), "blue".to_owned()]),
            Shape::Span(source.clone()),
            Shape::JsonOfSpans { schema, source },
            Shape::Grammar("root ::= \"a\"".to_owned()),
        ] {
            let written = write_shape(&shape).expect("it asks for something");
            assert_eq!(read_shape(written), Ok(shape));
        }
        assert_eq!((write_shape(&Shape::Text), read_shape(json!({"type": "text"}))), (None, Ok(Shape::Text)));
    }

    #[test]
    fn a_shape_that_makes_no_sense_is_refused_with_words() {
        for (shape, words) in [
            (json!("line"), "internally tagged"),
            (json!({"type": "circle"}), "unknown variant `circle`"),
            (json!({"type": "span"}), "missing field `source`"),
            (json!({"type": "line", "ends": true}), "unknown field `ends`"),
            (json!({"type": "choice", "choices": "red"}), "expected a sequence"),
        ] {
            let problem = read_shape(shape).expect_err(words);
            assert!(problem.contains(words), "{problem}");
        }
    }

    #[test]
    fn a_capability_comes_back_from_the_wire_and_is_checked() {
        let table = "model = 'tiny'\ncontext_tokens = 1024\nmax_input_bytes = 800\n\
                     [kinds.json_field]\naccuracy = 0.98\ncoverage = 0.9\nmin_confidence = 0.6\n";
        let table = Capability::parse(table).expect("a table");
        let mut written = write_capability(&table);
        assert_eq!(read_capability(&written), Ok(table));
        written["capability"]["kinds"]["json_field"]["coverage"] = json!(7);
        assert!(read_capability(&written).expect_err("7 is no share").contains("coverage"));
        assert!(read_capability(&json!(true)).is_err());
    }
}
