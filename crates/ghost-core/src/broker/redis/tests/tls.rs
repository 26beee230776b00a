//! A Redis that is reached over TLS, as those of cloud providers are.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::broker::testing::free_port;

/// A server that talks TLS, and the file with the certificate of who signed its own.
struct Encrypted {
    _server: RedisServer,
    directory: tempfile::TempDir,
    port: u16,
}

impl Encrypted {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let path = directory.path();
        openssl(
            path,
            "req -x509 -days 2 -subj /CN=authority -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem",
        );
        openssl(path, "req -subj /CN=localhost -newkey rsa:2048 -nodes -keyout key.pem -out request.pem");
        std::fs::write(path.join("names"), "subjectAltName = DNS:localhost").expect("room for a name");
        let sign = "x509 -req -days 2 -in request.pem -CA ca.pem -CAkey ca.key -set_serial 1 -extfile names -out cert.pem";
        openssl(path, sign);
        let port = free_port();
        let file = |name: &str| path.join(name).to_str().expect("a path in UTF-8").to_owned();
        let server = RedisServer::with(&[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &file("cert.pem"),
            "--tls-key-file",
            &file("key.pem"),
            "--tls-ca-cert-file",
            &file("ca.pem"),
            "--tls-auth-clients",
            "no",
        ]);
        Self { _server: server, directory, port }
    }

    async fn connect(&self, ca: Option<&Path>) -> Result<RedisBroker, Error> {
        let url = format!("rediss://localhost:{}", self.port);
        // Nobody else is waited for: a signer that is unknown stays so.
        let patience = if ca.is_some() { Duration::from_secs(10) } else { Duration::ZERO };
        RedisBroker::connect(Config { url, ca: ca.map(Path::to_owned), patience, ..Config::default() }).await
    }
}

fn openssl(directory: &Path, arguments: &str) {
    let done = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output();
    let done = done.expect("openssl is missing: run `scripts/install-tools --tests`");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn tasks_and_news_go_over_tls_where_the_signer_is_known() {
    let redis = Encrypted::start();
    let broker = redis.connect(Some(&redis.directory.path().join("ca.pem"))).await.expect("it is trusted");
    let mut news = broker.subscribe().await.expect("one can listen");
    let record = own::submit(&broker, "a").await;
    assert_eq!(broker.get(&record.key).await, Ok(Some(record.clone())));
    assert_eq!(news.next().await, Some(News::Changed(record.key, Status::Pending)));
}

#[tokio::test]
async fn a_signer_that_nobody_knows_is_not_trusted() {
    let redis = Encrypted::start();
    let error = redis.connect(None).await.expect_err("nobody knows it");
    assert!(
        matches!(&error, Error::Unavailable(words) if words.contains("REDIS_CA names a file")),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_without_certificates_or_an_address_without_tls_is_told_apart() {
    let refused = async |url: &str, ca: &Path| {
        let config = Config { url: url.to_owned(), ca: Some(ca.to_owned()), ..Config::default() };
        match RedisBroker::connect(config).await {
            Err(Error::Misconfigured(words)) => words,
            other => panic!("{other:?}"),
        }
    };
    let empty = tempfile::NamedTempFile::new().expect("a file");
    let words = refused("rediss://localhost:1", Path::new("/no/such/file.pem")).await;
    assert!(words.contains("/no/such/file.pem"), "{words}");
    assert!(refused("rediss://localhost:1", empty.path()).await.contains("no certificate"));
    assert!(refused("redis://localhost:1", empty.path()).await.contains("rediss://"));
}
