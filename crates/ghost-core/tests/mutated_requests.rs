//! Feeds damaged requests to the parser: it may refuse them, but never panics, and what it lets through is sound.
//!
//! `fuzz/` does the same for as long as one likes, guided by coverage; this is the part that every test run affords.

use ghost_core::experiment::Definition;
use ghost_core::feedback::Feedback;
use ghost_core::task::TaskRequest;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;

const REQUESTS: [&str; 4] = [
    r#"{"task_type":"llm_inference","description":"What is 2 + 2?"}"#,
    r#"{"task_id":"a-1","task_type":"classify","description":"Sort this.","priority":10,"timeout":1.5,
        "parameters":{"prompt":"My invoice is wrong","categories":["billing","other"],"temperature":0,"stop":["\n"]}}"#,
    r##"{"task_type":"json_field","description":"Die Straße, bitte: \u00e9\ud83d\ude00","context":{"tenant":"acme"},
        "parameters":{"schema":{"type":"object","properties":{"a":{"type":"array","items":{"$ref":"#"}}}},"x":null}}"##,
    r#"{"task_type":"status_update","description":"","parameters":{"prompt":"p","max_tokens":64,"force_slm":true}}"#,
];

const FEEDBACK: [&str; 2] =
    [r#"{"rating":"good"}"#, r#"{"rating":0.25,"comment":"caf\u00e9 \ud83d\ude00","correction":"12.50"}"#];

const EXPERIMENTS: [&str; 2] = [
    r#"{"name":"e","arms":[{"name":"a"},{"name":"b","weight":2,"model":"m"}]}"#,
    r#"{"name":"p-1","metric":"rating","alpha":0.01,"margin":0,"arms":[{"name":"a","simple_threshold":0.3,
        "complex_threshold":0.7},{"name":"b","system_prompt":"Be brief.","prompt_prefix":"\u00e9:"}]}"#,
];

/// What breaks parsers, put in at random places.
const NASTY: [&str; 16] = [
    "\u{0}",
    "\"",
    "\\",
    "\\u",
    "\\ud800",
    "{",
    "}",
    "[[[[",
    "null",
    "NaN",
    "-1",
    "1e999",
    "99999999999999999999",
    "\u{202e}",
    ",\"priority\":0",
    ",\"timeout\":-0.0",
];

#[derive(Debug, Clone)]
enum Damage {
    Remove(Index, usize),
    Replace(Index, u8),
    Insert(Index, &'static str),
    Repeat(Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), 1..40usize).prop_map(|(at, length)| Damage::Remove(at, length)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        (any::<Index>(), select(&NASTY[..])).prop_map(|(at, text)| Damage::Insert(at, text)),
        (any::<Index>(), 1..40usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
    ]
}

fn damaged(request: &str, damages: Vec<Damage>) -> Vec<u8> {
    let mut bytes = request.as_bytes().to_vec();
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let place = |at: Index, length: usize, bytes: &[u8]| {
            let start = at.index(bytes.len());
            start..(start + length).min(bytes.len())
        };
        match damage {
            Damage::Remove(at, length) => drop(bytes.drain(place(at, length, &bytes))),
            Damage::Replace(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            Damage::Insert(at, text) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, text.bytes());
            }
            Damage::Repeat(at, length) => {
                let part = bytes[place(at, length, &bytes)].to_vec();
                let at = at.index(bytes.len());
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_request_is_refused_with_words_or_is_a_sound_one(
        request in select(&REQUESTS[..]),
        damages in vec(damage(), 0..4),
    ) {
        match TaskRequest::parse(&damaged(request, damages)) {
            Ok(request) => {
                prop_assert!((1..=10).contains(&request.priority.get()));
                prop_assert!(!request.text().trim().is_empty());
                prop_assert!(!request.timeout().is_zero());
                let json = serde_json::to_vec(&request).expect("a request is always JSON");
                let again = TaskRequest::parse(&json).expect("what we write we can read");
                prop_assert_eq!(again.fingerprint(), request.fingerprint());
                prop_assert_eq!(again, request);
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn damaged_feedback_is_refused_with_words_or_is_sound(
        feedback in select(&FEEDBACK[..]),
        damages in vec(damage(), 0..4),
    ) {
        match Feedback::parse(&damaged(feedback, damages)) {
            Ok(feedback) => {
                prop_assert!((0.0..=1.0).contains(&feedback.rating.get()));
                let json = serde_json::to_vec(&feedback).expect("feedback is always JSON");
                prop_assert_eq!(Feedback::parse(&json).expect("what we write we can read"), feedback);
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn a_damaged_experiment_is_refused_with_words_or_is_a_sound_one(
        experiment in select(&EXPERIMENTS[..]),
        damages in vec(damage(), 0..4),
    ) {
        match Definition::parse(&damaged(experiment, damages)) {
            Ok(definition) => {
                prop_assert!(definition.arms.len() >= 2 && definition.alpha > 0.0);
                let json = serde_json::to_vec(&definition).expect("a definition is always JSON");
                prop_assert_eq!(Definition::parse(&json).expect("what we write we can read"), definition);
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn deep_nesting_and_endless_numbers_are_refused_without_a_crash() {
    let deep = format!(
        r#"{{"task_type":"t","description":"d","context":{{"a":{}{}}}}}"#,
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    assert!(TaskRequest::parse(deep.as_bytes()).is_err());
    let long = format!(r#"{{"task_type":"t","description":"d","priority":{}}}"#, "9".repeat(100_000));
    assert!(TaskRequest::parse(long.as_bytes()).is_err());
    let schema = format!(
        r#"{{"task_type":"t","description":"d","parameters":{{"schema":{}{}}}}}"#,
        r#"{"not":"#.repeat(100),
        "true".to_owned() + &"}".repeat(100)
    );
    assert!(TaskRequest::parse(schema.as_bytes()).is_ok_and(|request| request.parameters.schema.is_some()));
}
