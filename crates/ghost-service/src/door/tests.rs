//! Callers of every sort, over real sockets.

use axum::body::Bytes;
use axum::routing::{get, post};
use futures_util::stream;
use ghost_core::config::{Config, Sources};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;

const SOON: Duration = Duration::from_millis(50);
/// Longer than any test waits for what must not happen.
const NEVER: Duration = Duration::from_secs(3600);

fn patient() -> Limits {
    Limits { head: NEVER, body: NEVER, write: NEVER, drain: NEVER, ..Limits::default() }
}

fn address(token: Option<&str>) -> Address {
    let flags = token.map(|token| ("GHOST_API_TOKEN".to_owned(), token.to_owned()));
    let sources = Sources { flags: flags.into_iter().collect(), ..Sources::default() };
    let settings = Config::load(sources).expect("good settings");
    Address {
        host: "127.0.0.1".to_owned(),
        port: 0,
        settings: ["DOOR_HOST", "DOOR_PORT"],
        token: settings.service.api_token,
        allow_anonymous: false,
    }
}

/// A door that is open.
struct Opened {
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Opened {
    async fn with(token: Option<&str>, limits: Limits, guarded: Router) -> Self {
        let door = Door::open(&address(token), limits).await.expect("a free port");
        let (address, shutdown) = (door.address(), CancellationToken::new());
        let open = Router::new().route("/healthz", get(|| async { "alive" }));
        let serving = tokio::spawn(door.serve(guarded, open, shutdown.clone()));
        Self { address, shutdown, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the door listens")
    }

    /// Says this and hears all that comes back.
    async fn say(&self, words: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(words.as_bytes()).await.expect("it is heard");
        all(&mut stream).await
    }

    /// Asks for `/` with these headers; the status and what else came back.
    async fn ask(&self, headers: &[&str]) -> (u16, String) {
        self.ask_for("/", headers).await
    }

    async fn ask_for(&self, path: &str, headers: &[&str]) -> (u16, String) {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let said = self.say(&format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n")).await;
        (status(&said), said)
    }
}

async fn all(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    // A door that cuts a caller off may do so without a word.
    let _ = stream.read_to_end(&mut heard).await;
    String::from_utf8(heard).expect("doors speak UTF-8")
}

fn status(said: &str) -> u16 {
    said.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("no status in {said:?}"))
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" })).route("/", post(|body: Bytes| async move { body }))
}

#[tokio::test]
async fn strangers_are_let_near_only_where_they_are_asked_for_a_token() {
    let everywhere = |address: Address| Address { host: "0.0.0.0".to_owned(), ..address };
    let error = everywhere(address(None)).bind().await.expect_err("anybody could come").to_string();
    assert!(error.contains("GHOST_API_TOKEN") && error.contains("DOOR_HOST=127.0.0.1"), "{error}");
    everywhere(address(Some("s3cret"))).bind().await.expect("it asks for a token");
    let anonymous = Address { allow_anonymous: true, ..address(None) };
    everywhere(anonymous).bind().await.expect("its user says so");
}

#[tokio::test]
async fn a_taken_port_is_told_with_the_settings_that_choose_another() {
    let (_listener, taken) = address(None).bind().await.expect("a free port");
    let error =
        Address { port: taken.port(), ..address(None) }.bind().await.expect_err("it is taken").to_string();
    assert!(error.contains("DOOR_HOST or DOOR_PORT"), "{error}");
}

#[tokio::test]
async fn a_door_with_a_token_asks_everybody_for_it() {
    let door = Opened::with(Some("s3cret"), patient(), hello()).await;
    let ask = async |header| door.ask(&["Host: any.name", header]).await;
    for right in ["Authorization: Bearer s3cret", "authorization: bearer s3cret"] {
        assert_eq!(ask(right).await.0, 200);
    }
    for wrong in [
        "Authorization: Bearer s3cre",
        "Authorization: Basic s3cret",
        "Authorization: s3cret",
        "X-Token: s3cret",
    ] {
        let (status, said) = ask(wrong).await;
        assert_eq!(status, 401, "{wrong}");
        assert!(
            said.contains("www-authenticate: Bearer") && said.contains(r#""code":"unauthorized""#),
            "{said}"
        );
        assert!(said.contains("GHOST_API_TOKEN") && !said.contains("s3cre"), "{said}");
    }
    assert_eq!(door.ask_for("/nowhere", &["Host: any.name"]).await.0, 401, "nobody learns what there is");
    assert_eq!(door.ask_for("/healthz", &["Host: any.name"]).await.0, 200, "some routes are open");
}

#[tokio::test]
async fn a_door_without_a_token_is_not_open_to_pages_in_a_browser() {
    let door = Opened::with(None, patient(), hello()).await;
    for local in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.9.9.9:1", "[::1]:8080", "ghost.localhost"]
    {
        assert_eq!(door.ask(&[&format!("Host: {local}")]).await.0, 200, "{local}");
    }
    for rebound in [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "10.0.0.1",
        "127.0.0.1.evil.example",
        "",
    ] {
        let (status, said) = door.ask(&[&format!("Host: {rebound}")]).await;
        assert_eq!(status, 403, "{rebound:?}");
        assert!(said.contains(r#""code":"forbidden""#), "{said}");
    }
    let host = "Host: localhost:8080";
    for origin in ["http://evil.example", "null", "http://localhost:9090", "file://"] {
        assert_eq!(door.ask(&[host, &format!("Origin: {origin}")]).await.0, 403, "{origin}");
    }
    assert_eq!(door.ask(&[host, "Origin: http://localhost:8080"]).await.0, 200, "our own page");
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_read() {
    let door = Opened::with(None, Limits { body_bytes: 8, ..patient() }, hello()).await;
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let said = door.say(&format!("{post}Content-Length: 8\r\n\r\n12345678")).await;
    assert!(said.ends_with("12345678"), "{said}");
    let said = door.say(&format!("{post}Content-Length: 9\r\n\r\n")).await;
    assert_eq!(status(&said), 413);
    let said =
        door.say(&format!("{post}Transfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n")).await;
    assert_eq!(status(&said), 413);
    let said = door.say(&format!("{post}Transfer-Encoding: chunked\r\n\r\nno chunk\r\n")).await;
    assert_eq!(status(&said), 400);
}

#[tokio::test]
async fn who_dawdles_with_a_request_is_sent_away() {
    let door = Opened::with(None, Limits { head: SOON, body: SOON, ..patient() }, hello()).await;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\n";
    // Neither test ends unless the door closes the connection.
    let said = door.say(head).await;
    assert!(!said.contains("200"), "{said}");
    let said = door.say(&format!("{head}Connection: close\r\nContent-Length: 8\r\n\r\n1234")).await;
    assert_eq!(status(&said), 408);
}

#[tokio::test]
async fn who_does_not_read_is_cut_off() {
    /// Tells when the answer is given up.
    struct Given(Option<oneshot::Sender<()>>);
    impl Drop for Given {
        fn drop(&mut self) {
            // A test that has ended does not listen.
            let _ = self.0.take().map(|given_up| given_up.send(()));
        }
    }
    let (given_up, heard) = oneshot::channel();
    let answers = Arc::new(std::sync::Mutex::new(Some(given_up)));
    let endless = move || {
        let given = Given(answers.lock().expect("nobody panics").take());
        async move {
            Body::from_stream(stream::unfold(given, |given| async {
                Some((Ok::<_, io::Error>(Bytes::from_static(&[b'.'; 65_536])), given))
            }))
        }
    };
    let door =
        Opened::with(None, Limits { write: SOON, ..patient() }, Router::new().route("/", get(endless))).await;
    let mut stream = door.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("it is heard");
    heard.await.expect("the answer is given up");
}

#[tokio::test]
async fn more_requests_than_there_is_room_for_are_told_to_come_again() {
    let (begun, mut begins) = mpsc::channel(1);
    let held = move || {
        let begun = begun.clone();
        async move {
            begun.send(()).await.expect("the test listens");
            std::future::pending::<()>().await;
        }
    };
    let routes = hello().route("/held", get(held));
    let door = Opened::with(None, Limits { requests: 1, ..patient() }, routes).await;
    let mut first = door.connect().await;
    first.write_all(b"GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("it is heard");
    begins.recv().await.expect("it has begun");
    let (status, said) = door.ask(&["Host: localhost"]).await;
    assert_eq!(status, 503);
    assert!(said.contains("retry-after: 1") && said.contains(r#""code":"busy""#), "{said}");
}

#[tokio::test]
async fn a_door_that_closes_lets_nobody_in_and_finishes_what_was_asked() {
    let (begun, mut begins) = mpsc::channel(1);
    let go_on = CancellationToken::new();
    let waits = go_on.clone();
    let held = move || {
        let (begun, waits) = (begun.clone(), waits.clone());
        async move {
            begun.send(()).await.expect("the test listens");
            waits.cancelled().await;
            "done"
        }
    };
    let Opened { address, shutdown, serving } =
        Opened::with(None, patient(), Router::new().route("/", get(held))).await;
    let mut stream = TcpStream::connect(address).await.expect("the door listens");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("it is heard");
    begins.recv().await.expect("it has begun");
    shutdown.cancel();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    go_on.cancel();
    assert!(all(&mut stream).await.ends_with("done"));
    serving.await.expect("it has ended");
}

#[tokio::test]
async fn a_door_that_closes_does_not_wait_for_ever() {
    let (begun, mut begins) = mpsc::channel(1);
    let endless = move || {
        let begun = begun.clone();
        async move {
            begun.send(()).await.expect("the test listens");
            std::future::pending::<()>().await;
        }
    };
    let door =
        Opened::with(None, Limits { drain: SOON, ..patient() }, Router::new().route("/", get(endless))).await;
    let mut stream = door.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("it is heard");
    begins.recv().await.expect("it has begun");
    door.shutdown.cancel();
    door.serving.await.expect("it has ended");
}

#[tokio::test]
async fn a_door_refuses_in_the_form_that_its_callers_expect() {
    let door = Door::open(&address(Some("s3cret")), patient()).await.expect("a free port");
    let door = door.wording(|problem| serde_json::json!({ "sorry": problem.code }));
    let (address, shutdown) = (door.address(), CancellationToken::new());
    let serving = tokio::spawn(door.serve(hello(), Router::new(), shutdown.clone()));
    let door = Opened { address, shutdown, serving };
    let (status, said) = door.ask(&["Host: any.name"]).await;
    assert!(status == 401 && said.contains("www-authenticate"), "{said}");
    assert!(said.ends_with(r#"{"sorry":"unauthorized"}"#), "{said}");
}
