//! The scripted Claude server satisfies the official Python clients: what it plays is the API, and not our idea of it.
//!
//! The clients live in virtual environments under `target/python`, made once for each list of pinned packages.

use std::path::{Path, PathBuf};

use ghost_core::inference::Usage;
use ghost_tests::claude_server::ClaudeServer;
use ghost_tests::python;
use ghost_tests::scripted_server::{Call, Failure, Fault, KEY, Reply};
use serde_json::json;
use tokio::process::Command;

#[tokio::test]
async fn the_clients_of_the_newer_generation_are_satisfied() {
    for call in satisfies(2).await {
        assert_eq!(call.headers["anthropic-version"], "2026-10-21");
        assert!(call.headers["authorization"].starts_with("Bearer "), "{call:?}");
    }
}

#[tokio::test]
async fn the_clients_of_the_older_generation_are_satisfied() {
    for call in satisfies(0).await {
        assert_eq!(call.headers["anthropic-version"], "2023-06-01");
        assert!(call.headers.contains_key("x-api-key"), "{call:?}");
    }
}

/// Runs the script with the client of this generation; what the server was asked.
async fn satisfies(generation: u32) -> Vec<Call> {
    let list = here("python").join(format!("requirements-{generation}.txt"));
    let python = python::environment(&format!("anthropic-{generation}"), &list).await;
    let server = ClaudeServer::start().await;
    let usage = Usage {
        input_tokens: 11,
        output_tokens: 22,
        cache_read_tokens: 33,
        cache_write_5m_tokens: 44,
        cache_write_1h_tokens: 55,
    };
    server.when(
        "think",
        Reply {
            thinking: Some("two and two".to_owned()),
            usage: Some(usage),
            ..Reply::text("four, I think")
        },
    );
    let tool = Some(("clock".to_owned(), json!({"zone": "UTC"})));
    server.when("use a tool", Reply { tool, ..Reply::text("let me see") });
    server.when("refuse", Reply { stop: Some("refusal".to_owned()), ..Reply::text("I") });
    let failure = |status, kind| Failure::new(status, kind, "the script says so");
    server.when("rate limit", Fault::Status(failure(429, "rate_limit_error").header("retry-after", "1")));
    server.when("server error", Fault::Status(failure(500, "api_error")));
    server.when("overload", Fault::Status(failure(529, "overloaded_error")));
    server.when("too long", Fault::Status(failure(400, "invalid_request_error")));
    server.when("reset", Fault::ResetBeforeHeaders);
    server.when("trouble", Fault::TroubleAfter(2, failure(200, "overloaded_error")));
    server.when_first(
        "once more",
        Fault::Status(failure(529, "overloaded_error").header("retry-after-ms", "10")),
    );
    server.when("once more", "at last");

    let output = Command::new(python)
        .arg(here("python/anthropic_clients.py"))
        .args([&server.url, KEY])
        .kill_on_drop(true)
        .output()
        .await
        .expect("the environment has a Python");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "client {generation}.x: after\n{said}\n{complained}");
    assert!(said.contains("another try after a hint"), "{said}");
    server.journal()
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
