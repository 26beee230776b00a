//! Writes a GBNF grammar for the compact JSON that a JSON Schema allows.
//!
//! It covers what shapes a document: types, members and their order, items, enumerations, alternatives, references,
//! lengths. What it does not know (`pattern`, `format`, bounds of numbers, `not`, …) it leaves open, and the finished
//! answer is validated against the schema itself. A member that the schema does not name is not written at all,
//! unless it names none.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value};

/// The deepest that a schema may nest.
const MAX_NESTING: usize = 64;
/// The most rules that a schema may become.
const MAX_RULES: usize = 5000;
/// Above this, lengths are left to validation.
const MAX_LENGTH: u64 = 1000;

/// Rules that every grammar shares.
const COMMON: &str = r#"
value ::= object | array | string | number | boolean | "null"
object ::= "{" (member ("," member)*)? "}"
member ::= string ":" value
array ::= "[" (value ("," value)*)? "]"
string ::= "\"" char* "\""
char ::= [^"\\\x00-\x1f\x7f] | "\\" (["\\/bfnrt] | "u" ([0-9a-ce-fA-CE-F] hex hex hex | [dD] [0-7] hex hex))
hex ::= [0-9a-fA-F]
integer ::= "-"? natural
natural ::= "0" | [1-9] [0-9]{0,14}
number ::= integer ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?
positive ::= natural ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?
boolean ::= "true" | "false"
"#;

/// The grammar, with the rule `root` for the whole.
///
/// # Errors
/// In words, where the schema nests too deep, refers to nowhere, or allows nothing.
pub(super) fn grammar(schema: &Value) -> Result<String, String> {
    let mut writer = Writer { root: schema, rules: Vec::new(), references: BTreeMap::new() };
    let root = writer.expression(schema, 0)?;
    let mut text = format!("root ::= {root}\n");
    for (number, rule) in writer.rules.iter().enumerate() {
        writeln!(text, "r{number} ::= {rule}").expect("a string takes everything");
    }
    text.push_str(COMMON.trim_start());
    Ok(text)
}

struct Writer<'a> {
    root: &'a Value,
    /// Rule number n is called `rn`.
    rules: Vec<String>,
    /// The rules of the references that were followed, so that a schema may contain itself.
    references: BTreeMap<&'a str, usize>,
}

impl<'a> Writer<'a> {
    fn rule(&mut self, expression: String) -> Result<String, String> {
        if self.rules.len() >= MAX_RULES {
            return Err("the schema is too large".into());
        }
        self.rules.push(expression);
        Ok(format!("r{}", self.rules.len() - 1))
    }

