//! A door with a swarm behind it, and a caller who checks every answer against the OpenAPI document.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use ghost_core::broker::Broker;
use ghost_core::config::{Config as Settings, Sources};
use ghost_core::taskmaster::route::Available;
use ghost_orchestrator::api::{self, Api, Config, OPENAPI};
use ghost_orchestrator::{Handle, Orchestrator};
use ghost_service::door;
use ghost_tests::swarm::taskmaster;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Everything that the door answers with.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
}

impl Reply {
    /// Fails the test unless it has this status.
    #[track_caller]
    pub(crate) fn with(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.json);
        self
    }

    /// Fails the test unless it is this error.
    #[track_caller]
    pub(crate) fn says(self, status: u16, code: &str) -> Self {
        let reply = self.with(status);
        assert_eq!(reply.json["error"]["code"], code, "{}", reply.json);
        reply
    }

    /// The words of an error.
    pub(crate) fn message(&self) -> &str {
        self.json["error"]["message"].as_str().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// An open door.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    client: Client,
    token: Option<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A config of a door on a free port.
pub(crate) fn config(token: Option<&str>) -> Config {
    let mut flags = vec![("ORCHESTRATOR_PORT".to_owned(), "0".to_owned())];
    flags.extend(token.map(|token| ("GHOST_API_TOKEN".to_owned(), token.to_owned())));
    let settings = Settings::load(Sources { flags, ..Sources::default() }).expect("good settings");
    // No test waits for a limit that it does not set itself.
    let never = Duration::from_secs(3600);
    let limits = door::Limits { head: never, body: never, write: never, ..door::Limits::default() };
    Config { limits, heartbeat: never, ..Config::from(&settings) }
}

/// An orchestrator over a store, with nobody else.
pub(crate) fn handle(broker: Arc<dyn Broker>) -> Handle {
    let available = Available { slm: None, llm: true, hybrid: true };
    let deps = ghost_orchestrator::Deps { broker, taskmaster: Arc::new(taskmaster()), available };
    Orchestrator::build(ghost_orchestrator::Config::default(), deps).handle()
}

impl Server {
    /// A door to this orchestrator.
    pub(crate) async fn to(handle: Handle) -> Self {
        Self::with(config(None), handle).await
    }

    pub(crate) async fn with(config: Config, handle: Handle) -> Self {
        let token = config.address.token.as_ref().map(|token| token.reveal().to_owned());
        let api = Api::build(config, api::Deps { handle, open: Router::new() }).await.expect("a free port");
        let (address, shutdown) = (api.address(), CancellationToken::new());
        tokio::spawn(api.run(shutdown.clone()));
        let client = Client::builder().no_proxy().build().expect("a client");
        Self { address, shutdown, client, token }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, self.url(path));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.call(Method::DELETE, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(Method::POST, path, Some(body.to_string().into_bytes())).await
    }

    /// Posts these very bytes as JSON.
    pub(crate) async fn post_bytes(&self, path: &str, body: &[u8]) -> Reply {
        self.call(Method::POST, path, Some(body.to_owned())).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Reply {
        let mut request = self.request(method.clone(), path);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        checked(&method, path, request.send().await.expect("the door answers")).await
    }
}

/// A whole reply, held against the document.
pub(crate) async fn checked(method: &Method, path: &str, response: Response) -> Reply {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.expect("a whole answer");
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let json = match kind {
        "application/json" => serde_json::from_slice(&body).expect("an answer in JSON"),
        _ => Value::from(String::from_utf8_lossy(&body).as_ref()),
    };
    let reply = Reply { status, headers: headers.clone(), json };
    let document = document();
    let named = path.split('?').next().expect("there is a first part");
    let Some((_, operations)) = template(&document, named) else {
        // What is not there is told like any other error.
        assert_eq!(status, 404, "{path} is not in the document: {}", reply.json);
        fits(&document, json!({ "$ref": "#/components/schemas/Error" }), &reply.json);
        return reply;
    };
    let Some(operation) = operations.get(method.as_str().to_lowercase()) else {
        assert_eq!(status, 405, "{method} {path} is not in the document: {}", reply.json);
        fits(&document, json!({ "$ref": "#/components/schemas/Error" }), &reply.json);
        return reply;
    };
    let told = &operation["responses"][status.to_string()];
    assert!(told.is_object(), "{method} {path} does not tell of {status}: {}", reply.json);
    let told = match told["$ref"].as_str() {
        Some(there) => document.pointer(there.trim_start_matches('#')).expect("it is there"),
        None => told,
    };
    for (name, _) in told["headers"].as_object().into_iter().flatten() {
        assert!(headers.contains_key(name.to_lowercase()), "{method} {path}: {status} without {name}");
    }
    if let Some(content) = told.get("content") {
        let schema = &content[kind.split(';').next().expect("there is a first part")]["schema"];
        assert!(schema.is_object(), "{method} {path}: {status} with an answer in {kind}");
        fits(&document, schema.clone(), &reply.json);
    }
    reply
}

pub(crate) fn document() -> Value {
    serde_json::from_str(OPENAPI).expect("the document is JSON")
}

/// The path of the document that this one is an example of, and what may be done there.
fn template<'a>(document: &'a Value, path: &str) -> Option<(&'a String, &'a Value)> {
    let parts: Vec<&str> = path.split('/').collect();
    let like = |template: &str| {
        let of: Vec<&str> = template.split('/').collect();
        of.len() == parts.len() && of.iter().zip(&parts).all(|(of, part)| of == part || of.starts_with('{'))
    };
    document["paths"].as_object().expect("there are paths").iter().find(|(template, _)| like(template))
}

/// Fails the test unless the value is what the schema says.
#[track_caller]
pub(crate) fn fits(document: &Value, schema: Value, value: &Value) {
    let mut whole = json!({ "allOf": [schema] });
    whole["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&whole).expect("the document's schemas are valid");
    let problems: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(problems.is_empty(), "{problems:#?}\nin {value:#}");
}
