//! A task with gaps: any text in it may hold `{name}`, which a message fills. `{{` and `}}` are braces.
//!
//! A text that is one gap and nothing else becomes the value itself, so that numbers, lists and objects of a JSON message
//! stay what they are. Within a longer text a value stands as text, or as JSON where it is none.

use serde_json::{Map, Value};

/// JSON with gaps.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Template {
    Fixed(Value),
    Text(Text),
    Array(Vec<Template>),
    Object(Vec<(String, Template)>),
}

/// A text with gaps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Plain(String),
    Gap(String),
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// A brace that opens or closes nothing.
    #[error("{0:?} has a brace that does not belong to a {{name}}; write {{{{ or }}}} for a brace itself")]
    Brace(String),
    /// `{}`.
    #[error("{0:?} has braces without a name in them")]
    Nameless(String),
}

/// A message lacks what a template asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the message has no {0:?}")]
pub(super) struct Missing(String);

impl Template {
    pub(super) fn parse(json: Value) -> Result<Self, Error> {
        Ok(match json {
            Value::String(text) => Template::Text(Text::parse(&text)?),
            Value::Array(items) => {
                Template::Array(items.into_iter().map(Template::parse).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => {
                let parse = |(name, value)| Ok((name, Template::parse(value)?));
                Template::Object(members.into_iter().map(parse).collect::<Result<_, Error>>()?)
            }
            fixed => Template::Fixed(fixed),
        })
    }

    pub(super) fn fill(&self, get: &impl Fn(&str) -> Option<Value>) -> Result<Value, Missing> {
        Ok(match self {
            Template::Fixed(value) => value.clone(),
            Template::Text(text) => text.value(get)?,
            Template::Array(items) => {
                Value::Array(items.iter().map(|item| item.fill(get)).collect::<Result<_, _>>()?)
            }
            Template::Object(members) => {
                let fill = |(name, value): &(String, Template)| Ok((name.clone(), value.fill(get)?));
                Value::Object(members.iter().map(fill).collect::<Result<Map<_, _>, Missing>>()?)
            }
        })
    }
}

impl Text {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(twice) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = twice;
                continue;
            }
            let gap = after.split_once('}').filter(|(name, _)| brace == "{" && !name.contains('{'));
            let Some((name, after)) = gap else { return Err(Error::Brace(text.to_owned())) };
            if name.trim().is_empty() {
                return Err(Error::Nameless(text.to_owned()));
            }
            if !plain.is_empty() {
                parts.push(Part::Plain(std::mem::take(&mut plain)));
            }
            parts.push(Part::Gap(name.trim().to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Plain(plain));
        }
        Ok(Self(parts))
    }

    /// The text with its gaps filled.
    pub(super) fn fill(&self, get: &impl Fn(&str) -> Option<Value>) -> Result<String, Missing> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Plain(text) => filled.push_str(text),
                Part::Gap(name) => match get(name).ok_or_else(|| Missing(name.clone()))? {
                    Value::String(text) => filled.push_str(&text),
                    value => filled.push_str(&value.to_string()),
                },
            }
        }
        Ok(filled)
    }

    fn value(&self, get: &impl Fn(&str) -> Option<Value>) -> Result<Value, Missing> {
        match self.0.as_slice() {
            [Part::Gap(name)] => get(name).ok_or_else(|| Missing(name.clone())),
            _ => self.fill(get).map(Value::String),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(template: Value) -> Value {
        let values = json!({ "name": "Ada", "n": 3, "of": ["a", "b"] });
        let template = Template::parse(template).expect("a template");
        template.fill(&|name| values.get(name).cloned()).expect("nothing is missing")
    }

    #[test]
    fn a_gap_alone_keeps_what_a_value_is_and_within_a_text_it_is_text() {
        let template =
            json!({ "a": "{n}", "b": "{n} of {of} for { name }", "c": ["{of}"], "d": 1.5, "e": "" });
        let expected =
            json!({ "a": 3, "b": "3 of [\"a\",\"b\"] for Ada", "c": [["a", "b"]], "d": 1.5, "e": "" });
        assert_eq!(filled(template), expected);
    }

    #[test]
    fn double_braces_are_braces() {
        assert_eq!(filled(json!("{{\"id\": {n}}}")), json!("{\"id\": 3}"));
    }

    #[test]
    fn what_a_message_puts_in_is_never_a_template_itself() {
        let template = Template::parse(json!("<{x}>")).expect("a template");
        let value = template.fill(&|_| Some(json!("{y} }} {"))).expect("nothing is missing");
        assert_eq!(value, json!("<{y} }} {>"));
    }

    #[test]
    fn stray_braces_and_nameless_gaps_are_refused() {
        for text in ["{", "}", "a {b", "a } b", "{a{b}}"] {
            assert_eq!(Text::parse(text), Err(Error::Brace(text.to_owned())), "{text}");
        }
        assert_eq!(Text::parse("{ }"), Err(Error::Nameless("{ }".to_owned())));
    }

    #[test]
    fn what_is_missing_is_named() {
        let template = Template::parse(json!({ "a": ["{gone}"] })).expect("a template");
        assert_eq!(
            template.fill(&|_| None).expect_err("it is missing").to_string(),
            "the message has no \"gone\""
        );
    }
}
