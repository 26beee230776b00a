//! What is refused, with which words, and what is taken as it stands.

use serde_json::json;

use super::*;

/// A request with these fields instead of the usual ones, parsed.
fn parse(fields: Value) -> Result<TaskRequest, Error> {
    let mut request = json!({"task_type": "llm_inference", "description": "add two and two"});
    for (name, value) in fields.as_object().expect("fields are an object") {
        request[name] = value.clone();
    }
    TaskRequest::parse(request.to_string().as_bytes())
}

fn refusal(json: impl AsRef<[u8]>) -> String {
    TaskRequest::parse(json.as_ref()).expect_err("it makes no sense").to_string()
}

#[test]
fn a_type_and_a_description_suffice() {
    let request = parse(json!({})).expect("a request");
    assert_eq!((request.priority.get(), request.timeout), (5, 300.0));
    assert_eq!((request.task_id.clone(), request.tenant()), (None, Tenant::default()));
    assert_eq!(request.text(), "add two and two");
}

#[test]
fn the_description_instructs_and_the_prompt_is_its_material() {
    let both = json!({"description": "Sum up.", "parameters": {"prompt": "A long text."}});
    assert_eq!(parse(both).expect("a request").text(), "Sum up.\n\nA long text.");
    let prompt_alone = json!({"description": " ", "parameters": {"prompt": "What is 2 + 2?"}});
    assert_eq!(parse(prompt_alone).expect("a request").text(), "What is 2 + 2?");
}

#[test]
fn unknown_fields_are_named_and_unknown_parameters_kept() {
    let words = parse(json!({"pririty": 9})).expect_err("a typing error").to_string();
    assert!(words.contains("unknown field `pririty`") && words.contains("`priority`"), "{words}");
    let request = parse(json!({"parameters": {"voice": "deep"}})).expect("for a ghost of somebody's own");
    assert_eq!(request.parameters.extra["voice"], "deep");
    assert_eq!(serde_json::to_value(&request).expect("JSON")["parameters"]["voice"], "deep");
}

