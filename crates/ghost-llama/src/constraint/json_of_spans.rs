//! Compact JSON whose strings are parts of a text.
//!
//! The text is compared in its JSON-escaped form, as `serde_json` writes it: a string of the answer consists of whole
//! characters or whole escapes of it. A stack of [`Expect`]ations says what comes next; each byte of the answer meets
//! the top one.

use std::rc::Rc;

use serde_json::Value;

use super::Constraint;

/// The deepest that arrays and objects may nest in a schema.
const MAX_NESTING: usize = 32;

/// What the schema asks for.
#[derive(Debug)]
enum Node {
    /// A string.
    Text,
    /// An object with these members, in this order.
    Named(Vec<Member>),
    /// An object with keys of the answer's choice and such values.
    Free(Rc<Node>),
    /// An array of such values.
    List(Rc<Node>),
}

#[derive(Debug)]
struct Member {
    /// The key as JSON without its first quote: `sender"`.
    key: Vec<u8>,
    value: Rc<Node>,
    required: bool,
}

/// What comes next in the answer; the last in the stack comes first.
#[derive(Debug, Clone)]
enum Expect {
    /// This byte.
    Byte(u8),
    /// A whole value.
    Value(Rc<Node>),
    /// A member of a [`Node::Named`] from this one on, or its end.
    Member { object: Rc<Node>, from: usize, first: bool },
    /// The rest of a key, of which so much is written.
    Key { object: Rc<Node>, from: usize, written: usize, candidates: Vec<usize> },
    /// A key that is not yet taken and its value, or the end of a [`Node::Free`].
    FreeMember { value: Rc<Node>, taken: Vec<Vec<u8>>, first: bool },
    /// An item of a [`Node::List`], or its end.
    Item { item: Rc<Node>, first: bool },
    /// The rest of a string: it may go on wherever in the source it may have ended so far.
    Text { ends: Rc<[usize]> },
    /// The rest of a free key, with what is written of it.
    FreeKey { ends: Rc<[usize]>, written: Vec<u8>, value: Rc<Node>, taken: Vec<Vec<u8>> },
}

#[derive(Clone)]
pub(super) struct JsonOfSpans {
    source: Rc<[u8]>,
    /// Where characters and escapes of the source begin, and its end.
    borders: Rc<[usize]>,
    stack: Vec<Expect>,
}

impl JsonOfSpans {
    pub(super) fn new(schema: &Value, source: &str) -> Result<Self, String> {
        let root = Rc::new(node(schema, 0)?);
        let quoted = Value::from(source).to_string();
        let escaped = &quoted[1..quoted.len() - 1];
        let borders = borders(escaped).into();
        Ok(Self { source: escaped.as_bytes().into(), borders, stack: vec![Expect::Value(root)] })
    }

    /// One more byte of the answer; false where it is not allowed, and then the state is of no more use.
    fn step(&mut self, byte: u8) -> bool {
        let Some(top) = self.stack.pop() else { return false };
        match top {
            Expect::Byte(expected) => byte == expected,
            Expect::Value(node) => match (byte, &*node) {
                (b'"', Node::Text) => self.push(Expect::Text { ends: self.borders.clone() }),
                (b'{', Node::Named(_)) => self.push(Expect::Member { object: node, from: 0, first: true }),
                (b'{', Node::Free(value)) => {
                    self.push(Expect::FreeMember { value: value.clone(), taken: Vec::new(), first: true })
                }
                (b'[', Node::List(item)) => self.push(Expect::Item { item: item.clone(), first: true }),
                _ => false,
            },
            Expect::Member { object, from, first } => {
                let Node::Named(members) = &*object else { return false };
                if byte == b'}' {
                    return members[from..].iter().all(|member| !member.required);
                }
                // The next member is an optional one or the first that is required.
                let last = members[from..].iter().position(|member| member.required).map(|at| from + at);
                let candidates: Vec<usize> = (from..last.map_or(members.len(), |last| last + 1)).collect();
                if candidates.is_empty() {
                    return false;
                }
                self.push(Expect::Key { object, from, written: 0, candidates }) && self.opens(byte, first)
            }
            Expect::Key { object, from, written, mut candidates } => {
                let Node::Named(members) = &*object else { return false };
                candidates.retain(|&at| members[at].key.get(written) == Some(&byte));
                let Some(&chosen) = candidates.first() else { return false };
                if byte != b'"' || members[chosen].key.len() > written + 1 {
                    return self.push(Expect::Key { object, from, written: written + 1, candidates });
                }
                let value = members[chosen].value.clone();
                self.push(Expect::Member { object, from: chosen + 1, first: false });
                self.push(Expect::Value(value));
                self.push(Expect::Byte(b':'))
            }
            Expect::FreeMember { value, taken, first } => {
                if byte == b'}' {
                    return true;
                }
                let ends = self.borders.clone();
                self.has_key(&ends, &[], &taken)
                    && self.push(Expect::FreeKey { ends, written: Vec::new(), value, taken })
                    && self.opens(byte, first)
            }
            Expect::FreeKey { ends, mut written, value, mut taken } => {
                if byte == b'"' && self.at_border(&ends) {
                    if written.is_empty() || taken.contains(&written) {
                        return false;
                    }
                    taken.push(written);
                    self.push(Expect::FreeMember { value: value.clone(), taken, first: false });
                    self.push(Expect::Value(value));
                    return self.push(Expect::Byte(b':'));
                }
                let Some(ends) = self.go_on(&ends, byte) else { return false };
                written.push(byte);
                self.has_key(&ends, &written, &taken)
                    && self.push(Expect::FreeKey { ends, written, value, taken })
            }
            Expect::Item { item, first } => {
                if byte == b']' {
                    return true;
                }
                self.push(Expect::Item { item: item.clone(), first: false });
                self.push(Expect::Value(item));
                if first { self.step(byte) } else { byte == b',' }
            }
            Expect::Text { ends } => {
                if byte == b'"' && self.at_border(&ends) {
                    return true;
                }
                self.go_on(&ends, byte).is_some_and(|ends| self.push(Expect::Text { ends }))
            }
        }
    }

