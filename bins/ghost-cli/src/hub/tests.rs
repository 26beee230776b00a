//! Pulls over real sockets, from a hub that follows a script.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ghost_core::config::{Config, Secret, Sources};
use ghost_core::retry::Backoff;
use ghost_tests::hub_server::{self, COMMIT, Fault, MODEL, Redirect};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::error::Error;
use super::hash::Hash;
use super::*;

/// A file with so many bytes after its magic number, and its SHA-256.
fn file(bytes: usize, seed: u64) -> (Vec<u8>, String) {
    let mut content = b"GGUF".to_vec();
    content.resize(4 + bytes, 0);
    fastrand::Rng::with_seed(seed).fill(&mut content[4..]);
    let mut hasher = Sha256::new();
    hasher.update(&content);
    (content, Hash::of(hasher).to_string())
}

/// A hub, and a folder for what is pulled from it.
struct Scene {
    server: hub_server::Hub,
    content: Vec<u8>,
    folder: tempfile::TempDir,
    token: Option<Secret>,
}

impl Scene {
    async fn new() -> Self {
        let (content, sha256) = file(200_000, 1);
        let server = hub_server::Hub::start(content.clone(), &sha256).await;
        let folder = tempfile::tempdir().expect("a temporary directory");
        Self { server, content, folder, token: None }
    }

    fn hub(&self) -> Hub {
        let patience = Patience {
            tries: 3,
            backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(2)).expect("it grows"),
            pause: |_| tokio::time::sleep(Duration::ZERO),
            ..Patience::default()
        };
        Hub::new(self.server.address(), self.token.clone(), patience).expect("a client")
    }

    fn reference() -> Reference {
        Reference::parse(MODEL, None).expect("a name")
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(Self::reference().path())
    }

    fn part(&self) -> PathBuf {
        self.path().with_extension("gguf.part")
    }

    /// What an earlier process left.
    fn leave(&self, part: &[u8]) {
        fs::create_dir_all(self.path().parent().expect("a folder")).expect("there is room");
        fs::write(self.part(), part).expect("there is room");
    }

    fn pin(&self) -> Option<Pin> {
        Pins::read(self.folder.path()).expect("it is sound").get(&Self::reference()).cloned()
    }

    async fn pulling(&self, update: bool, tell: &mut dyn FnMut(News)) -> Result<Pulled, Error> {
        let order = Order { reference: Self::reference(), update };
        pull(&self.hub(), self.folder.path(), &order, tell).await
    }

    async fn pull(&self) -> Result<Pulled, Error> {
        self.pulling(false, &mut |_| ()).await
    }

    async fn pulls(&self) -> Pulled {
        let pulled = self.pull().await.expect("all is well in the end");
        assert_eq!(fs::read(&pulled.path).expect("it is there"), self.content);
        assert!(!self.part().exists());
        pulled
    }

    async fn fails(&self) -> Error {
        let error = self.pull().await.expect_err("this must fail");
        assert!(!self.path().exists(), "what is not right never takes the place");
        error
    }

    /// How many calls asked for bytes.
    fn gets(&self) -> usize {
        self.server.ranges().len()
    }
}

fn secret(text: &str) -> Secret {
    let environment = vec![("HF_TOKEN".into(), text.into())];
    let sources = Sources { environment, ..Sources::default() };
    Config::load(sources).expect("a token").hub.token.expect("it was set")
}

#[tokio::test]
async fn a_model_is_pulled_pinned_and_not_asked_for_again() {
    let scene = Scene::new().await;
    let pulled = scene.pulls().await;
    assert_eq!((&pulled.path, pulled.was_here), (&scene.path(), false));
    let pin = scene.pin().expect("it is pinned");
    assert_eq!((pin.size, pin.commit.as_deref()), (scene.content.len() as u64, Some(COMMIT)));
    assert!(pin.verified.is_some());
    let calls = scene.server.journal();
    assert_eq!(calls[0].path, "/owner/repo/resolve/main/small.gguf");
    assert_eq!(
        calls[1].path,
        format!("/owner/repo/resolve/{COMMIT}/small.gguf"),
        "bytes come from the commit"
    );

    assert!(scene.pulls().await.was_here);
    assert_eq!(scene.server.journal().len(), calls.len());
    fs::write(scene.path(), b"GGUFdamaged").expect("there is room");
    assert!(!scene.pulls().await.was_here, "a damaged file is brought again");
}