    /// An expression for what this schema allows, safe to stand in a sequence.
    fn expression(&mut self, schema: &'a Value, nesting: usize) -> Result<String, String> {
        if nesting > MAX_NESTING {
            return Err(format!("the schema nests deeper than {MAX_NESTING}"));
        }
        let schema = match schema {
            Value::Bool(true) => return Ok("value".into()),
            Value::Object(schema) => schema,
            _ => return Err("the schema allows nothing or is none".into()),
        };
        if let Some(pointer) = schema.get("$ref").and_then(Value::as_str) {
            return self.reference(pointer, nesting);
        }
        if let Some(only) = schema.get("const") {
            return Ok(literal(only));
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return alternatives(values.iter().map(|value| Ok(literal(value))));
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(schemas) = schema.get(keyword).and_then(Value::as_array) {
                return alternatives(schemas.iter().map(|schema| self.expression(schema, nesting + 1)));
            }
        }
        if let Some([only]) = schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
            return self.expression(only, nesting + 1);
        }
        match schema.get("type") {
            Some(Value::String(name)) => self.of_type(name, schema, nesting),
            Some(Value::Array(names)) => alternatives(names.iter().map(|name| {
                self.of_type(name.as_str().ok_or("a type is named by a string")?, schema, nesting)
            })),
            _ if schema.contains_key("properties") => self.of_type("object", schema, nesting),
            _ if schema.contains_key("items") => self.of_type("array", schema, nesting),
            _ => Ok("value".into()),
        }
    }

    fn reference(&mut self, pointer: &'a str, nesting: usize) -> Result<String, String> {
        if let Some(number) = self.references.get(pointer) {
            return Ok(format!("r{number}"));
        }
        let target = pointer.strip_prefix('#').and_then(|path| self.root.pointer(path));
        let target =
            target.ok_or_else(|| format!("the schema refers to {pointer}, which it does not contain"))?;
        let name = self.rule(String::new())?;
        let number = self.rules.len() - 1;
        self.references.insert(pointer, number);
        self.rules[number] = self.expression(target, nesting + 1)?;
        Ok(name)
    }

    fn of_type(
        &mut self,
        name: &str,
        schema: &'a Map<String, Value>,
        nesting: usize,
    ) -> Result<String, String> {
        match name {
            "object" => self.object(schema, nesting),
            "array" => self.array(schema, nesting),
            "string" => Ok(match lengths(schema, "minLength", "maxLength") {
                Some(count) => format!("\"\\\"\" char{count} \"\\\"\""),
                None => "string".into(),
            }),
            "integer" | "number" => {
                let positive =
                    schema.get("minimum").and_then(Value::as_f64).is_some_and(|least| least >= 0.0);
                Ok(match (name, positive) {
                    ("integer", true) => "natural",
                    ("integer", false) => "integer",
                    (_, true) => "positive",
                    (_, false) => "number",
                }
                .into())
            }
            "boolean" => Ok("boolean".into()),
            "null" => Ok("\"null\"".into()),
            other => Err(format!("the schema asks for the type {other}, which JSON does not have")),
        }
    }

    /// The members in the order of the schema; one that is not required may be left out.
    fn object(&mut self, schema: &'a Map<String, Value>, nesting: usize) -> Result<String, String> {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut members: Vec<(&str, &'a Value)> = Vec::new();
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            members.extend(properties.iter().map(|(name, schema)| (name.as_str(), schema)));
        }
        for name in &required {
            if members.iter().all(|(known, _)| known != name) {
                members.push((name, &Value::Bool(true)));
            }
        }
        if members.is_empty() {
            let value = match schema.get("additionalProperties") {
                Some(Value::Bool(false)) => return Ok("\"{}\"".into()),
                Some(schema @ Value::Object(_)) => self.expression(schema, nesting + 1)?,
                _ => "value".into(),
            };
            let member = self.rule(format!("string \":\" {value}"))?;
            return Ok(format!("\"{{\" ({member} (\",\" {member})*)? \"}}\""));
        }
        // From the last member to the first: what may follow where a member was written before, and where none was.
        let mut after_one = "\"}\"".to_owned();
        let mut after_none = "\"}\"".to_owned();
        for (name, schema) in members.into_iter().rev() {
            let value = self.expression(schema, nesting + 1)?;
            let member = self.rule(format!("{} \":\" {value} {after_one}", literal(&Value::from(name))))?;
            if required.contains(&name) {
                after_one = self.rule(format!("\",\" {member}"))?;
                after_none = member;
            } else {
                after_one = self.rule(format!("\",\" {member} | {after_one}"))?;
                after_none = self.rule(format!("{member} | {after_none}"))?;
            }
        }
        Ok(format!("\"{{\" {after_none}"))
    }

    fn array(&mut self, schema: &'a Map<String, Value>, nesting: usize) -> Result<String, String> {
        if let Some(items) = schema.get("prefixItems").and_then(Value::as_array) {
            let items: Vec<String> =
                items.iter().map(|item| self.expression(item, nesting + 1)).collect::<Result<_, _>>()?;
            return Ok(format!("\"[\" {} \"]\"", items.join(" \",\" ")));
        }
        let item = match schema.get("items") {
            Some(item) => self.expression(item, nesting + 1)?,
            None => "value".into(),
        };
        let item = self.rule(item)?;
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0).min(MAX_LENGTH);
        let most = schema.get("maxItems").and_then(Value::as_u64).filter(|&most| most <= MAX_LENGTH);
        if most == Some(0) {
            return Ok("\"[]\"".into());
        }
        let more = match most {
            Some(most) => {
                format!("{{{},{}}}", least.saturating_sub(1), (most - 1).max(least.saturating_sub(1)))
            }
            None => format!("{{{},}}", least.saturating_sub(1)),
        };
        let items = format!("({item} (\",\" {item}){more})");
        Ok(format!("\"[\" {items}{} \"]\"", if least == 0 { "?" } else { "" }))
    }
}

fn lengths(schema: &Map<String, Value>, least: &str, most: &str) -> Option<String> {
    let least = schema.get(least).and_then(Value::as_u64).unwrap_or(0).min(MAX_LENGTH);
    match schema.get(most).and_then(Value::as_u64).filter(|&most| most <= MAX_LENGTH) {
        Some(most) => Some(format!("{{{least},{}}}", most.max(least))),
        None => (least > 0).then(|| format!("{{{least},}}")),
    }
}

fn alternatives(expressions: impl Iterator<Item = Result<String, String>>) -> Result<String, String> {
    let expressions: Vec<String> = expressions.collect::<Result<_, _>>()?;
    if expressions.is_empty() {
        return Err("the schema lists alternatives but gives none".into());
    }
    Ok(format!("({})", expressions.join(" | ")))
}

/// A GBNF literal for this JSON value, written compactly.
fn literal(value: &Value) -> String {
    let mut literal = String::from("\"");
    for c in value.to_string().chars() {
        match c {
            '"' | '\\' => literal.extend(['\\', c]),
            c if c.is_control() => {
                write!(literal, "\\U{:08x}", u32::from(c)).expect("a string takes everything")
            }
            c => literal.push(c),
        }
    }
    literal.push('"');
    literal
}