#[test]
fn every_field_that_makes_no_sense_is_refused_by_name() {
    let long = "x".repeat(MAX_TEXT_BYTES + 1);
    let many: Vec<String> = (0..=MAX_CATEGORIES).map(|n| n.to_string()).collect();
    for (field, fields) in [
        ("task_type", json!({"task_type": ""})),
        ("task_type", json!({"task_type": "x".repeat(65)})),
        ("description", json!({"description": ""})),
        ("description", json!({"description": " \n\t"})),
        ("description", json!({"description": long})),
        ("parameters.prompt", json!({"parameters": {"prompt": long}})),
        ("timeout", json!({"timeout": 0})),
        ("timeout", json!({"timeout": -1})),
        ("timeout", json!({"timeout": MAX_TIMEOUT * 2.0})),
        ("parameters.temperature", json!({"parameters": {"temperature": -0.1}})),
        ("parameters.temperature", json!({"parameters": {"temperature": 2.1}})),
        ("parameters.top_k", json!({"parameters": {"top_k": 0}})),
        ("parameters.top_p", json!({"parameters": {"top_p": 0}})),
        ("parameters.min_p", json!({"parameters": {"min_p": 1.5}})),
        ("parameters.repetition_penalty", json!({"parameters": {"repetition_penalty": 0}})),
        ("parameters.presence_penalty", json!({"parameters": {"presence_penalty": 2.5}})),
        ("parameters.frequency_penalty", json!({"parameters": {"frequency_penalty": -2.5}})),
        ("parameters.max_tokens", json!({"parameters": {"max_tokens": 0}})),
        ("parameters.max_tokens", json!({"parameters": {"max_tokens": 1_000_001}})),
        ("parameters", json!({"parameters": {"force_llm": true, "force_slm": true}})),
        ("parameters.categories", json!({"parameters": {"categories": []}})),
        ("parameters.categories", json!({"parameters": {"categories": many}})),
        ("parameters.categories", json!({"parameters": {"categories": ["a", " "]}})),
        ("parameters.categories", json!({"parameters": {"categories": ["a\nb"]}})),
        ("parameters.schema", json!({"parameters": {"schema": 7}})),
        ("parameters.schema", json!({"parameters": {"schema": {"type": "strnig"}}})),
        ("parameters.stop", json!({"parameters": {"stop": [""]}})),
        ("parameters.stop", json!({"parameters": {"stop": vec!["x"; 17]}})),
        ("context.tenant", json!({"context": {"tenant": 7}})),
        ("context.tenant", json!({"context": {"tenant": "zoë"}})),
    ] {
        match parse(fields) {
            Err(Error::Field { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field} was not refused: {other:?}"),
        }
    }
}

#[test]
fn values_of_another_type_are_refused_with_what_would_be_right() {
    for (words, fields) in [
        ("priority must be 1 to 10, not 0", json!({"priority": 0})),
        ("priority must be 1 to 10, not 11", json!({"priority": 11})),
        ("priority must be 1 to 10, not -5", json!({"priority": -5})),
        ("expected i64", json!({"priority": 5.5})),
        ("expected i64", json!({"priority": "high"})),
        ("expected a string", json!({"description": null})),
        ("expected f64", json!({"timeout": "soon"})),
        ("expected u32", json!({"parameters": {"max_tokens": -1}})),
        ("must not be empty", json!({"task_id": ""})),
        ("printable ASCII", json!({"task_id": "a\tb"})),
        ("at most 128", json!({"task_id": "x".repeat(129)})),
    ] {
        let refused = parse(fields).expect_err(words).to_string();
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn what_json_cannot_say_is_refused() {
    for timeout in ["NaN", "Infinity", "-Infinity", "1e999", "nan"] {
        let json = format!(r#"{{"task_type": "t", "description": "d", "timeout": {timeout}}}"#);
        assert!(refusal(&json).contains("line 1 column"), "{}", refusal(&json));
    }
}

#[test]
fn only_a_json_object_is_a_task() {
    for json in
        ["", "  ", "7", "null", "\"add two and two\"", r#"[null, "llm_inference", "add two and two"]"#]
    {
        assert!(matches!(TaskRequest::parse(json.as_bytes()), Err(Error::NotAnObject)), "{json}");
    }
    refusal(r#"{"task_type": "t", "description": "d"} and more"#);
    refusal(r#"{"task_type": "t", "description": "d""#);
    assert!(refusal(r#"{"task_type": "t"}"#).contains("missing field `description`"));
}

#[test]
fn a_field_given_twice_is_refused() {
    let twice = r#"{"task_type": "t", "description": "d", "priority": 1, "priority": 9}"#;
    assert!(refusal(twice).contains("duplicate field `priority`"), "{}", refusal(twice));
    let inside = r#"{"task_type": "t", "description": "d", "parameters": {"prompt": "a", "prompt": "b"}}"#;
    assert!(refusal(inside).contains("duplicate field `prompt`"), "{}", refusal(inside));
}

#[test]
fn nesting_beyond_any_use_is_refused() {
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"task_type": "t", "description": "d", "context": {{"x": {open}{close}}}}}"#)
    };
    assert!(TaskRequest::parse(nested(100).as_bytes()).is_ok());
    assert!(refusal(nested(129)).contains("recursion limit"));
    assert!(refusal(nested(1_000_000)).contains("recursion limit"), "and does not overflow the stack");
}

#[test]
fn too_many_bytes_are_refused_before_they_are_read() {
    let large = format!(r#"{{"task_type": "t", "description": "{}"}}"#, "x".repeat(MAX_REQUEST_BYTES));
    assert!(
        matches!(TaskRequest::parse(large.as_bytes()), Err(Error::TooLarge(bytes)) if bytes == large.len())
    );
}

#[test]
fn invalid_utf_8_is_refused_with_its_place() {
    assert_eq!(refusal(b"{\"task_type\": \"\xff\"}"), "not UTF-8: byte 16 is invalid");
}

#[test]
fn a_fingerprint_is_of_what_is_asked_and_not_of_how_it_is_written() {
    let print = |json: &str| TaskRequest::parse(json.as_bytes()).expect("a request").fingerprint();
    let plain =
        print(r#"{"task_type": "t", "description": "d", "context": {"a": 1, "b": {"c": 2, "d": 3}}}"#);
    let turned = print(
        r#"{"context": {"b": {"d": 3, "c": 2}, "a": 1}, "priority": 5, "description": "\u0064", "task_type": "t",
            "task_id": "x"}"#,
    );
    assert_eq!(plain, turned, "order, escapes, defaults and the id are no difference");
    let other =
        print(r#"{"task_type": "t", "description": "d", "context": {"a": 1, "b": {"c": 2, "d": 4}}}"#);
    assert_ne!(plain, other);
}