#[tokio::test]
async fn the_token_goes_to_the_hub_and_to_nobody_else() {
    for redirect in [Redirect::Elsewhere, Redirect::Moved, Redirect::Relative, Redirect::Nowhere] {
        let mut scene = Scene::new().await;
        scene.token = Some(secret("hf_test"));
        scene.server.script().redirect = redirect.clone();
        scene.pulls().await;
        for call in scene.server.journal() {
            let expected = (!call.store).then_some("Bearer hf_test");
            assert_eq!(call.authorization.as_deref(), expected, "{redirect:?}: {call:?}");
        }
        let stores = matches!(redirect, Redirect::Elsewhere | Redirect::Moved);
        assert_eq!(scene.gets(), usize::from(stores), "{redirect:?}");
    }
}

#[tokio::test]
async fn a_redirect_that_leads_nowhere_or_out_of_http_is_refused() {
    for to in ["/owner/repo/resolve/main/small.gguf", "file:///etc/passwd", "http://", "ftp://127.0.0.1/x"] {
        let scene = Scene::new().await;
        scene.server.script().redirect = Redirect::To(to.to_owned());
        let error = scene.fails().await;
        assert!(matches!(error, Error::NoHub { .. }), "{to}: {error}");
    }
}

#[tokio::test]
async fn a_cut_in_the_middle_is_gone_on_from_where_it_was() {
    let scene = Scene::new().await;
    scene.server.script().faults.extend([Fault::Cut(50_000), Fault::Short(70_000)]);
    scene.pulls().await;
    let calls: Vec<_> = scene.server.journal().into_iter().filter(|call| call.store).collect();
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[0].range, None);
    for call in &calls[1..] {
        let from = call.range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        let from: usize = from.expect("a range").parse().expect("a number");
        assert!((1..=120_000).contains(&from), "{from}");
        assert!(call.if_range.is_some(), "the server is told which version the first part is from");
    }
}

#[tokio::test]
async fn what_an_earlier_process_left_is_gone_on_with() {
    let scene = Scene::new().await;
    scene.leave(&scene.content[..123_456]);
    scene.pulls().await;
    assert_eq!(scene.server.ranges(), [Some("bytes=123456-".to_owned())]);
    // All of it was there already, only not in its place.
    fs::rename(scene.path(), scene.part()).expect("it is there");
    scene.pulls().await;
    assert_eq!(scene.gets(), 1);
}

#[tokio::test]
async fn a_server_that_knows_no_ranges_sends_it_from_its_beginning() {
    let scene = Scene::new().await;
    scene.leave(&scene.content[..123_456]);
    scene.server.script().faults.extend([Fault::Whole]);
    scene.pulls().await;
    assert_eq!(scene.gets(), 1);
}

#[tokio::test]
async fn a_part_of_something_else_is_thrown_away() {
    let parts = [(b"GGUF of another model".to_vec(), 2), (b"<html>".to_vec(), 1), (vec![b'x'; 300_000], 1)];
    for (part, gets) in parts {
        let scene = Scene::new().await;
        scene.leave(&part);
        scene.pulls().await;
        assert_eq!(scene.gets(), gets);
    }
}

#[tokio::test]
async fn a_file_that_changes_while_it_comes_is_not_patched_together() {
    let scene = Scene::new().await;
    let mut changed = Some(file(200_000, 2).0);
    // The store gets another file after the cut, and the hub still announces the old one.
    scene.server.script().faults.extend([Fault::Cut(50_000)]);
    let result = scene
        .pulling(false, &mut |news| {
            // The store gets another file, and the hub still announces the old one.
            if matches!(news, News::Waiting { .. })
                && let Some(changed) = changed.take()
            {
                scene.server.script().content = changed;
            }
        })
        .await;
    assert!(matches!(result, Err(Error::Altered { .. })), "{result:?}");
    assert!(!scene.path().exists());
    assert_eq!(fs::read(scene.part()).expect("it is there"), b"");
}

#[tokio::test]
async fn another_file_than_the_pinned_one_is_refused_until_its_user_wants_it() {
    let mut scene = Scene::new().await;
    scene.pulls().await;
    fs::remove_file(scene.path()).expect("it is there");
    let (changed, sha256) = file(100_000, 2);
    scene.server.publish(changed.clone(), &sha256);
    let error = scene.fails().await;
    assert!(matches!(error, Error::Changed { .. }));
    let words = error.to_string();
    for part in ["--update", &format!("--revision {COMMIT}"), &sha256] {
        assert!(words.contains(part), "{words}");
    }
    scene.content = changed;
    let pulled = scene.pulling(true, &mut |_| ()).await.expect("it is wanted");
    assert_eq!(fs::read(&pulled.path).expect("it is there"), scene.content);
    assert_eq!(scene.pin().expect("it is pinned").sha256.to_string(), sha256);
    assert!(scene.pulling(true, &mut |_| ()).await.expect("it is the newest").was_here);
}

