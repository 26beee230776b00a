//! Speaks with a hub: asks what a file is, and opens its bytes from any place on.
//!
//! A hub serves a file at `OWNER/REPO/resolve/REVISION/FILE` and says in its own answer how large it is
//! (`X-Linked-Size`), what its SHA-256 is (`X-Linked-Etag`) and which commit the revision stands for
//! (`X-Repo-Commit`); the answer itself leads to a server that has the bytes. The token goes to the hub alone: redirects
//! are followed here, hop by hop, and not by the client.

use std::time::Duration;

use ghost_core::config::Secret;
use ghost_core::retry::{self, Backoff};
use jiff::Timestamp;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode, Url};
use tokio::time::Sleep;

use super::error::Error;
use super::hash::Hash;
use super::reference::Reference;

/// So many hops lead to the bytes, or nowhere.
const HOPS: usize = 6;

/// How long to wait for what, and how often to try.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    /// For a connection.
    pub(crate) connect: Duration,
    /// Without a byte from the other side.
    pub(crate) silence: Duration,
    /// How many times in a row something may fail.
    pub(crate) tries: u32,
    /// Between tries, where the server asks for nothing else.
    pub(crate) backoff: Backoff,
    /// A server that asks for more than this is not waited for.
    pub(crate) longest: Duration,
    /// What waiting is.
    pub(crate) pause: fn(Duration) -> Sleep,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(60),
            tries: 6,
            backoff: Backoff::growing(Duration::from_secs(1), Duration::from_secs(30)),
            longest: Duration::from_secs(120),
            pause: tokio::time::sleep,
        }
    }
}

/// A hub.
#[derive(Debug)]
pub(crate) struct Hub {
    client: Client,
    endpoint: Url,
    token: Option<Secret>,
    patience: Patience,
}

/// What the hub says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    /// In bytes.
    pub(crate) size: u64,
    /// Of the whole file.
    pub(crate) sha256: Hash,
    /// What the revision stands for.
    pub(crate) commit: Option<String>,
}

/// The bytes of a file, from some place on.
#[derive(Debug)]
pub(crate) struct Bytes {
    response: Response,
    /// The place.
    pub(crate) from: u64,
    /// By which the server knows this version of the file again; none where it has no strong one.
    pub(crate) etag: Option<String>,
    /// The SHA-256 that the hub named on the way.
    pub(crate) sha256: Option<Hash>,
}

