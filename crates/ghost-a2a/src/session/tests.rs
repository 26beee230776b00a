use futures_util::stream;
use serde_json::json;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

/// Echoes, waits, panics, streams, and calls back.
#[derive(Default)]
struct Server {
    release: Notify,
    begun: Notify,
}

#[async_trait]
impl Handler for Server {
    async fn call(&self, peer: &Peer, method: &str, params: Map<String, Value>) -> Result<Reply, RpcError> {
        match method {
            "echo" => Ok(Reply::Value(Value::Object(params))),
            "wait" => {
                self.begun.notify_one();
                self.release.notified().await;
                Ok(Reply::Value(json!("released")))
            }
            "panic" => panic!("on purpose"),
            "large" => Ok(Reply::Value(json!("x".repeat(MAX_FRAME_BYTES)))),
            "count" => {
                let to = params.get("to").and_then(Value::as_u64).unwrap_or(u64::MAX);
                Ok(Reply::Stream(stream::iter((1..=to).map(part).map(Ok)).boxed()))
            }
            "back" => {
                let answer = peer.call("echo", params).await;
                answer.map(Reply::Value).map_err(|error| RpcError::new(INTERNAL, error.to_string()))
            }
            other => Err(RpcError::unknown_method(other)),
        }
    }
}

fn part(seq: u64) -> Part {
    Part { value: json!(seq), position: Position { stream: "numbers".to_owned(), epoch: 1, seq } }
}

fn params(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

async fn socket(stream: DuplexStream, role: Role) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(stream, role, Some(websocket_config())).await
}

struct Pair {
    server: Arc<Server>,
    peer: Peer,
    ours: JoinHandle<Ended>,
    theirs: JoinHandle<Ended>,
}

/// Two sessions that talk to each other over a pipe; the client answers too.
async fn pair(config: Config) -> Pair {
    let (near, far) = duplex(64 << 10);
    let server = Arc::new(Server::default());
    let far = Session::new(socket(far, Role::Server).await, server.clone(), config);
    let near = Session::new(socket(near, Role::Client).await, Arc::new(Server::default()), Config::default());
    let peer = near.peer();
    Pair { server, peer, ours: tokio::spawn(near.run()), theirs: tokio::spawn(far.run()) }
}

/// A session, and the bare socket of a peer that does as it likes.
async fn bare(
    config: Config,
    pipe: usize,
) -> (WebSocketStream<DuplexStream>, Arc<Server>, JoinHandle<Ended>) {
    let (near, far) = duplex(pipe);
    let server = Arc::new(Server::default());
    let far = Session::new(socket(far, Role::Server).await, server.clone(), config);
    (socket(near, Role::Client).await, server, tokio::spawn(far.run()))
}

async fn next(socket: &mut WebSocketStream<DuplexStream>) -> Value {
    loop {
        match socket.next().await.expect("an open connection").expect("a message") {
            Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("no answer: {other:?}"),
        }
    }
}

async fn send(socket: &mut WebSocketStream<DuplexStream>, frame: Value) {
    socket.send(Message::text(frame.to_string())).await.expect("an open connection");
}

fn call(id: u64, method: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method})
}

