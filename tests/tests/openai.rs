//! Our backend for OpenAI-compatible endpoints against a server that plays one, faults and all.

use std::time::Duration;

use ghost_core::inference::openai_compatible::{Config, OpenAiCompatible};
use ghost_core::inference::{Backend, Error, Finish, Provider, Request, Shape, Usage};
use ghost_core::retry::Retry;
use ghost_tests::faults::{self, IMPATIENCE, ask};
use ghost_tests::openai_server::OpenAiServer;
use ghost_tests::scripted_server::{Failure, Fault, KEY, Reply};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

fn endpoint(server: &OpenAiServer, provider: Provider, change: impl FnOnce(&mut Config)) -> OpenAiCompatible {
    let mut config = Config {
        api_key: Some(KEY.to_owned()),
        first_token_timeout: Duration::from_secs(120),
        next_token_timeout: Duration::from_secs(120),
        ..Config::new(provider, &server.url, "phi-4-mini")
    };
    change(&mut config);
    OpenAiCompatible::build(config).expect("a good configuration")
}

#[tokio::test]
async fn survives_every_fault_of_a_network_and_does_so_again() {
    let server = OpenAiServer::start().await;
    let patient = endpoint(&server, Provider::Llm, |_| {});
    let impatient = endpoint(&server, Provider::Llm, |config| {
        config.first_token_timeout = IMPATIENCE;
        config.next_token_timeout = IMPATIENCE;
    });
    for _ in 0..2 {
        faults::suite(&server, &patient, &impatient).await;
    }
}

#[tokio::test]
async fn an_answer_is_the_same_streamed_and_in_one_piece() {
    let server = OpenAiServer::start().await;
    let usage = Usage { input_tokens: 11, output_tokens: 22, cache_read_tokens: 33, ..Usage::default() };
    server.otherwise(Reply {
        thinking: Some("two and two".to_owned()),
        tool: Some(("clock".to_owned(), json!({"zone": "UTC"}))),
        usage: Some(usage),
        ..Reply::text("four, I think")
    });
    let backend = |streaming| endpoint(&server, Provider::Slm, |config| config.streaming = streaming);
    let (heard, streamed) = ask(&backend(true), Request::new("add")).await;
    let (heard_whole, whole) = ask(&backend(false), Request::new("add")).await;
    let (streamed, whole) = (streamed.expect("an answer"), whole.expect("an answer"));
    assert_eq!((heard.as_str(), heard_whole.as_str()), ("four, I think", "four, I think"));
    assert_eq!((streamed.usage, streamed.model.as_str()), (usage, "phi-4-mini"));
    assert_eq!(streamed.finish, Finish::ToolUse);
    assert_eq!(streamed.tool_calls[0]["function"]["arguments"], "{\"zone\":\"UTC\"}");
    assert!((streamed.logprobs.iter().sum::<f32>().exp() - 0.125).abs() < 1e-6, "{:?}", streamed.logprobs);
    assert_eq!(streamed.request_id.as_deref(), Some("req_000000"));
    assert_eq!(
        (whole.text, whole.finish, whole.usage, whole.tool_calls, whole.logprobs),
        (streamed.text, streamed.finish, streamed.usage, streamed.tool_calls, streamed.logprobs)
    );
}

#[tokio::test]
async fn a_local_endpoint_needs_no_key_and_a_wrong_one_is_said_so() {
    let server = OpenAiServer::start().await;
    let keyless = endpoint(&server, Provider::Slm, |config| config.api_key = None);
    keyless.generate(Request::new("hello"), None).await.expect("an answer");
    assert!(!server.journal()[0].headers.contains_key("authorization"));
    let stranger =
        endpoint(&server, Provider::Llm, |config| config.api_key = Some("sk-of-nobody".to_owned()));
    let error = faults::error(&stranger).await;
    assert!(matches!(error, Error::Authentication { .. }), "{error}");
    assert_eq!((keyless.provider(), keyless.model()), (Provider::Slm, "phi-4-mini"));
}

#[tokio::test]
async fn a_server_that_ends_each_connection_after_one_answer_without_saying_so_loses_no_request() {
    const BODY: &str = r#"{"choices": [{"message": {"content": "four"}, "finish_reason": "stop"}]}"#;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let (mut line, mut length) = (String::new(), 0);
                while stream.read_line(&mut line).await.is_ok_and(|read| read > 2) {
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a length");
                    }
                    line.clear();
                }
                stream.read_exact(&mut vec![0; length]).await.expect("the body of a request");
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
                let reply = format!("{head}\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
                stream.write_all(reply.as_bytes()).await.expect("a client that listens");
                // The next request on this connection, or its end.
                let _ = stream.read_u8().await;
            });
        }
    });
    let config = Config { streaming: false, ..Config::new(Provider::Slm, &url, "phi-4-mini") };
    let backend = OpenAiCompatible::build(config).expect("a good configuration");
    for _ in 0..3 {
        let answer = backend.generate(Request::new("add"), None).await.expect("an answer");
        assert_eq!(answer.text, "four");
    }
}

#[tokio::test]
async fn a_schema_goes_out_as_a_response_format_and_a_choice_in_words() {
    let server = OpenAiServer::start().await;
    let backend = endpoint(&server, Provider::Llm, |_| {});
    let schema = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let choice = Shape::Choice(vec!["red".to_owned(), "blue".to_owned()]);
    for shape in [Shape::Json(schema.clone()), choice] {
        backend.generate(Request { shape, ..Request::new("hello") }, None).await.expect("an answer");
    }
    let journal = server.journal();
    assert_eq!(journal[0].body["response_format"]["json_schema"]["schema"], schema);
    assert_eq!(journal[1].body["messages"][0]["role"], "system");
}

#[tokio::test]
async fn a_prompt_that_is_too_long_and_one_that_is_filtered_are_told_apart() {
    let server = OpenAiServer::start().await;
    let backend = endpoint(&server, Provider::Llm, |_| {});
    let message = "This model's maximum context length is 4097 tokens. However, you requested 5000 tokens";
    server.then(Fault::Status(Failure::new(400, "context_length_exceeded", message)));
    let error = faults::error(&backend).await;
    assert!(matches!(error, Error::ContextTooLong { needed: 5000, limit: 4097 }), "{error}");
    server.then(Fault::Status(Failure::new(400, "content_filter", "the filter says no")));
    let error = faults::error(&backend).await;
    assert!(matches!(error, Error::ContentFilter { .. }), "{error}");
    assert_eq!(error.retry(), Retry::Never);
    server.then(Reply { stop: Some("content_filter".to_owned()), ..Reply::text("I") });
    let stopped = backend.generate(Request::new("hello"), None).await.expect("an answer");
    assert_eq!(stopped.finish, Finish::Refusal);
}

#[tokio::test]
async fn trouble_in_the_middle_of_a_stream_is_an_error() {
    let server = OpenAiServer::start().await;
    let backend = endpoint(&server, Provider::Llm, |_| {});
    server.then(Fault::TroubleAfter(2, Failure::new(200, "server_error", "the slot is gone")));
    let (heard, result) = ask(&backend, Request::new("hello")).await;
    let error = result.expect_err("trouble");
    assert_eq!((error.code(), error.retry(), heard.as_str()), ("server_error", Retry::Now, "one two "));
}