#[cfg(test)]
mod tests {
    use ghost_core::inference::Shape;
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::grammar::Grammar;
    use super::super::tests::{takes, walk};
    use super::*;

    fn allows(schema: Value, answer: &str) -> bool {
        takes(&Shape::Json(schema), answer)
    }

    #[test]
    fn an_object_has_its_members_in_order_and_all_that_are_required() {
        let schema = json!({"type": "object", "required": ["name", "age"], "properties": {
            "name": {"type": "string"}, "nick": {"type": "string"}, "age": {"type": "integer", "minimum": 0},
        }});
        assert!(allows(schema.clone(), r#"{"name":"Ana","age":7}"#));
        assert!(allows(schema.clone(), r#"{"name":"Ana","nick":"A\n\"é","age":70}"#));
        assert!(!allows(schema.clone(), r#"{"name":"Ana"}"#));
        assert!(!allows(schema.clone(), r#"{"name":"Ana","age":-7}"#));
        assert!(!allows(schema.clone(), r#"{"name":"Ana","age":07}"#));
        assert!(!allows(schema, r#"{"name": "Ana","age":7}"#));
    }

    #[test]
    fn where_nothing_is_required_anything_may_be_left_out() {
        let schema =
            json!({"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "boolean"}}});
        for answer in ["{}", r#"{"a":null}"#, r#"{"b":true}"#, r#"{"a":null,"b":false}"#] {
            assert!(allows(schema.clone(), answer), "{answer}");
        }
        assert!(!allows(schema, r#"{"a":null,}"#));
    }

    #[test]
    fn arrays_keep_their_lengths() {
        let schema =
            json!({"type": "array", "items": {"enum": ["x", 1, null]}, "minItems": 1, "maxItems": 2});
        assert!(allows(schema.clone(), r#"["x"]"#));
        assert!(allows(schema.clone(), "[1,null]"));
        assert!(!allows(schema.clone(), "[]"));
        assert!(!allows(schema, "[1,1,1]"));
        assert!(allows(json!({"type": "array"}), r#"[{"any":[1.5e3]},"thing"]"#));
    }

    #[test]
    fn strings_keep_their_lengths() {
        let schema = json!({"type": "string", "minLength": 2, "maxLength": 3});
        assert!(!allows(schema.clone(), r#""é""#));
        assert!(allows(schema.clone(), r#""éé""#));
        assert!(!allows(schema, r#""éééé""#));
    }

    #[test]
    fn a_schema_may_contain_itself() {
        let schema = json!({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "required": ["children"],
            "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}}});
        assert!(allows(schema.clone(), r#"{"children":[{"children":[]},{"children":[]}]}"#));
        assert!(!allows(schema, r#"{"children":[{}]}"#));
    }

    #[test]
    fn schemas_that_allow_nothing_are_refused() {
        for schema in [
            json!(false),
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"$ref": "#/nowhere"}),
            json!({"$ref": "https://example.org/schema"}),
            json!({"enum": []}),
            json!({"type": "soup"}),
        ] {
            assert!(grammar(&schema).and_then(|text| Grammar::new(&text)).is_err(), "{schema}");
        }
    }

    #[test]
    fn a_schema_beyond_measure_is_refused() {
        let mut deep = json!({"type": "string"});
        for _ in 0..100 {
            deep = json!({"type": "array", "items": deep});
        }
        assert!(grammar(&deep).is_err());
        let wide: Map<String, Value> =
            (0..10_000).map(|n| (n.to_string(), json!({"type": "string"}))).collect();
        assert!(grammar(&json!({"type": "object", "properties": wide})).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_it_allows_satisfies_the_schema(which in 0usize..5, picks in prop::collection::vec(any::<u8>(), 80)) {
            let schema = [
                json!({"type": "object", "required": ["b"], "properties": {
                    "a": {"type": "integer"}, "b": {"type": ["string", "null"], "maxLength": 3},
                    "c": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}}}),
                json!({"anyOf": [{"type": "number", "minimum": 0}, {"const": {"k\n": "é"}}]}),
                json!({"type": "object", "additionalProperties": {"type": "integer"}}),
                json!({"type": "array", "prefixItems": [{"type": "null"}, {"type": "string", "maxLength": 1}]}),
                json!({}),
            ][which].clone();
            let mut constraint = Grammar::new(&grammar(&schema).expect("a schema")).expect("a grammar");
            if let Some(answer) = walk(&mut constraint, &picks) {
                let answer: Value = serde_json::from_slice(&answer).expect("JSON");
                prop_assert!(jsonschema::is_valid(&schema, &answer), "{}", answer);
            }
        }
    }
}
