//! Feeds damaged bodies to the server's parser: it may refuse them, but never panics, and what it lets through is sound.
//!
//! `fuzz/` does the same for as long as one likes, guided by coverage; this is the part that every test run affords.

use ghost_worker::serve::Asked;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;

const BODIES: [&str; 3] = [
    r#"{"model":"ghost-tiny","messages":[{"role":"user","content":"Hello"}]}"#,
    r#"{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"caf\u00e9"}]}],
        "stream":true,"stream_options":{"include_usage":true},"max_tokens":7,"temperature":0.7,"top_p":0.9,"seed":-3,
        "stop":["END"],"logprobs":true,"n":1,"user":"u"}"#,
    r##"{"messages":[{"role":"user","content":"a=1"}],"top_k":9,"repeat_penalty":1.1,
        "response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"items":{"$ref":"#"}}}},
        "shape":{"type":"json_of_spans","schema":{},"source":"a=1"},"grammar":"root ::= \"a\""}"##,
];

/// What breaks parsers, put in at random places.
const NASTY: [&str; 12] = [
    "\u{0}",
    "\"",
    "\\ud800",
    "{",
    "}",
    "[[[[",
    "null",
    "-1",
    "1e999",
    "99999999999999999999",
    ",\"n\":2",
    ",\"stop\":[]",
];

#[derive(Debug, Clone)]
enum Damage {
    Remove(Index, usize),
    Replace(Index, u8),
    Insert(Index, &'static str),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), 1..40usize).prop_map(|(at, length)| Damage::Remove(at, length)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        (any::<Index>(), select(&NASTY[..])).prop_map(|(at, text)| Damage::Insert(at, text)),
    ]
}

fn damaged(body: &str, damages: Vec<Damage>) -> Vec<u8> {
    let mut bytes = body.as_bytes().to_vec();
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        match damage {
            Damage::Remove(at, length) => {
                let start = at.index(bytes.len());
                let end = (start + length).min(bytes.len());
                drop(bytes.drain(start..end));
            }
            Damage::Replace(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            Damage::Insert(at, text) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, text.bytes());
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_body_is_refused_with_words_or_is_a_sound_request(
        body in select(&BODIES[..]),
        damages in vec(damage(), 0..4),
    ) {
        match Asked::parse(&damaged(body, damages)) {
            Ok(asked) => {
                prop_assert!(asked.request.max_tokens >= 1 && asked.request.sampling.out_of_range().is_none());
                prop_assert!(!asked.request.messages.is_empty());
                prop_assert!(asked.stream || !asked.include_usage);
            }
            Err(refusal) => prop_assert!(refusal.status == 400 && !refusal.message.is_empty()),
        }
    }
}

#[test]
fn deep_nesting_and_endless_numbers_are_refused_without_a_crash() {
    let deep = format!(r#"{{"messages":{}{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    assert!(Asked::parse(deep.as_bytes()).is_err());
    let long = format!(r#"{{"messages":[{{"role":"user","content":"a"}}],"seed":{}}}"#, "9".repeat(100_000));
    assert!(Asked::parse(long.as_bytes()).is_err());
}
