//! Streams as Claude sends them, folded.

use serde_json::json;

use super::*;

fn event(data: &Value) -> Event {
    Event { name: data["type"].as_str().map(str::to_owned), data: data.to_string() }
}

fn start() -> Value {
    json!({"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "content": [],
        "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 12, "output_tokens": 1, "cache_read_input_tokens": 7,
                  "cache_creation_input_tokens": 9,
                  "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5}}}})
}

fn block(index: u64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u64, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn text(index: u64, text: &str) -> Value {
    delta(index, json!({"type": "text_delta", "text": text}))
}

fn stop(reason: &str) -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null},
           "usage": {"output_tokens": 30}})
}

/// Folds these events; what was heard on the way, and the whole.
fn fold(events: &[Value]) -> (Vec<Progress>, Completion) {
    let mut fold = Fold::default();
    let heard = events.iter().map(|data| fold.event(&event(data)).expect("no trouble")).collect();
    (heard, fold.complete(&Request::new("hello"), None))
}

#[test]
fn only_text_blocks_are_the_answer_and_usage_is_the_last_total() {
    let (heard, whole) = fold(&[
        start(),
        json!({"type": "ping"}),
        block(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        json!({"type": "ping"}),
        delta(0, json!({"type": "thinking_delta", "thinking": "two and two"})),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "ping"}),
        block(1, json!({"type": "text", "text": ""})),
        text(1, "fo"),
        text(1, "ur"),
        stop("end_turn"),
        json!({"type": "message_stop"}),
    ]);
    let expected = [
        Progress::Nothing,
        Progress::Nothing,
        Progress::Alive,
        Progress::Alive,
        Progress::Alive,
        Progress::Alive,
        Progress::Nothing,
        Progress::Alive,
        Progress::Text("fo".to_owned()),
        Progress::Text("ur".to_owned()),
        Progress::Alive,
        Progress::End,
    ];
    assert_eq!(heard, expected);
    assert_eq!((whole.text.as_str(), whole.finish), ("four", Finish::Stop));
    assert_eq!(whole.model, "claude-sonnet-5-5");
    let usage = Usage {
        input_tokens: 12,
        output_tokens: 30,
        cache_read_tokens: 7,
        cache_write_5m_tokens: 4,
        cache_write_1h_tokens: 5,
    };
    assert_eq!(whole.usage, usage);
    assert!(whole.warnings.is_empty());
}

#[test]
fn a_message_in_one_piece_is_the_same_answer() {
    let mut fold = Fold::default();
    let message = json!({
        "type": "message", "model": "claude-haiku-4-5", "stop_reason": "stop_sequence", "stop_sequence": "END",
        "content": [{"type": "thinking", "thinking": "hm", "signature": "x"}, {"type": "text", "text": "four"},
                    {"type": "tool_use", "id": "toolu_1", "name": "clock", "input": {"zone": "UTC"}}],
        "usage": {"input_tokens": 3, "output_tokens": 2, "a_field": "of tomorrow"}
    });
    assert_eq!(fold.whole(message), Ok(()));
    assert!(fold.has_stopped());
    let whole = fold.complete(&Request::new("hello"), Some("req_1".to_owned()));
    assert_eq!((whole.text.as_str(), whole.finish), ("four", Finish::StopSequence("END".to_owned())));
    assert_eq!(whole.tool_calls[0]["input"], json!({"zone": "UTC"}));
    assert_eq!(whole.usage.output_tokens, 2);
    assert_eq!(whole.request_id.as_deref(), Some("req_1"));
    let stranger = Fold::default().whole(json!({"hello": "world"})).expect_err("no answer");
    assert_eq!((stranger.status, stranger.message.as_str()), (Some(500), "an answer that is none"));
}

#[test]
fn a_tool_call_is_put_together_from_its_parts() {
    let part = |part: &str| delta(0, json!({"type": "input_json_delta", "partial_json": part}));
    let call = json!({"type": "tool_use", "id": "toolu_1", "name": "clock", "input": {}});
    let (_, whole) =
        fold(&[start(), block(0, call), part(""), part("{\"zone\":"), part("\"UTC\"}"), stop("tool_use")]);
    let call = json!({"type": "tool_use", "id": "toolu_1", "name": "clock", "input": {"zone": "UTC"}});
    assert_eq!((whole.tool_calls, whole.finish), (vec![call], Finish::ToolUse));
}

