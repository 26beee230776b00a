//! What the task prescribes: a JSON schema, one of the categories, one line, the form of its kind, and values that
//! stand in the material.

use serde_json::{Map, Value};

use crate::lifecycle::{Answer, Finding};
use crate::task::Kind;

use super::{Check, Subject, json_of, reject};

/// The answer satisfies the task's JSON Schema.
#[derive(Debug, Clone, Copy)]
pub struct Schema;

/// A model mends a handful at a time; the rest shows at the next round.
const MAX_SCHEMA_ERRORS: usize = 5;

impl Check for Schema {
    fn name(&self) -> &'static str {
        "schema"
    }

    fn check(&self, subject: &Subject, answer: &Answer) -> Vec<Finding> {
        let Some(schema) = &subject.request.parameters.schema else { return Vec::new() };
        // A schema that does not compile was refused at intake.
        let Ok(validator) = jsonschema::validator_for(schema) else { return Vec::new() };
        let json = match json_of(answer) {
            Ok(json) => json,
            Err(error) => {
                return vec![reject(self, format!("not JSON: {error}"), "answer with the JSON alone")];
            }
        };
        validator
            .iter_errors(&json)
            .take(MAX_SCHEMA_ERRORS)
            .map(|error| {
                let place = error.instance_path().to_string();
                let place = if place.is_empty() { "the top".to_owned() } else { place };
                reject(
                    self,
                    format!("at {place}: {error}"),
                    format!("change {place} so that the schema is satisfied"),
                )
            })
            .collect()
    }
}

/// The answer has the form of its kind, and what it takes from the material stands there.
#[derive(Debug, Clone, Copy)]
pub struct Shape;

impl Check for Shape {
    fn name(&self) -> &'static str {
        "shape"
    }

    fn check(&self, subject: &Subject, answer: &Answer) -> Vec<Finding> {
        let parameters = &subject.request.parameters;
        if answer.text.trim().is_empty() {
            return Vec::new();
        }
        if let Some(categories) = &parameters.categories {
            return self.one_of(categories, answer);
        }
        if parameters.schema.is_some() {
            return Vec::new();
        }
        let source = Source::new(&subject.request.text());
        match subject.kind {
            Some(Kind::Classify | Kind::StatusUpdate) => self.one_line(answer),
            Some(Kind::JsonField | Kind::ExtractValue) => self.stands_in(&source, answer.text.trim()),
            Some(Kind::EmailParse) => self.object(answer, |fields| {
                let mut findings = Vec::new();
                for name in ["sender", "subject"] {
                    match fields.get(name).and_then(Value::as_str) {
                        Some(value) => findings.extend(self.stands_in(&source, value)),
                        None => findings.push(reject(
                            self,
                            format!("`{name}` is missing or no string"),
                            "answer with {\"sender\": the address, \"subject\": the subject}",
                        )),
                    }
                }
                if let Some(other) = fields.keys().find(|key| !matches!(key.as_str(), "sender" | "subject")) {
                    findings.push(reject(
                        self,
                        format!("`{other}` was not asked for"),
                        format!("remove `{other}`"),
                    ));
                }
                findings
            }),
            Some(Kind::KeyValue) => self.object(answer, |fields| {
                let pairs = fields.iter().flat_map(|(key, value)| {
                    let mut findings = self.stands_in(&source, key);
                    match value.as_str() {
                        Some(value) => findings.extend(self.stands_in(&source, value)),
                        None => findings.push(reject(
                            self,
                            format!("the value of `{key}` is no string"),
                            format!("write the value of `{key}` as a string"),
                        )),
                    }
                    findings
                });
                let given: Vec<String> = fields.values().filter_map(Value::as_str).map(dense).collect();
                let missing = listed(&source.text).into_iter().filter(|(_, value)| {
                    let value = dense(value);
                    !given.iter().any(|given| given.contains(&value))
                });
                let missing = missing.map(|(key, _)| {
                    reject(self, format!("`{key}` is missing"), format!("add `{key}` with its value"))
                });
                pairs.chain(missing).collect()
            }),
            None => Vec::new(),
        }
    }
}

impl Shape {
    fn one_of(&self, categories: &[String], answer: &Answer) -> Vec<Finding> {
        let text = answer.text.trim();
        if categories.iter().any(|category| category.trim() == text) {
            return Vec::new();
        }
        vec![reject(
            self,
            format!("“{text}” is none of the categories"),
            format!("answer with exactly one of: {}", categories.join(", ")),
        )]
    }

    fn one_line(&self, answer: &Answer) -> Vec<Finding> {
        let lines = answer.text.trim().lines().count();
        if lines <= 1 {
            return Vec::new();
        }
        vec![reject(self, format!("{lines} lines where one is asked for"), "answer in one line")]
    }

    fn object(
        &self,
        answer: &Answer,
        fields: impl FnOnce(&Map<String, Value>) -> Vec<Finding>,
    ) -> Vec<Finding> {
        match json_of(answer) {
            Ok(Value::Object(object)) => fields(&object),
            Ok(_) => vec![reject(self, "JSON, but no object", "answer with one JSON object alone")],
            Err(error) => {
                vec![reject(self, format!("not JSON: {error}"), "answer with one JSON object alone")]
            }
        }
    }

    fn stands_in(&self, source: &Source, value: &str) -> Vec<Finding> {
        if source.holds(value) {
            return Vec::new();
        }
        vec![reject(self, format!("“{value}” does not stand in the material"), "copy it letter by letter")]
    }
}

/// Keys and values where nobody can doubt that they are some: each alone on its line, with another before or after it.
fn listed(text: &str) -> Vec<(&str, &str)> {
    let lines: Vec<Option<(&str, &str)>> = text.lines().map(pair).collect();
    let is_pair =
        |place: Option<usize>| place.and_then(|place| lines.get(place)).is_some_and(Option::is_some);
    let beside = |place: usize| is_pair(place.checked_sub(1)) || is_pair(Some(place + 1));
    (0..lines.len()).filter(|place| beside(*place)).filter_map(|place| lines[place]).collect()
}

/// `Key: value`, with a short key and nothing that may be another pair.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(": ")?;
    let (key, value) = (key.trim(), value.trim());
    let short = (1..=2).contains(&key.split_whitespace().count());
    let plain = key.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '_' | '-'));
    let one = !value.is_empty() && !value.contains(['=', ';']) && !value.contains(": ");
    (short && plain && one).then_some((key, value))
}

/// The material of a task, in the two spellings that an answer may copy: as it is, and without white space (a nested
/// value is the same JSON however it is laid out).
struct Source {
    text: String,
    dense: String,
}

impl Source {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), dense: dense(text) }
    }

    fn holds(&self, value: &str) -> bool {
        // Inside a JSON document a value is escaped; an answer may give it as it reads.
        let escaped = Value::from(value).to_string();
        let escaped = &escaped[1..escaped.len() - 1];
        self.text.contains(value) || self.text.contains(escaped) || self.dense.contains(&dense(value))
    }
}

fn dense(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}
