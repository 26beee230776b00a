//! Answers as llama-server, Ollama, vLLM and OpenAI send them, folded.

use super::*;

fn event(data: impl ToString) -> Event {
    Event { name: None, data: data.to_string() }
}

fn chunk(delta: Value, finish: Option<&str>) -> Value {
    json!({"id": "c1", "object": "chat.completion.chunk", "model": "phi",
           "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

/// Folds these chunks; what was heard on the way, and the whole.
fn fold(chunks: &[Value]) -> (Vec<Progress>, Completion) {
    let mut fold = Fold::default();
    let heard = chunks.iter().map(|data| fold.event(&event(data)).expect("no trouble")).collect();
    (heard, fold.complete(&Request::new("12345678"), None))
}

#[test]
fn text_usage_and_log_probabilities_come_together_from_chunks() {
    let mut likely = chunk(json!({"content": "fo"}), None);
    likely["choices"][0]["logprobs"] = json!({"content": [{"token": "fo", "logprob": -0.25}]});
    let (heard, whole) = fold(&[
        chunk(json!({"role": "assistant", "content": ""}), None),
        chunk(json!({"reasoning_content": "hm"}), None),
        likely,
        chunk(json!({"content": "ur"}), None),
        chunk(json!({}), Some("stop")),
        json!({"model": "phi", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2,
               "prompt_tokens_details": {"cached_tokens": 4}}}),
    ]);
    let said = |text: &str| Progress::Text(text.to_owned());
    let expected =
        [Progress::Nothing, Progress::Alive, said("fo"), said("ur"), Progress::Alive, Progress::Nothing];
    assert_eq!(heard, expected);
    assert_eq!((whole.text.as_str(), whole.finish, whole.model.as_str()), ("four", Finish::Stop, "phi"));
    let usage = Usage { input_tokens: 5, output_tokens: 2, cache_read_tokens: 4, ..Usage::default() };
    assert_eq!((whole.usage, whole.logprobs), (usage, vec![-0.25]));
    assert_eq!(Fold::default().event(&event("[DONE]")), Ok(Progress::End));
}

#[test]
fn a_completion_in_one_piece_is_the_same_answer() {
    let mut fold = Fold::default();
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}});
    let whole = json!({"model": "phi", "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        "choices": [{"message": {"content": null, "tool_calls": [call]}, "finish_reason": "tool_calls"}]});
    assert_eq!(fold.whole(whole), Ok(()));
    let whole = fold.complete(&Request::new("hello"), None);
    assert_eq!((whole.tool_calls, whole.finish), (vec![call], Finish::ToolUse));
    let stranger = Fold::default().whole(json!({"choices": []})).expect_err("no answer");
    assert_eq!((stranger.status, stranger.message.as_str()), (Some(502), "an answer that is none"));
    let trouble = Fold::default().whole(json!({"error": {"message": "no such model"}})).expect_err("trouble");
    assert_eq!(trouble.message, "no such model");
}

#[test]
fn a_tool_call_is_put_together_from_its_parts() {
    let part = |part: Value| chunk(json!({"tool_calls": [part]}), None);
    let (_, whole) = fold(&[
        part(
            json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "clock", "arguments": ""}}),
        ),
        part(json!({"index": 0, "function": {"arguments": "{\"zone\":"}})),
        part(json!({"index": 0, "function": {"arguments": "\"UTC\"}"}})),
        chunk(json!({}), Some("tool_calls")),
    ]);
    assert_eq!(whole.tool_calls[0]["function"]["arguments"], "{\"zone\":\"UTC\"}");
}

#[test]
fn every_finish_reason_has_its_meaning() {
    for (reason, finish) in [
        ("stop", Finish::Stop),
        ("length", Finish::Length),
        ("tool_calls", Finish::ToolUse),
        ("content_filter", Finish::Refusal),
        ("boredom", Finish::Stop),
    ] {
        let (_, whole) = fold(&[chunk(json!({"content": "x"}), Some(reason))]);
        assert_eq!(whole.finish, finish, "{reason}");
    }
    let (_, whole) = fold(&[chunk(json!({"refusal": "I'm sorry"}), Some("stop"))]);
    assert_eq!((whole.finish, whole.text.as_str()), (Finish::Refusal, ""));
}

#[test]
fn a_stop_string_is_told_by_servers_that_name_it() {
    let ended_by = |stop: Value| {
        let mut last = chunk(json!({}), Some("stop"));
        last["choices"][0]["stop_reason"] = stop;
        fold(&[chunk(json!({"content": "x"}), None), last]).1.finish
    };
    assert_eq!(ended_by(json!("END")), Finish::StopSequence("END".to_owned()));
    // vLLM puts the number of a token here, which says no more than that it stopped.
    assert_eq!((ended_by(json!(7)), ended_by(Value::Null)), (Finish::Stop, Finish::Stop));
}

#[test]
fn usage_that_nobody_reports_is_estimated_and_said_so() {
    let (_, whole) = fold(&[chunk(json!({"content": "12345"}), Some("stop"))]);
    assert_eq!((whole.usage.input_tokens, whole.usage.output_tokens), (2, 2));
    assert_eq!(whole.warnings.len(), 1);
}

#[test]
fn a_broken_chunk_is_skipped_and_an_error_among_the_chunks_is_one() {
    let mut fold = Fold::default();
    assert_eq!(fold.event(&event("{\"choices\": [{\"del")), Ok(Progress::Nothing));
    let trouble = json!({"error": {"message": "slot is gone", "code": 503}});
    let complaint = fold.event(&event(trouble)).expect_err("trouble");
    assert_eq!((complaint.status, complaint.message.as_str()), (Some(503), "slot is gone"));
}

#[test]
fn every_server_complains_in_its_own_way() {
    let meaning = |body: Value| <Fold as Folding>::complaint(400, &body.to_string()).meaning;
    let too_long = |needed, limit| Some(Meaning::TooLong { needed, limit });
    let llama = json!({"error": {"code": 400, "type": "exceed_context_size_error", "message": "too big",
                                 "n_prompt_tokens": 5000, "n_ctx": 4096}});
    assert_eq!(meaning(llama), too_long(5000, 4096));
    let message = "This model's maximum context length is 4097 tokens. However, you requested 5000 tokens";
    let openai = json!({"error": {"code": "context_length_exceeded", "message": message}});
    assert_eq!(meaning(openai), too_long(5000, 4097));
    let vllm = json!({"object": "error", "message": message, "type": "BadRequestError", "code": 400});
    assert_eq!(meaning(vllm), too_long(5000, 4097));
    let filtered = json!({"error": {"code": "content_filter", "message": "no"}});
    assert_eq!(meaning(filtered), Some(Meaning::Filtered));
    let engine = json!({"error": {"type": "server_error", "code": "engine_failed", "message": "no"}});
    assert_eq!(meaning(engine), Some(Meaning::Engine));
    let ollama = <Fold as Folding>::complaint(404, "{\"error\": \"model not found\"}");
    assert_eq!((ollama.message.as_str(), ollama.meaning), ("model not found", None));
    for strange in ["{\"detail\":\"no route\"}", "42", "[]", "null", "nothing", ""] {
        let complaint = <Fold as Folding>::complaint(404, strange);
        assert_eq!((complaint.status, complaint.message.as_str()), (Some(404), strange));
    }
}