    fn push(&mut self, expect: Expect) -> bool {
        self.stack.push(expect);
        true
    }

    /// Whether this byte opens a member: a quote, and before it a comma where the member is not the first.
    fn opens(&mut self, byte: u8, first: bool) -> bool {
        if first { byte == b'"' } else { byte == b',' && self.push(Expect::Byte(b'"')) }
    }

    fn go_on(&self, ends: &[usize], byte: u8) -> Option<Rc<[usize]>> {
        let ends: Rc<[usize]> =
            ends.iter().filter(|&&end| self.source.get(end) == Some(&byte)).map(|end| end + 1).collect();
        (!ends.is_empty()).then_some(ends)
    }

    /// Whether a key that is not taken begins with what is written of it. Of several ways on from one place, at most
    /// as many are taken as there are keys.
    fn has_key(&self, ends: &[usize], written: &[u8], taken: &[Vec<u8>]) -> bool {
        ends.iter().any(|&end| {
            let next = self.borders.partition_point(|&border| border < end);
            self.borders[next..].iter().take(taken.len() + 2).any(|&border| {
                let key = [written, &self.source[end..border]].concat();
                !key.is_empty() && !taken.contains(&key)
            })
        })
    }

    /// Whether a string may end. The escaped source has no bare quote, so at a border a quote can only be its end.
    fn at_border(&self, ends: &[usize]) -> bool {
        ends.iter().any(|end| self.borders.binary_search(end).is_ok())
    }
}

impl Constraint for JsonOfSpans {
    fn allows(&self, bytes: &[u8]) -> bool {
        let mut probe = self.clone();
        bytes.iter().all(|&byte| probe.step(byte))
    }

    fn accept(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.step(byte);
        }
    }

    fn may_end(&self) -> bool {
        self.stack.is_empty()
    }
}

/// Where in an escaped text its characters and escapes begin, and its end.
fn borders(escaped: &str) -> Vec<usize> {
    let mut borders = Vec::new();
    let mut at = 0;
    while let Some(c) = escaped[at..].chars().next() {
        borders.push(at);
        at += match (c, escaped.as_bytes().get(at + 1)) {
            ('\\', Some(b'u')) => 6,
            ('\\', _) => 2,
            _ => c.len_utf8(),
        };
    }
    borders.push(at);
    borders
}

fn node(schema: &Value, nesting: usize) -> Result<Node, String> {
    if nesting > MAX_NESTING {
        return Err("the schema nests too deep".into());
    }
    match schema["type"].as_str() {
        Some("string") => Ok(Node::Text),
        Some("array") => Ok(Node::List(Rc::new(node(&schema["items"], nesting + 1)?))),
        Some("object") => {
            match schema["properties"].as_object().filter(|properties| !properties.is_empty()) {
                Some(properties) => {
                    let required = schema["required"].as_array();
                    let member = |(name, schema): (&String, &Value)| {
                        Ok(Member {
                            key: Value::from(name.as_str()).to_string().into_bytes().split_off(1),
                            value: Rc::new(node(schema, nesting + 1)?),
                            required: required.is_some_and(|r| r.iter().any(|r| r == name.as_str())),
                        })
                    };
                    properties.iter().map(member).collect::<Result<_, String>>().map(Node::Named)
                }
                None if schema["additionalProperties"].is_object() => {
                    Ok(Node::Free(Rc::new(node(&schema["additionalProperties"], nesting + 1)?)))
                }
                None => Ok(Node::Free(Rc::new(Node::Text))),
            }
        }
        _ => Err("JSON of spans has objects, arrays and strings; the schema asks for something else".into()),
    }
}

#[cfg(test)]
mod tests {
    use ghost_core::inference::Shape;
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::tests::{takes, walk};
    use super::*;

    fn email() -> Value {
        let text = json!({"type": "string"});
        json!({"type": "object", "properties": {"sender": text, "subject": text}, "required": ["sender", "subject"]})
    }

    fn shape(schema: Value, source: &str) -> Shape {
        Shape::JsonOfSpans { schema, source: source.to_owned() }
    }

