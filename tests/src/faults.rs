//! What every remote backend must make of every fault, over real sockets: one suite for all dialects.

use std::time::{Duration, Instant};

use ghost_core::inference::{Backend, Completion, Error, Finish, Request};
use ghost_core::retry::Retry;
use tokio::sync::mpsc;

use crate::scripted_server::{Dialect, Failure, Fault, Reply, Server};

/// An impatient backend waits no longer than this for a token.
pub const IMPATIENCE: Duration = Duration::from_millis(100);

/// Sixty tokens.
fn sixty() -> String {
    (1..=60).map(|n| n.to_string()).collect::<Vec<_>>().join(" ")
}

/// Asks a backend; what it streamed, and what it said in the end.
pub async fn ask(backend: &dyn Backend, request: Request) -> (String, Result<Completion, Error>) {
    let (deltas, mut heard) = mpsc::channel::<String>(4);
    let listen = async {
        let mut text = String::new();
        while let Some(delta) = heard.recv().await {
            text.push_str(&delta);
        }
        text
    };
    let (heard, result) = tokio::join!(listen, backend.generate(request, Some(deltas)));
    (heard, result)
}

/// Asks a backend that must fail.
pub async fn error(backend: &dyn Backend) -> Error {
    let (_, result) = ask(backend, Request::new("hello")).await;
    result.expect_err("this must fail")
}

/// Runs every fault that all dialects share against a streaming backend: `patient` waits for minutes, `impatient` for
/// [`IMPATIENCE`]. Panics with the fault that it does not survive.
pub async fn suite<D: Dialect>(server: &Server<D>, patient: &dyn Backend, impatient: &dyn Backend) {
    statuses(server, patient).await;
    silences(server, patient, impatient).await;
    breaks(server, patient).await;
    blemishes(server, patient).await;
    withdrawals(server, patient).await;
}

async fn statuses<D: Dialect>(server: &Server<D>, patient: &dyn Backend) {
    let plain = |status| Failure::new(status, "some_error", "the script says so");
    for (failure, code, retry) in [
        (plain(429).header("retry-after", "7"), "overloaded", Retry::After(Duration::from_secs(7))),
        (plain(429).header("retry-after-ms", "250"), "overloaded", Retry::After(Duration::from_millis(250))),
        (plain(429), "overloaded", Retry::Now),
        (plain(429).header("x-should-retry", "false"), "unavailable", Retry::Never),
        (plain(529), "overloaded", Retry::Now),
        (plain(500), "server_error", Retry::Now),
        (plain(503), "server_error", Retry::Now),
        (plain(503).header("retry-after", "0.5"), "overloaded", Retry::After(Duration::from_millis(500))),
        (plain(400), "invalid_request", Retry::Never),
        (plain(401), "authentication_failed", Retry::Never),
        (plain(402), "unavailable", Retry::Never),
        (plain(404), "invalid_request", Retry::Never),
        (plain(413), "context_too_long", Retry::Never),
        (plain(307).header("location", "http://127.0.0.1:1/"), "unavailable", Retry::Never),
    ] {
        server.then(Fault::Status(failure.clone()));
        let error = error(patient).await;
        assert_eq!((error.code(), error.retry()), (code, retry), "{failure:?}");
    }
}

async fn silences<D: Dialect>(server: &Server<D>, patient: &dyn Backend, impatient: &dyn Backend) {
    for fault in [Fault::Silence, Fault::LateFirstToken(Duration::from_secs(60)), Fault::StallAfter(3)] {
        server.then(fault.clone());
        let begun = Instant::now();
        let error = error(impatient).await;
        assert!(matches!(error, Error::Timeout { waited: IMPATIENCE, .. }), "{fault:?}: {error}");
        assert!(begun.elapsed() < Duration::from_secs(15), "{fault:?}: gave up after {:?}", begun.elapsed());
    }
    server.then(Fault::LateFirstToken(IMPATIENCE));
    let (_, result) = ask(patient, Request::new("hello")).await;
    assert_eq!(result.expect("patience is rewarded").text, "one two three four five six");

    server.then(Fault::Silence);
    let hurried = Request { timeout: IMPATIENCE, ..Request::new("hello") };
    let (_, result) = ask(patient, hurried).await;
    assert!(matches!(result, Err(Error::Timeout { waited: IMPATIENCE, .. })), "{result:?}");
}

async fn breaks<D: Dialect>(server: &Server<D>, patient: &dyn Backend) {
    let asked = server.journal().len();
    server.then(Fault::ResetBeforeHeaders);
    let reset = error(patient).await;
    assert_eq!((reset.code(), reset.retry()), ("connection_failed", Retry::Now), "{reset}");

    server.then(Reply::text(sixty()).with(Fault::CutAfter(40)));
    let (heard, result) = ask(patient, Request::new("hello")).await;
    let cut = result.expect_err("an answer that is cut is none");
    assert_eq!((cut.code(), cut.retry()), ("connection_failed", Retry::Now), "{cut}");
    assert_eq!(heard.split_whitespace().count(), 40, "what came before the cut was heard");
    assert_eq!(
        server.journal().len(),
        asked + 2,
        "a backend asks once; whether again is for its caller to say"
    );
}

/// Faults that cost nothing.
async fn blemishes<D: Dialect>(server: &Server<D>, patient: &dyn Backend) {
    for fault in [Fault::MalformedChunk, Fault::MissingEnd] {
        server.then(Reply::text(sixty()).with(fault.clone()));
        let (heard, result) = ask(patient, Request::new("one two three")).await;
        let whole = result.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!((heard.as_str(), whole.text.as_str()), (sixty().as_str(), sixty().as_str()), "{fault:?}");
        assert_eq!((whole.usage.input_tokens, whole.usage.output_tokens), (3, 60), "{fault:?}");
        assert_eq!(whole.finish, Finish::Stop, "{fault:?}");
    }
    // Why it stopped is known, then the stream hangs: the answer is whole all the same.
    server.then(Reply::text("all said").with(Fault::StallBeforeEnd));
    let (_, result) = ask(patient, Request::new("hello")).await;
    assert_eq!(result.expect("all is said").text, "all said");
}

async fn withdrawals<D: Dialect>(server: &Server<D>, patient: &dyn Backend) {
    server.then(Fault::Silence);
    let request = Request::new("hello");
    let cancel = request.cancel.clone();
    let asked = server.journal().len();
    let withdraw = async {
        // The call is under way once the server has seen it.
        while server.journal().len() == asked {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let ((_, result), ()) = tokio::join!(ask(patient, request), withdraw);
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");

    // Nobody reads: the backend waits, and can be called off.
    server.then(Reply::text(sixty()));
    let request = Request::new("hello");
    let cancel = request.cancel.clone();
    let (deltas, mut heard) = mpsc::channel::<String>(1);
    let withdraw = async {
        let first = heard.recv().await;
        cancel.cancel();
        first
    };
    let (result, first) = tokio::join!(patient.generate(request, Some(deltas)), withdraw);
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert_eq!(first.as_deref(), Some("1 "));

    // The listener leaves: the answer is whole all the same.
    server.then(Reply::text(sixty()));
    let (deltas, heard) = mpsc::channel::<String>(1);
    drop(heard);
    let whole = patient.generate(Request::new("hello"), Some(deltas)).await.expect("an answer");
    assert_eq!(whole.text, sixty());
}
