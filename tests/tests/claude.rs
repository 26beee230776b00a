//! Our Claude backend against a server that plays the Messages API, faults and all.

use std::time::Duration;

use ghost_core::inference::claude::{Claude, Config};
use ghost_core::inference::pricing::Pricing;
use ghost_core::inference::{Backend, Error, Finish, Request, Sampling, Shape, Usage};
use ghost_core::retry::Retry;
use ghost_tests::claude_server::ClaudeServer;
use ghost_tests::faults::{self, IMPATIENCE, ask};
use ghost_tests::scripted_server::{Failure, Fault, KEY, Reply};
use serde_json::json;

fn claude(server: &ClaudeServer, change: impl FnOnce(&mut Config)) -> Claude {
    let mut config = Config {
        api_key: KEY.to_owned(),
        base_url: server.url.clone(),
        first_token_timeout: Duration::from_secs(120),
        next_token_timeout: Duration::from_secs(120),
        ..Config::default()
    };
    change(&mut config);
    Claude::build(config).expect("a good configuration")
}

#[tokio::test]
async fn survives_every_fault_of_a_network_and_does_so_again() {
    let server = ClaudeServer::start().await;
    let patient = claude(&server, |_| {});
    let impatient = claude(&server, |config| {
        config.first_token_timeout = IMPATIENCE;
        config.next_token_timeout = IMPATIENCE;
    });
    for _ in 0..2 {
        faults::suite(&server, &patient, &impatient).await;
    }
}

#[tokio::test]
async fn an_answer_is_the_same_streamed_and_in_one_piece() {
    let server = ClaudeServer::start().await;
    let usage = Usage {
        input_tokens: 11,
        output_tokens: 22,
        cache_read_tokens: 33,
        cache_write_5m_tokens: 44,
        cache_write_1h_tokens: 55,
    };
    let reply = Reply {
        thinking: Some("two and two".to_owned()),
        tool: Some(("clock".to_owned(), json!({"zone": "UTC"}))),
        usage: Some(usage),
        ..Reply::text("four, I think")
    };
    server.otherwise(reply);
    let (heard, streamed) = ask(&claude(&server, |_| {}), Request::new("add")).await;
    let streamed = streamed.expect("an answer");
    let (heard_whole, whole) =
        ask(&claude(&server, |config| config.streaming = false), Request::new("add")).await;
    let whole = whole.expect("an answer");

    assert_eq!((heard.as_str(), heard_whole.as_str()), ("four, I think", "four, I think"));
    assert_eq!((streamed.text.as_str(), &streamed.finish), ("four, I think", &Finish::ToolUse));
    assert_eq!((streamed.usage, streamed.model.as_str()), (usage, "claude-sonnet-5-5"));
    assert_eq!(streamed.tool_calls[0]["input"], json!({"zone": "UTC"}));
    assert_eq!(streamed.request_id.as_deref(), Some("req_000000"));
    assert_eq!(whole.request_id.as_deref(), Some("req_000001"));
    assert_eq!(
        (whole.text, whole.finish, whole.usage, whole.tool_calls),
        (streamed.text, streamed.finish, streamed.usage, streamed.tool_calls)
    );
    assert_eq!(Pricing::builtin().cost_micro_usd("claude-sonnet-5-5", &usage), Some(579));
    let journal = server.journal();
    assert!(journal[0].streams() && !journal[1].streams());
}

#[tokio::test]
async fn the_key_goes_out_as_the_version_wants_it() {
    let server = ClaudeServer::start().await;
    for (version, header, value) in [
        ("2026-10-21", "authorization", format!("Bearer {KEY}")),
        ("2023-06-01", "x-api-key", KEY.to_owned()),
    ] {
        let backend = claude(&server, |config| config.version = version.to_owned());
        backend.generate(Request::new("hello"), None).await.expect("an answer");
        let call = server.journal().pop().expect("a call");
        assert_eq!(
            (&call.headers["anthropic-version"], &call.headers[header]),
            (&version.to_owned(), &value)
        );
    }
    let stranger = claude(&server, |config| config.api_key = "sk-of-nobody".to_owned());
    let error = stranger.generate(Request::new("hello"), None).await.expect_err("a wrong key");
    assert!(matches!(error, Error::Authentication { .. }), "{error}");
    assert!(!error.to_string().contains("sk-of-nobody"));
}

