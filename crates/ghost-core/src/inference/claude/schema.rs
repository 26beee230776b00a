//! Which JSON schemas Claude can be held to, and in what form.
//!
//! Structured output knows a part of JSON Schema: closed objects, arrays, the plain types, `enum`, `const`, `anyOf`,
//! `allOf`, `$ref`. A limit that it does not know (`minimum`, `pattern`, …) moves into the description, where the model
//! reads it; whoever asked validates the answer against the whole schema anyway. A schema that would come out meaning
//! something else, as an object with free keys does, is not expressible: then the model is asked in words.

use serde_json::{Map, Value, json};

/// The formats of strings that structured output knows.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// The schema as Claude takes it.
pub(super) fn expressible(schema: &Value) -> Option<Value> {
    let mut rest = schema.as_object()?.clone();
    rest.shift_remove("$schema");
    let mut strict = Map::new();
    for name in ["$defs", "definitions"] {
        if let Some(definitions) = rest.shift_remove(name) {
            strict.insert(name.to_owned(), each(definitions.as_object()?)?.into());
        }
    }
    if let Some(reference) = rest.shift_remove("$ref") {
        strict.insert("$ref".to_owned(), reference);
        return Some(strict.into());
    }
    let kind = rest.shift_remove("type");
    if let Some(Value::Array(kinds)) = kind {
        let one = |kind: &Value| {
            let mut variant = rest.clone();
            variant.insert("type".to_owned(), kind.clone());
            expressible(&variant.into())
        };
        let variants: Option<Vec<Value>> = kinds.iter().map(one).collect();
        strict.insert("anyOf".to_owned(), variants?.into());
        return Some(strict.into());
    }
    for name in ["title", "description"] {
        if let Some(text) = rest.shift_remove(name) {
            strict.insert(name.to_owned(), text);
        }
    }
    let literals = ["enum", "const"].into_iter().find_map(|name| Some((name, rest.shift_remove(name)?)));
    let variants = [("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf")]
        .into_iter()
        .find_map(|(name, known)| Some((known, rest.shift_remove(name)?)));
    if let Some((name, values)) = literals {
        let plain = |value: &Value| !value.is_object() && !value.is_array();
        let known = if name == "enum" { values.as_array()?.iter().all(plain) } else { plain(&values) };
        if !known {
            return None;
        }
        strict.insert(name.to_owned(), values);
    } else if let Some((name, schemas)) = variants {
        // Closed objects exclude one another: all of them at once would allow nothing.
        if name == "allOf" && schemas.as_array()?.len() > 1 {
            return None;
        }
        let schemas: Option<Vec<Value>> = schemas.as_array()?.iter().map(expressible).collect();
        strict.insert(name.to_owned(), schemas?.into());
        if rest.contains_key("properties") {
            return None;
        }
    } else {
        typed(kind?, &mut rest, &mut strict)?;
    }
    describe(rest, &mut strict);
    Some(strict.into())
}

/// The part of a schema that belongs to its type.
fn typed(kind: Value, rest: &mut Map<String, Value>, strict: &mut Map<String, Value>) -> Option<()> {
    match kind.as_str()? {
        "object" => {
            let free_keys = ["patternProperties", "propertyNames", "dependentSchemas", "if"];
            let open = rest.shift_remove("additionalProperties").is_some_and(|more| more != json!(false));
            let properties = rest.shift_remove("properties")?;
            if open
                || properties.as_object()?.is_empty()
                || free_keys.iter().any(|key| rest.contains_key(*key))
            {
                return None;
            }
            strict.insert("properties".to_owned(), each(properties.as_object()?)?.into());
            strict.insert("additionalProperties".to_owned(), false.into());
            if let Some(required) = rest.shift_remove("required") {
                strict.insert("required".to_owned(), required);
            }
        }
        "array" => {
            if rest.contains_key("prefixItems") {
                return None;
            }
            strict.insert("items".to_owned(), expressible(&rest.shift_remove("items")?)?);
            if let Some(least) = rest.get("minItems").and_then(Value::as_u64).filter(|least| *least <= 1) {
                rest.shift_remove("minItems");
                strict.insert("minItems".to_owned(), least.into());
            }
        }
        "string" => {
            if rest.get("format").and_then(Value::as_str).is_some_and(|format| FORMATS.contains(&format)) {
                strict.extend(rest.shift_remove("format").map(|format| ("format".to_owned(), format)));
            }
        }
        "integer" | "number" | "boolean" | "null" => {}
        _ => return None,
    }
    strict.insert("type".to_owned(), kind);
    Some(())
}

fn each(schemas: &Map<String, Value>) -> Option<Map<String, Value>> {
    schemas.iter().map(|(name, schema)| Some((name.clone(), expressible(schema)?))).collect()
}

/// Puts what structured output does not know where the model reads it.
fn describe(rest: Map<String, Value>, strict: &mut Map<String, Value>) {
    if rest.is_empty() {
        return;
    }
    let limits = Value::from(rest).to_string();
    let description = match strict.get("description").and_then(Value::as_str) {
        Some(description) => format!("{description}\n\n{limits}"),
        None => limits,
    };
    strict.insert("description".to_owned(), description.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_schema_stays_and_its_objects_are_closed() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"enum": ["a", null]}}},
            "required": ["name"]
        });
        assert_eq!(
            expressible(&schema),
            Some(json!({
                "properties": {"name": {"type": "string"}, "tags": {"items": {"enum": ["a", null]}, "type": "array"}},
                "additionalProperties": false,
                "required": ["name"],
                "type": "object"
            }))
        );
    }

    #[test]
    fn a_limit_that_is_not_known_moves_into_the_description() {
        let schema = json!({"type": "integer", "minimum": 1, "description": "How many"});
        let strict = json!({"type": "integer", "description": "How many\n\n{\"minimum\":1}"});
        assert_eq!(expressible(&schema), Some(strict));
        let strings = json!({"type": "string", "format": "email"});
        assert_eq!(expressible(&strings), Some(strings));
        let odd = expressible(&json!({"type": "string", "format": "colour"}));
        assert_eq!(odd, Some(json!({"type": "string", "description": "{\"format\":\"colour\"}"})));
    }

    #[test]
    fn several_types_become_one_variant_each() {
        let strict = json!({"anyOf": [{"type": "string"}, {"type": "null"}]});
        assert_eq!(expressible(&json!({"type": ["string", "null"]})), Some(strict));
    }

    #[test]
    fn definitions_and_references_are_kept() {
        let node = json!({"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}});
        let schema = json!({"$defs": {"node": node}, "$ref": "#/$defs/node"});
        let strict = expressible(&schema).expect("expressible");
        assert_eq!(strict["$ref"], "#/$defs/node");
        assert_eq!(strict["$defs"]["node"]["additionalProperties"], false);
    }

    #[test]
    fn a_schema_that_would_mean_something_else_is_left_to_words() {
        for schema in [
            json!(true),
            json!({}),
            json!({"type": "object"}),
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": true}),
            json!({"type": "object", "properties": {"a": {}}}),
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "patternProperties": {}}),
            json!({"type": "array"}),
            json!({"type": "array", "items": true}),
            json!({"enum": [{"a": 1}]}),
            json!({"allOf": [{"type": "string"}, {"type": "string"}]}),
            json!({"type": "colour"}),
        ] {
            assert_eq!(expressible(&schema), None, "{schema}");
        }
    }
}