#[test]
fn what_nobody_knows_is_skipped_and_what_is_broken_is_counted() {
    let mut fold = Fold::default();
    for data in [
        start(),
        block(0, json!({"type": "text", "text": ""})),
        text(0, "a"),
        json!({"type": "content_block_sparkle", "index": 0}),
        delta(0, json!({"type": "sparkle_delta", "sparkle": 1})),
        block(1, json!({"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}})),
        text(7, "to a block that never began"),
    ] {
        fold.event(&event(&data)).expect("no trouble");
    }
    for broken in ["{\"type\": \"content_block_delta\", \"ind", "", "null", "{\"type\": \"message_delta\"}"] {
        let event = Event { name: Some("content_block_delta".to_owned()), data: broken.to_owned() };
        assert_eq!(fold.event(&event), Ok(Progress::Nothing), "{broken}");
    }
    assert!(!fold.has_stopped());
    fold.event(&event(&stop("end_turn"))).expect("no trouble");
    assert!(fold.has_stopped());
    let whole = fold.complete(&Request::new("hello"), None);
    assert_eq!(whole.text, "a");
    assert_eq!(whole.warnings, ["4 malformed events of claude's answer were skipped"]);
}

#[test]
fn every_stop_reason_has_its_meaning() {
    for (reason, finish, warnings) in [
        ("end_turn", Finish::Stop, 0),
        ("max_tokens", Finish::Length, 0),
        ("model_context_window_exceeded", Finish::Length, 0),
        ("stop_sequence", Finish::StopSequence(String::new()), 0),
        ("tool_use", Finish::ToolUse, 0),
        ("pause_turn", Finish::Length, 1),
        ("refusal", Finish::Refusal, 1),
        ("boredom", Finish::Stop, 1),
    ] {
        let (_, whole) = fold(&[start(), block(0, json!({"type": "text", "text": "x"})), stop(reason)]);
        assert_eq!((whole.finish, whole.warnings.len()), (finish, warnings), "{reason}");
    }
}

#[test]
fn a_refusal_says_why_and_is_paid_for() {
    let details = json!({"type": "refusal", "category": "cyber", "explanation": "no malware"});
    let refusal = json!({"type": "message_delta", "usage": {"output_tokens": 1},
                         "delta": {"stop_reason": "refusal", "stop_details": details}});
    let (_, whole) = fold(&[start(), refusal]);
    assert_eq!(whole.warnings, ["claude declined: cyber: no malware"]);
    assert_eq!((whole.usage.input_tokens, whole.usage.output_tokens), (12, 1));
}

#[test]
fn thoughts_that_leave_no_room_for_an_answer_are_said_so() {
    let thinking = block(0, json!({"type": "thinking", "thinking": "", "signature": ""}));
    let (_, whole) = fold(&[start(), thinking, stop("max_tokens")]);
    assert!(whole.warnings[0].contains("1024 tokens"), "{:?}", whole.warnings);
}

#[test]
fn trouble_in_a_stream_is_worth_the_status_that_it_would_have_had() {
    let trouble = |kind: &str| {
        let data = json!({"type": "error", "error": {"type": kind, "message": "so it is"}});
        Fold::default().event(&event(&data)).expect_err("trouble").status
    };
    assert_eq!(trouble("overloaded_error"), Some(529));
    assert_eq!(trouble("api_error"), Some(500));
    assert_eq!(trouble("rate_limit_error"), Some(429));
    let torn = Event { name: Some("error".to_owned()), data: "oh no".to_owned() };
    assert_eq!(Fold::default().event(&torn).expect_err("trouble").message, "oh no");
}

#[test]
fn complaints_about_the_length_carry_their_numbers() {
    let meaning = |message: &str| {
        let body = json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}});
        <Fold as Folding>::complaint(400, &body.to_string()).meaning
    };
    let too_long = |needed, limit| Some(Meaning::TooLong { needed, limit });
    assert_eq!(meaning("prompt is too long: 208310 tokens > 200000 maximum"), too_long(208_310, 200_000));
    assert_eq!(
        meaning("input length and `max_tokens` exceed context limit: 199000 + 20000 > 200000, decrease it"),
        too_long(219_000, 200_000)
    );
    assert_eq!(meaning("the context window is full"), too_long(0, 0));
    assert_eq!(meaning("Output blocked by content filtering policy"), Some(Meaning::Filtered));
    assert_eq!(meaning("max_tokens: must be at least 1"), None);
    let page = <Fold as Folding>::complaint(502, "<h1>Bad gateway</h1>");
    assert_eq!((page.status, page.message.as_str()), (Some(502), "<h1>Bad gateway</h1>"));
    for strange in ["{\"detail\": \"no route\"}", "42", "[]", "\"no\"", "null", "{\"error\": \"no\"}", ""] {
        let complaint = <Fold as Folding>::complaint(404, strange);
        assert_eq!((complaint.status, complaint.message.as_str()), (Some(404), strange));
    }
}