#[tokio::test(start_paused = true)]
async fn both_sides_call_and_answer() {
    let Pair { peer, .. } = pair(Config::default()).await;
    let said = params(json!({"said": "hello"}));
    assert_eq!(peer.call("echo", said.clone()).await, Ok(Value::Object(said.clone())));
    assert_eq!(peer.call("back", said.clone()).await, Ok(Value::Object(said)));
    let unknown = peer.call("no.such.method", Map::new()).await;
    assert_eq!(unknown, Err(CallError::Refused(RpcError::unknown_method("no.such.method"))));
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_an_answer_too_large_are_errors_of_one_call_only() {
    let Pair { peer, .. } = pair(Config::default()).await;
    for method in ["panic", "large"] {
        let Err(CallError::Refused(error)) = peer.call(method, Map::new()).await else { panic!("{method}") };
        assert_eq!(error.code, INTERNAL);
    }
    let huge = params(json!({"x": "x".repeat(MAX_FRAME_BYTES)}));
    assert!(matches!(peer.call("echo", huge).await, Err(CallError::TooLarge(_))));
    assert_eq!(peer.call("echo", Map::new()).await, Ok(json!({})));
}

#[tokio::test(start_paused = true)]
async fn a_stream_comes_in_order_and_ends() {
    let Pair { peer, .. } = pair(Config::default()).await;
    let mut parts = peer.listen("count", params(json!({"to": 100}))).await.expect("a stream");
    for n in 1..=100 {
        assert_eq!(parts.next().await, Some(Ok(part(n))));
    }
    assert_eq!(parts.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn who_listens_too_slowly_is_told_that_some_is_missing() {
    let Pair { peer, .. } = pair(Config::default()).await;
    let mut parts = peer.listen("count", Map::new()).await.expect("a stream without end");
    // The clock stands still for as long as anything moves: until the stream was cut off.
    sleep(Duration::from_secs(1)).await;
    peer.call("echo", Map::new()).await.expect("the connection lives on");
    let mut last = 0;
    let error = loop {
        match parts.next().await {
            Some(Ok(part)) => {
                assert_eq!(part.position.seq, last + 1);
                last += 1;
            }
            Some(Err(error)) => break error,
            None => panic!("it ended without a word"),
        }
    };
    assert_eq!(error.code, GAP);
    assert_eq!(parts.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_listens_to_is_cancelled() {
    let (mut socket, _, _session) = bare(Config::default(), 1 << 16).await;
    send(&mut socket, call(1, "count")).await;
    assert_eq!(next(&mut socket).await["meta"]["seq"], 1);
    send(&mut socket, json!({"jsonrpc": "2.0", "id": 1, "cancelStream": true})).await;
    loop {
        let part = next(&mut socket).await;
        if part["streamEnd"] == true {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_limit_are_refused_and_the_others_go_on() {
    let config = Config { in_flight: 2, ..Config::default() };
    let (mut socket, server, _session) = bare(config, 1 << 16).await;
    for id in 1..=2 {
        send(&mut socket, call(id, "wait")).await;
        server.begun.notified().await;
    }
    for id in 3..=50 {
        send(&mut socket, call(id, "wait")).await;
        let refused = next(&mut socket).await;
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(id), &json!(BACKPRESSURE)));
        assert_eq!(refused["error"]["data"]["retryAfterMs"], 100);
    }
    server.release.notify_waiters();
    let mut done = vec![next(&mut socket).await["id"].clone(), next(&mut socket).await["id"].clone()];
    done.sort_by_key(Value::as_u64);
    assert_eq!(done, [json!(1), json!(2)]);
    send(&mut socket, call(51, "echo")).await;
    assert_eq!(next(&mut socket).await["result"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_slow_reader_stays_within_the_outbox() {
    let config = Config { outbox: 64 << 10, ..Config::default() };
    let (near, far) = duplex(4 << 10);
    let far = Session::new(socket(far, Role::Server).await, Arc::new(Server::default()), config);
    let room = far.peer().inner.room.clone();
    let session = tokio::spawn(far.run());
    let mut socket = socket(near, Role::Client).await;
    // It asks and asks, and reads nothing.
    let ask = async {
        for id in 1.. {
            let text =
                json!({"jsonrpc": "2.0", "id": id, "method": "echo", "params": {"x": "x".repeat(1000)}});
            if socket.send(Message::text(text.to_string())).await.is_err() {
                return;
            }
        }
    };
    let (ended, ()) = tokio::join!(session, ask);
    assert_eq!(ended.expect("no panic"), Ended::Silent(Duration::from_secs(25)));
    assert!(room.available_permits() <= 64 << 10);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_is_dead_after_25_seconds_and_one_that_only_pongs_is_not() {
    let Pair { peer, ours, .. } = pair(Config::default()).await;
    sleep(Duration::from_secs(120)).await;
    assert_eq!(peer.call("echo", Map::new()).await, Ok(json!({})));
    assert!(!ours.is_finished());

    let began = Instant::now();
    let (_socket, _, session) = bare(Config::default(), 1 << 16).await;
    assert_eq!(session.await.expect("no panic"), Ended::Silent(Duration::from_secs(25)));
    assert!(began.elapsed() >= Duration::from_secs(25) && began.elapsed() < Duration::from_secs(27));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_too_large_or_binary_ends_the_connection_with_its_reason() {
    let closed = async |message: Message| {
        let (mut socket, _, session) = bare(Config::default(), 2 * MAX_FRAME_BYTES).await;
        socket.send(message).await.expect("an open connection");
        let ended = session.await.expect("no panic");
        match socket.next().await {
            Some(Ok(Message::Close(Some(frame)))) => (ended, frame.code),
            other => panic!("no farewell: {other:?}"),
        }
    };
    let large = closed(Message::text("x".repeat(MAX_FRAME_BYTES + 1))).await;
    assert_eq!(large, (Ended::TooLarge(MAX_FRAME_BYTES + 1), CloseCode::Size));
    assert_eq!(closed(Message::binary(vec![1, 2, 3])).await, (Ended::Binary, CloseCode::Unsupported));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_frame_is_answered_and_the_connection_lives_on() {
    let (mut socket, _, _session) = bare(Config::default(), 1 << 16).await;
    socket.send(Message::text("{oops")).await.expect("an open connection");
    let refused = next(&mut socket).await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&Value::Null, &json!(-32700)));
    send(&mut socket, json!({"jsonrpc": "2.0", "id": 9, "method": 5})).await;
    let refused = next(&mut socket).await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(9), &json!(-32600)));
    send(&mut socket, call(10, "echo")).await;
    assert_eq!(next(&mut socket).await["id"], 10);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_waited_for_longer_than_its_sender_waits() {
    let (mut socket, _, _session) = bare(Config::default(), 1 << 16).await;
    let began = Instant::now();
    let meta = json!({"jsonrpc": "2.0", "id": 1, "method": "wait", "meta": {"deadlineMs": 1500}});
    send(&mut socket, meta).await;
    assert_eq!(next(&mut socket).await["error"]["code"], DEADLINE);
    assert_eq!(began.elapsed(), Duration::from_millis(1500));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_answer_hears_that_the_connection_went() {
    let Pair { server, peer, theirs, ours } = pair(Config::default()).await;
    let caller = peer.clone();
    let waiting = tokio::spawn(async move { caller.call("wait", Map::new()).await });
    server.begun.notified().await;
    theirs.abort();
    assert_eq!(waiting.await.expect("no panic"), Err(CallError::Gone));
    ours.await.expect("no panic");
    assert_eq!(peer.call("echo", Map::new()).await, Err(CallError::Gone));
    assert!(peer.inner.waiting().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_closes_says_so_and_what_was_under_way_is_cut_off_after_its_grace() {
    let (mut socket, server, session) = bare(Config::default(), 1 << 16).await;
    send(&mut socket, call(1, "wait")).await;
    server.begun.notified().await;
    drop(socket);
    let began = Instant::now();
    session.await.expect("no panic");
    assert_eq!(began.elapsed(), Config::default().grace);
}

#[tokio::test(start_paused = true)]
async fn who_closes_in_good_order_still_answers_what_was_asked() {
    let (near, far) = duplex(1 << 16);
    let server = Arc::new(Server::default());
    let far = Session::new(socket(far, Role::Server).await, server.clone(), Config::default());
    let peer = far.peer();
    let session = tokio::spawn(far.run());
    let mut near = socket(near, Role::Client).await;
    send(&mut near, call(1, "wait")).await;
    server.begun.notified().await;
    peer.close();
    sleep(Duration::from_secs(1)).await;
    server.release.notify_waiters();
    assert_eq!(next(&mut near).await["result"], "released");
    assert_eq!(session.await.expect("no panic"), Ended::Closed);
}