    #[test]
    fn named_strings_are_parts_of_the_source() {
        let shape = shape(email(), "From: ana@example.org\nSubject: \"Hi\" there");
        assert!(takes(&shape, r#"{"sender":"ana@example.org","subject":"\"Hi\" there"}"#));
        assert!(takes(&shape, r#"{"sender":"","subject":"org\nSubject"}"#));
        assert!(!takes(&shape, r#"{"sender":"bob@example.org","subject":"Hi"}"#));
        assert!(!takes(&shape, r#"{"sender": "ana@example.org","subject":"Hi"}"#), "compact");
        assert!(!takes(&shape, r#"{"sender":"ana@example.org"}"#), "all that is required");
        assert!(!takes(&shape, r#"{"subject":"Hi","sender":"ana@example.org"}"#), "in order");
        assert!(!takes(&shape, r#"{"sender":"a","subject":"Hi"}}"#));
    }

    #[test]
    fn an_escape_is_never_cut() {
        let shape = shape(email(), "a\\\"b\u{1}é");
        assert!(takes(&shape, r#"{"sender":"\\","subject":"\"b\u0001é"}"#));
        assert!(!takes(&shape, r#"{"sender":"\","subject":"b"}"#));
        assert!(!takes(&shape, r#"{"sender":"u0001","subject":"b"}"#));
        assert!(!takes(&shape, r#"{"sender":"0001é","subject":"b"}"#));
    }

    #[test]
    fn optional_members_may_be_left_out() {
        let text = json!({"type": "string"});
        let schema =
            json!({"type": "object", "properties": {"a": text, "ab": text, "c": text}, "required": ["ab"]});
        let shape = shape(schema, "xyz");
        assert!(takes(&shape, r#"{"a":"x","ab":"y","c":"z"}"#));
        assert!(takes(&shape, r#"{"ab":"y"}"#));
        assert!(takes(&shape, r#"{"ab":"y","c":"z"}"#));
        assert!(!takes(&shape, r#"{"a":"x"}"#));
        assert!(!takes(&shape, r#"{"c":"z"}"#));
        assert!(!takes(&shape, r#"{"ab":"y",}"#));
    }

    #[test]
    fn free_keys_are_parts_of_the_source_too_and_none_comes_twice() {
        let shape = shape(json!({"type": "object"}), "host=db1;port=5432");
        assert!(takes(&shape, r#"{"host":"db1","port":"5432"}"#));
        assert!(takes(&shape, "{}"));
        assert!(!takes(&shape, r#"{"host":"db1","host":"db1"}"#));
        assert!(!takes(&shape, r#"{"":"db1"}"#));
        assert!(!takes(&shape, r#"{"user":"db1"}"#));
        assert!(!takes(&shape, r#"{"host":5432}"#));
    }

    #[test]
    fn a_key_is_not_begun_where_none_is_left() {
        let shape = shape(json!({"type": "object"}), "é");
        assert!(takes(&shape, r#"{"é":""}"#));
        let mut constraint = JsonOfSpans::new(&json!({"type": "object"}), "é").expect("a schema");
        constraint.accept(r#"{"é":"é""#.as_bytes());
        assert!(!constraint.allows(b","));
        assert!(constraint.allows(b"}"));
        assert!(!JsonOfSpans::new(&json!({"type": "object"}), "").expect("a schema").allows(b"{\""));
    }

    #[test]
    fn arrays_hold_strings_or_objects() {
        let shape = shape(json!({"type": "array", "items": email()}), "a b");
        assert!(takes(&shape, "[]"));
        assert!(takes(&shape, r#"[{"sender":"a","subject":"b"},{"sender":"b","subject":" "}]"#));
        assert!(!takes(&shape, r#"[,{"sender":"a","subject":"b"}]"#));
        assert!(!takes(&shape, r#"[{"sender":"a","subject":"b"}"#));
    }

    #[test]
    fn a_schema_with_numbers_is_refused() {
        let schema = json!({"type": "object", "properties": {"n": {"type": "number"}}});
        assert!(JsonOfSpans::new(&schema, "1").is_err());
        assert!(JsonOfSpans::new(&json!(true), "1").is_err());
    }

    proptest! {
        #[test]
        fn whatever_it_allows_is_json_of_the_schema_with_strings_from_the_source(
            source in "[a\"\\\\\n\u{1}é👻 ]{0,20}",
            free in any::<bool>(),
            picks in prop::collection::vec(any::<u8>(), 1..120),
        ) {
            let schema = if free { json!({"type": "object"}) } else { email() };
            let mut constraint = JsonOfSpans::new(&schema, &source).expect("a schema");
            if let Some(answer) = walk(&mut constraint, &picks) {
                let answer: Value = serde_json::from_slice(&answer).expect("JSON");
                prop_assert!(jsonschema::is_valid(&schema, &answer));
                for (key, value) in answer.as_object().expect("an object") {
                    prop_assert!(source.contains(value.as_str().expect("a string")));
                    prop_assert!(!free || source.contains(key));
                }
            }
        }
    }
}