#[tokio::test]
async fn an_update_that_fails_leaves_the_old_file_and_its_pin() {
    let scene = Scene::new().await;
    scene.pulls().await;
    let (changed, sha256) = file(100_000, 2);
    scene.server.publish(changed, &sha256);
    scene.server.script().faults.extend([Fault::Status(400, Vec::new())]);
    let error = scene.pulling(true, &mut |_| ()).await.expect_err("the store refuses");
    assert!(matches!(error, Error::Refused { status: 400, .. }), "{error}");
    let old = scene.pull().await.expect("it is right");
    assert!(old.was_here);
    assert_eq!(fs::read(old.path).expect("it is there"), scene.content);
}

#[tokio::test]
async fn what_is_not_what_was_announced_is_thrown_away() {
    let scene = Scene::new().await;
    scene.server.script().etag = Some(format!("\"{}\"", "a".repeat(64)));
    assert!(matches!(scene.fails().await, Error::Altered { .. }));
    assert_eq!(scene.gets(), 1, "a whole answer is not asked for twice");

    for (size, fault, received) in [
        (200_005, None, Some(200_004)),
        (200_003, None, Some(200_004)),
        (200_003, Some(Fault::Unmeasured), None),
    ] {
        let scene = Scene::new().await;
        scene.server.script().size = Some(size.to_string());
        scene.server.script().faults.extend(fault);
        match scene.fails().await {
            Error::Size { announced, received: came, .. } => {
                assert_eq!(announced, size);
                assert!(came > size || received == Some(came), "{came}");
            }
            error => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn an_answer_that_always_ends_too_early_is_given_up() {
    let scene = Scene::new().await;
    scene.server.script().faults.extend(vec![Fault::Short(0); 3]);
    let error = scene.fails().await;
    assert!(matches!(error, Error::Connection { .. }), "{error}");
    assert!(error.to_string().contains("ended too early"), "{error}");
    assert_eq!(scene.gets(), 3);
}

#[tokio::test]
async fn a_hub_that_is_not_there_is_given_up() {
    let scene = Scene::new().await;
    let nobody = {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        format!("http://{}", port.local_addr().expect("it is bound"))
    };
    let hub = Hub::new(&nobody, None, scene.hub().patience().clone()).expect("a client");
    let order = Order { reference: Scene::reference(), update: false };
    let mut waits = 0;
    let result = pull(&hub, scene.folder.path(), &order, &mut |_| waits += 1).await;
    assert!(matches!(result, Err(Error::Connection { .. })), "{result:?}");
    assert_eq!(waits, 2, "three tries have two waits between them");
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let code = |code: &str| vec![("x-error-code", code.to_owned())];
    for (status, headers, token, words) in [
        (401, Vec::new(), None, "set HF_TOKEN"),
        (401, Vec::new(), Some("hf_old"), "HF_TOKEN is not valid"),
        (403, code("GatedRepo"), Some("hf_test"), "accept the model's conditions"),
        (404, code("RepoNotFound"), None, "no such repository (HTTP 404): owner/repo"),
        (404, code("RevisionNotFound"), None, "no such revision (HTTP 404): main in owner/repo"),
        (404, code("EntryNotFound"), None, "no such file (HTTP 404): small.gguf in owner/repo"),
        (404, Vec::new(), None, "no such file (HTTP 404): owner/repo/small.gguf"),
        (451, vec![("x-error-message", "not here".to_owned())], None, "refuses (HTTP 451, \"not here\")"),
    ] {
        let mut scene = Scene::new().await;
        scene.token = token.map(secret);
        scene.server.script().refusals.push_back((status, headers));
        let error = format!("{:#}", anyhow::Error::from(scene.fails().await));
        assert!(error.contains(words), "{error}");
        assert!(!error.contains("hf_"), "a token is never shown: {error}");
        assert_eq!(scene.server.journal().len(), 1, "{status} is not tried again");
        assert_eq!(scene.pin(), None);
    }
}

#[tokio::test]
async fn a_busy_hub_is_waited_for_as_long_as_it_asks_but_not_for_ever() {
    let after = |seconds: &str| vec![("retry-after", seconds.to_owned())];
    let scene = Scene::new().await;
    scene.server.script().refusals.extend([(429, after("7")), (503, Vec::new())]);
    scene.server.script().faults.extend([Fault::Status(429, after("9")), Fault::Status(403, Vec::new())]);
    let mut waits = Vec::new();
    let pulled = scene
        .pulling(false, &mut |news| {
            if let News::Waiting { wait, .. } = news {
                waits.push(wait);
            }
        })
        .await;
    assert!(pulled.is_ok(), "{pulled:?}");
    assert_eq!((waits.len(), waits[0], waits[2]), (4, Duration::from_secs(7), Duration::from_secs(9)));

    let scene = Scene::new().await;
    scene.server.script().refusals.push_back((429, after("3600")));
    let error = scene.fails().await.to_string();
    assert!(error.contains("asks to wait for 60 min"), "{error}");

    let scene = Scene::new().await;
    scene.server.script().refusals.extend(vec![(500, Vec::new()); 3]);
    assert!(matches!(scene.fails().await, Error::Server { status: 500, .. }));
}

#[tokio::test]
async fn what_could_not_be_checked_is_not_fetched() {
    for (size, etag) in [
        (None, Some("a".repeat(64))),
        (Some("200004"), None),
        (Some("many"), Some("a".repeat(64))),
        (Some("200004"), Some("a".repeat(40))),
    ] {
        let scene = Scene::new().await;
        scene.server.script().size = size.map(str::to_owned);
        scene.server.script().etag = etag;
        let error = scene.fails().await;
        assert!(matches!(error, Error::NoHub { .. }), "{error}");
        assert_eq!((scene.gets(), scene.pin()), (0, None));
    }
}

#[tokio::test]
async fn a_file_that_would_not_fit_is_not_begun() {
    for size in [1 << 62, u64::MAX] {
        let scene = Scene::new().await;
        scene.server.script().size = Some(size.to_string());
        let error = scene.fails().await;
        assert!(matches!(error, Error::Disk { needed, .. } if needed == size), "{error}");
        assert_eq!((scene.gets(), scene.pin()), (0, None));
    }
}

#[tokio::test]
async fn what_is_no_gguf_file_is_not_read_to_its_end() {
    let scene = Scene::new().await;
    scene.server.script().content = vec![b'<'; 200_004];
    assert!(matches!(scene.fails().await, Error::NotGguf { .. }));
    assert_eq!(fs::read(scene.part()).expect("it is there"), b"");
}

#[tokio::test]
async fn a_second_pull_of_a_file_is_told_who_pulls_it_and_loses_nothing() {
    let scene = Scene::new().await;
    scene.server.script().faults.extend([Fault::Silence(50_000)]);
    let (begun, began) = oneshot::channel();
    let mut begun = Some(begun);
    let mut tell = |news| {
        if matches!(news, News::Coming { .. })
            && let Some(begun) = begun.take()
        {
            begun.send(()).expect("somebody waits");
        }
    };
    let second = tokio::select! {
        first = scene.pulling(false, &mut tell) => panic!("the store is silent, and yet: {first:?}"),
        second = async {
            began.await.expect("the first one begins");
            scene.pull().await
        } => second,
    };
    match second {
        Err(Error::Held { holder }) => {
            assert!(holder.contains("ghost models pull owner/repo/small.gguf"), "{holder}")
        }
        other => panic!("{other:?}"),
    }
    // The first one is gone, and what it brought is not.
    scene.pulls().await;
    assert_eq!(scene.gets(), 2);
    assert!(scene.server.ranges()[1].is_some());
}

#[tokio::test]
async fn a_pulled_model_is_the_local_one_by_its_name() {
    let scene = Scene::new().await;
    let data = scene.folder.path().to_owned();
    let models = data.join(FOLDER);
    let order = Order { reference: Scene::reference(), update: false };
    let config = |more: &[(&str, &str)]| {
        let mut environment = vec![("GHOST_DATA".into(), data.clone().into_os_string())];
        environment.extend(more.iter().map(|(name, value)| (name.into(), value.into())));
        let mut config = Config::load(Sources { environment, ..Sources::default() }).expect("right");
        let warning = resolve(&mut config);
        (config.slm.model_path, warning)
    };
    let (path, warning) = config(&[("SLM_MODEL", MODEL)]);
    assert_eq!(path, None);
    assert!(warning.expect("a warning").contains("`ghost models pull owner/repo/small.gguf` brings it"));
    let pulled = pull(&scene.hub(), &models, &order, &mut |_| ()).await.expect("all is well");
    for name in [MODEL, "small", "small.gguf"] {
        assert_eq!(config(&[("SLM_MODEL", name)]), (Some(pulled.path.clone()), None), "{name}");
    }
    assert!(config(&[("SLM_MODEL", "smal")]).1.expect("a warning").contains("ghost models list"));
    for more in [&[][..], &[("SLM_MODEL", "ghost-tiny")], &[("SLM_MODEL", "x"), ("SLM_PROVIDER", "none")]] {
        assert_eq!(config(more), (None, None));
    }
    let other = [("SLM_MODEL", "small"), ("SLM_MODEL_PATH", "other.gguf")];
    assert_eq!(config(&other), (Some("other.gguf".into()), None), "a path is more than a name");
}