#[tokio::test]
async fn a_strict_server_takes_every_request_that_we_can_make() {
    let server = ClaudeServer::start().await;
    let schema = json!({
        "type": "object",
        "properties": {"name": {"type": "string", "minLength": 1}, "tags": {"type": ["array", "null"], "items": {"type": "string"}},
                       "inner": {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}}},
        "required": ["name"]
    });
    let free = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let spans = Shape::JsonOfSpans { schema: schema.clone(), source: "text".to_owned() };
    let shapes = [
        Shape::Text,
        Shape::Line,
        Shape::Json(schema),
        Shape::Json(free),
        Shape::Json(json!(true)),
        Shape::Choice(vec!["red".to_owned(), "blue".to_owned()]),
        Shape::Span("text".to_owned()),
        spans,
        Shape::Grammar("root ::= \"yes\" | \"no\"".to_owned()),
    ];
    let backend = claude(&server, |_| {});
    for model in ["claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-4-5", "claude-sonnet-4-5-20250929"] {
        for shape in &shapes {
            let request = Request {
                system: Some("be kind".to_owned()),
                model: Some(model.to_owned()),
                sampling: Sampling { temperature: Some(1.5), ..Sampling::default() },
                stop: vec!["END".to_owned(), "\n".to_owned()],
                shape: shape.clone(),
                tools: Some(json!([{"name": "clock", "input_schema": {"type": "object", "properties": {}}}])),
                ..Request::new("hello")
            };
            let completion =
                backend.generate(request, None).await.unwrap_or_else(|e| panic!("{shape:?}: {e}"));
            assert_eq!(completion.model, model);
            assert_eq!(
                completion.warnings.len(),
                2,
                "temperature and a stop string: {:?}",
                completion.warnings
            );
        }
    }
}

#[tokio::test]
async fn a_prompt_that_is_too_long_says_by_how_much() {
    let server = ClaudeServer::start().await;
    let message = "prompt is too long: 208310 tokens > 200000 maximum";
    server.then(Fault::Status(Failure::new(400, "invalid_request_error", message)));
    let error = faults::error(&claude(&server, |_| {})).await;
    assert!(matches!(error, Error::ContextTooLong { needed: 208_310, limit: 200_000 }), "{error}");
    assert_eq!(error.retry(), Retry::Never);
}

#[tokio::test]
async fn a_filter_is_an_error_and_a_refusal_an_answer_that_was_paid_for() {
    let server = ClaudeServer::start().await;
    let backend = claude(&server, |_| {});
    let message = "Output blocked by content filtering policy";
    server.then(Fault::Status(Failure::new(400, "invalid_request_error", message)));
    let error = faults::error(&backend).await;
    assert!(matches!(error, Error::ContentFilter { .. }), "{error}");
    assert_eq!(error.retry(), Retry::Never);

    server.then(Reply { stop: Some("refusal".to_owned()), ..Reply::text("I") });
    let refusal = backend.generate(Request::new("hello"), None).await.expect("an answer");
    assert_eq!((refusal.finish, refusal.usage.output_tokens), (Finish::Refusal, 1));
    assert!(refusal.warnings[0].contains("it is a script"), "{:?}", refusal.warnings);
}

#[tokio::test]
async fn trouble_in_the_middle_of_a_stream_says_whether_to_ask_again() {
    let server = ClaudeServer::start().await;
    let backend = claude(&server, |_| {});
    for (kind, code, retry) in [
        ("overloaded_error", "overloaded", Retry::Now),
        ("api_error", "server_error", Retry::Now),
        ("invalid_request_error", "invalid_request", Retry::Never),
    ] {
        server.then(Fault::TroubleAfter(2, Failure::new(200, kind, "the script says so")));
        let (heard, result) = ask(&backend, Request::new("hello")).await;
        let error = result.expect_err("trouble");
        assert_eq!((error.code(), error.retry(), heard.as_str()), (code, retry, "one two "), "{kind}");
    }
}

#[tokio::test]
async fn an_answer_in_one_piece_meets_its_own_faults() {
    let server = ClaudeServer::start().await;
    let backend = claude(&server, |config| config.streaming = false);
    for fault in [Fault::CutAfter(3), Fault::MalformedChunk, Fault::ResetBeforeHeaders] {
        server.then(fault.clone());
        let error = faults::error(&backend).await;
        assert_eq!((error.code(), error.retry()), ("connection_failed", Retry::Now), "{fault:?}");
    }
    for fault in [Fault::Silence, Fault::StallAfter(3)] {
        server.then(fault.clone());
        let hurried = Request { timeout: IMPATIENCE, ..Request::new("hello") };
        let error = backend.generate(hurried, None).await.expect_err("no answer in time");
        assert!(matches!(error, Error::Timeout { waited: IMPATIENCE, .. }), "{fault:?}: {error}");
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_a_failed_connection() {
    let server = ClaudeServer::start().await;
    let backend = claude(&server, |config| config.base_url = "http://127.0.0.1:1".to_owned());
    let error = faults::error(&backend).await;
    assert_eq!((error.code(), error.retry()), ("connection_failed", Retry::Now), "{error}");
    assert!(error.to_string().starts_with("the connection to claude failed"), "{error}");
}