impl Hub {
    /// The hub at an address, for whoever has this token.
    pub(crate) fn new(endpoint: &str, token: Option<Secret>, patience: Patience) -> Result<Self, Error> {
        let endpoint = Url::parse(endpoint).map_err(|error| Error::Client(error.to_string()))?;
        let mut client = Client::builder()
            .connect_timeout(patience.connect)
            .read_timeout(patience.silence)
            .redirect(Policy::none())
            .user_agent(concat!("ghost-swarm/", env!("CARGO_PKG_VERSION")));
        if endpoint.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]")) {
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| Error::Client(words(error)))?;
        Ok(Self { client, endpoint, token, patience })
    }

    /// How patient to be with it.
    pub(crate) fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Its host, for a message.
    pub(crate) fn host(&self) -> String {
        host(&self.endpoint)
    }

    /// Asks what a file is, and reads none of it.
    pub(crate) async fn describe(&self, reference: &Reference) -> Result<Description, Error> {
        let start = reference.url(&self.endpoint, reference.revision());
        let labels = self.walk(Method::HEAD, start, reference, None).await?.labels;
        let missing = |what: &str| Error::NoHub {
            host: self.host(),
            what: format!("its answer has no {what}, so nothing that it sends could be checked"),
        };
        Ok(Description {
            size: labels.size.ok_or_else(|| missing("X-Linked-Size"))?,
            sha256: labels.sha256.ok_or_else(|| missing("X-Linked-Etag with a SHA-256"))?,
            commit: labels.commit,
        })
    }

    /// Opens a file from a place on, or from its beginning where a server wants it so; `etag` tells the server which
    /// version the bytes before that place are from. `size` is what the whole file must have.
    pub(crate) async fn open(
        &self,
        reference: &Reference,
        commit: Option<&str>,
        size: u64,
        from: u64,
        etag: Option<&str>,
    ) -> Result<Bytes, Error> {
        let start = reference.url(&self.endpoint, commit.unwrap_or(reference.revision()));
        let part = (from > 0).then_some(Part { from, etag });
        let Answer { response, labels } = self.walk(Method::GET, start, reference, part).await?;
        let host = host(response.url());
        let odd = |what: &str| Error::NoHub { host: host.clone(), what: what.to_owned() };
        let at = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = header(response.headers(), CONTENT_RANGE.as_str()).and_then(content_range);
                let (at, total) = range.ok_or_else(|| odd("it sends a part and does not say which"))?;
                if at != from || total.is_some_and(|total| total != size) {
                    return Err(odd("it sends another part than was asked for"));
                }
                at
            }
            StatusCode::OK => match response.content_length() {
                Some(length) if length != size => {
                    return Err(Error::Size { host, announced: size, received: length });
                }
                _ => 0,
            },
            _ => return Err(odd("it sends no bytes")),
        };
        let etag = header(response.headers(), ETAG.as_str()).filter(|etag| etag.starts_with('"'));
        let etag = etag.map(str::to_owned);
        Ok(Bytes { response, from: at, etag, sha256: labels.sha256 })
    }

    /// Follows redirects to an answer. Whoever only wants to know what the file is need not follow them out of the hub.
    async fn walk(
        &self,
        method: Method,
        start: Url,
        reference: &Reference,
        part: Option<Part<'_>>,
    ) -> Result<Answer, Error> {
        let mut labels = Labels::default();
        let mut url = start;
        for _ in 0..HOPS {
            let at_the_hub = url.origin() == self.endpoint.origin();
            let mut request = self.client.request(method.clone(), url.clone());
            // A compressed answer would have another length, and could not be gone on with.
            request = request.header(ACCEPT_ENCODING, "identity");
            if let Some(token) = self.token.as_ref().filter(|_| at_the_hub) {
                request = request.bearer_auth(token.reveal());
            }
            if let Some(Part { from, etag }) = part {
                request = request.header(RANGE, format!("bytes={from}-"));
                if let Some(etag) = etag {
                    request = request.header(IF_RANGE, etag);
                }
            }
            let response = request
                .send()
                .await
                .map_err(|error| Error::Connection { host: host(&url), reason: words(error) })?;
            if at_the_hub {
                labels.read(response.headers());
            }
            let status = response.status();
            if status.is_success()
                || (method == Method::HEAD && status.is_redirection() && labels.are_enough())
            {
                return Ok(Answer { response, labels });
            }
            if !status.is_redirection() {
                return Err(self.refusal(&response, reference));
            }
            let odd = |what: &str| Error::NoHub { host: host(&url), what: what.to_owned() };
            let to = header(response.headers(), LOCATION.as_str());
            let to = to.ok_or_else(|| odd("it redirects to nowhere"))?;
            let to = url.join(to).map_err(|_| odd("it redirects to what is no address"))?;
            if !matches!(to.scheme(), "http" | "https") || (url.scheme() == "https" && to.scheme() != "https")
            {
                return Err(odd("it redirects to an address that is not safe"));
            }
            if method == Method::HEAD && to.origin() != self.endpoint.origin() {
                // Only the hub's own word counts, and this was all of it.
                return Ok(Answer { response, labels });
            }
            url = to;
        }
        Err(Error::NoHub { host: host(&url), what: "it redirects in circles".to_owned() })
    }

    fn refusal(&self, response: &Response, reference: &Reference) -> Error {
        let (url, headers) = (response.url(), response.headers());
        let status = response.status().as_u16();
        let host = host(url);
        let code = header(headers, "x-error-code");
        let repository = reference.repository().to_owned();
        let at_the_hub = url.origin() == self.endpoint.origin();
        match status {
            401 if at_the_hub => Error::Unauthorized {
                host,
                repository,
                next: match self.token {
                    Some(_) => "HF_TOKEN is not valid there; make a new one",
                    None => {
                        "if the name is right, set HF_TOKEN to an access token of an account that may read it"
                    }
                },
            },
            403 if at_the_hub => Error::Forbidden { host, repository },
            404 if at_the_hub => {
                let revision = reference.revision();
                let (what, sought) = match code {
                    Some("RepoNotFound") => ("repository", repository),
                    Some("RevisionNotFound") => ("revision", format!("{revision} in {repository}")),
                    Some("EntryNotFound") => ("file", format!("{} in {repository}", reference.file())),
                    _ => ("file", reference.to_string()),
                };
                Error::NotFound { host, what, sought }
            }
            429 | 503 => {
                let wait = header(headers, RETRY_AFTER.as_str());
                let wait = wait.and_then(|text| retry::retry_after(text.trim(), Timestamp::now()));
                Error::Busy { host, status, wait }
            }
            408 | 500..=599 => Error::Server { host, status },
            // The address of the bytes is valid for a while only; the hub names a new one.
            401 | 403 | 410 => Error::Server { host, status },
            _ => {
                let message = header(headers, "x-error-message").unwrap_or_default().to_owned();
                Error::Refused { host, status, message }
            }
        }
    }
}

impl Bytes {
    /// The next of them; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<impl AsRef<[u8]>>, Error> {
        let host = self.host();
        self.response.chunk().await.map_err(|error| Error::Connection { host, reason: words(error) })
    }

    /// Who sends them, for a message.
    pub(crate) fn host(&self) -> String {
        host(self.response.url())
    }
}

#[derive(Clone, Copy)]
struct Part<'a> {
    from: u64,
    etag: Option<&'a str>,
}

struct Answer {
    response: Response,
    labels: Labels,
}

/// What the hub said on the way.
#[derive(Debug, Default)]
struct Labels {
    size: Option<u64>,
    sha256: Option<Hash>,
    commit: Option<String>,
}

impl Labels {
    /// Takes what an answer has; a repository that has moved says it at its new place.
    fn read(&mut self, headers: &HeaderMap) {
        if let Some(size) = header(headers, "x-linked-size").and_then(|text| text.parse().ok()) {
            self.size = Some(size);
        }
        let etag = header(headers, "x-linked-etag");
        if let Some(hash) = etag.and_then(|etag| etag.trim_start_matches("W/").trim_matches('"').parse().ok())
        {
            self.sha256 = Some(hash);
        }
        let is_commit =
            |text: &&str| matches!(text.len(), 7..=64) && text.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(commit) = header(headers, "x-repo-commit").filter(is_commit) {
            self.commit = Some(commit.to_owned());
        }
    }

    fn are_enough(&self) -> bool {
        self.size.is_some() && self.sha256.is_some()
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Where a part begins, and how large the whole is, from `bytes 5-9/10`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((from.trim().parse().ok()?, total))
}

/// The host, and the port where it is not the usual one.
fn host(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// An error's innermost cause, without the address: that of the bytes is a secret for a while.
fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let timed_out = error.is_timeout();
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        words = error.to_string();
        cause = error.source();
    }
    if timed_out { "no answer in time".to_owned() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_says_where_it_begins() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for odd in ["bytes */10", "5-9/10", "bytes 5/10", "bytes a-9/10", "bytes 5-9/x", ""] {
            assert_eq!(content_range(odd), None, "{odd}");
        }
    }
}
