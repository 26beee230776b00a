use proptest::prelude::*;
use serde_json::json;

use super::*;

fn id() -> impl Strategy<Value = Id> {
    prop_oneof![any::<i64>().prop_map(Id::Number), ".{0,32}".prop_map(Id::Text)]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,16}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,8}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec((".{0,8}", json()), 0..4).prop_map(|entries| entries.into_iter().collect())
}

fn frame() -> impl Strategy<Value = Frame> {
    let deadline = prop::option::of(any::<u32>().prop_map(|ms| Duration::from_millis(ms.into())));
    let request = (prop::option::of(id()), "[!-~]{1,32}", object(), deadline)
        .prop_map(|(id, method, params, deadline)| Frame::Request(Request { id, method, params, deadline }));
    let error = (any::<i64>(), ".{0,16}", prop::option::of(object()))
        .prop_map(|(code, message, data)| RpcError { code, message, data: data.map(Value::Object) });
    let position = prop::option::of((".{0,16}", any::<u64>(), any::<u64>()))
        .prop_map(|place| place.map(|(stream, epoch, seq)| Position { stream, epoch, seq }));
    let outcome = prop_oneof![json().prop_map(Ok), error.prop_map(Err)];
    let response =
        (id(), outcome, position, any::<bool>()).prop_map(|(id, outcome, position, stream_end)| {
            Frame::Response(Response { id: Some(id), outcome, position, stream_end })
        });
    prop_oneof![request, response, id().prop_map(Frame::CancelStream)]
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(frame in frame()) {
        prop_assert_eq!(Frame::parse(&frame.to_json()), Ok(frame));
    }

    #[test]
    fn any_text_is_a_frame_or_is_refused_with_words(text in ".{0,200}") {
        if let Err(malformed) = Frame::parse(&text) {
            prop_assert!(!malformed.error.message.is_empty());
        }
    }

    #[test]
    fn any_object_of_known_names_is_a_frame_or_is_refused_with_words(
        names in prop::collection::vec(
            (prop::sample::select(vec!["jsonrpc", "id", "method", "params", "result", "error", "meta", "streamEnd", "cancelStream"]),
             prop_oneof![Just(json!("2.0")), Just(json!(true)), json()]),
            0..8,
        )
    ) {
        let object: Map<String, Value> = names.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        match Frame::parse(&Value::Object(object).to_string()) {
            Ok(frame) => prop_assert_eq!(Frame::parse(&frame.to_json()), Ok(frame)),
            Err(malformed) => prop_assert!(!malformed.error.message.is_empty()),
        }
    }

    #[test]
    fn a_frame_that_is_cut_off_is_no_frame(frame in frame(), at in any::<prop::sample::Index>()) {
        let text = frame.to_json();
        let cut = (0..=at.index(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        prop_assert!(Frame::parse(&text[..cut]).is_err());
    }
}

fn refusal(text: &str) -> Malformed {
    *Frame::parse(text).expect_err("it is no frame")
}

#[test]
fn a_call_is_read_with_its_deadline_and_without_what_nobody_knows() {
    let text = r#"{"jsonrpc":"2.0","id":"a","method":"m","params":{"x":1},"meta":{"deadlineMs":250,"traceparent":"00-…"},"more":1}"#;
    let params = Map::from_iter([("x".to_owned(), json!(1))]);
    let deadline = Some(Duration::from_millis(250));
    let id = Some(Id::Text("a".to_owned()));
    assert_eq!(
        Frame::parse(text),
        Ok(Frame::Request(Request { id, method: "m".to_owned(), params, deadline }))
    );
}

#[test]
fn what_is_no_json_is_told_so_and_what_is_no_call_as_well() {
    assert_eq!(refusal("{").error.code, NOT_JSON);
    for text in [
        "[]",
        "1",
        "{}",
        r#"[{"jsonrpc":"2.0","id":1,"method":"m"}]"#,
        r#"{"id":1,"method":"m"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":""}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"two words"}"#,
        r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[1]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","cancelStream":true}"#,
        r#"{"jsonrpc":"2.0","cancelStream":true}"#,
    ] {
        let refusal = refusal(text);
        assert_eq!((refusal.error.code, refusal.answer), (INVALID_REQUEST, true), "{text}");
    }
}

#[test]
fn a_refusal_goes_to_the_id_that_can_be_made_out() {
    assert_eq!(refusal(r#"{"jsonrpc":"2.0","id":7,"method":5}"#).id, Some(Id::Number(7)));
    assert_eq!(refusal(r#"{"jsonrpc":"2.0","id":[],"method":"m"}"#).id, None);
}

#[test]
fn a_broken_answer_is_not_answered() {
    for text in [
        r#"{"jsonrpc":"2.0","result":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":""}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":"no"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":1,"meta":{"seq":1}}"#,
    ] {
        assert!(!refusal(text).answer, "{text}");
    }
}

#[test]
fn a_result_may_be_null() {
    let text = r#"{"jsonrpc":"2.0","id":1,"result":null}"#;
    let Ok(Frame::Response(response)) = Frame::parse(text) else { panic!("it is a response") };
    assert_eq!(response.outcome, Ok(Value::Null));
}

#[test]
fn a_deeply_nested_frame_is_refused() {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"x":{}1{}}}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    assert_eq!(refusal(&text).error.code, NOT_JSON);
}
