//! `ghost models`, with a hub on this machine.

use ghost_tests::hub_server::{Fault, Hub, MODEL};
use serde_json::Value;

use crate::support::Place;

const TINY: &[u8] = include_bytes!("../../../../models/ghost-tiny.gguf");

/// The SHA-256 of a file, as `sha256sum` tells it.
fn sha256(content: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A place with a hub that has a model which llama.cpp can load.
async fn place() -> (Place, Hub) {
    let hub = Hub::start(TINY.to_vec(), &sha256(TINY)).await;
    let place = Place::new().with("HF_ENDPOINT", hub.address()).with("HF_TOKEN", "hf_secret");
    (place, hub)
}

fn listed(place: &Place) -> Vec<Value> {
    let list = place.ghost(&["models", "list", "--output", "json"]).with_code(0);
    serde_json::from_str(&list.stdout).expect("one JSON document")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_model_is_listed_verified_and_answers_by_its_name() {
    let (place, hub) = place().await;
    let pulled = place.ghost(&["models", "pull", MODEL, "-vv"]).with_code(0).said(&sha256(TINY));
    assert!(!pulled.stderr.contains("hf_secret"), "{}", pulled.stderr);
    let path = place.path("data/models/owner/repo/main/small.gguf");
    let path = path.canonicalize().expect("it is there");
    assert_eq!(pulled.stdout, format!("SLM_MODEL_PATH={}\n", path.display()));
    assert!(hub.journal().iter().all(|call| call.authorization.is_some() != call.store));

    let rows = listed(&place);
    let row = rows.iter().find(|row| row["model"] == "small").expect("it is listed");
    assert_eq!(row["pulled"]["size"], TINY.len());
    assert_eq!(row["pulled"]["revision"], "main");
    assert!(row["pulled"]["verified"].is_string(), "{row}");
    assert!(rows.iter().any(|row| row["to_pull"] == "phi-3-mini"));
    place.ghost(&["models", "verify", "small"]).with_code(0);

    let place = place.with("SLM_PROVIDER", "llama_cpp").with("SLM_MODEL", MODEL);
    assert!(listed(&place).iter().any(|row| row["model"] == "small" && row["used"] == true));
    let doctor = place.ghost(&["doctor", "--output", "json"]);
    assert!(doctor.stdout.contains("small loads in"), "{}", doctor.stdout);
    assert!(!doctor.stdout.contains("hf_secret"));

    let mut damaged = TINY.to_vec();
    damaged[TINY.len() / 2] ^= 1;
    std::fs::write(&path, damaged).expect("there is room");
    let verified = place.ghost(&["models", "verify", "--output", "json"]).with_code(1);
    let rows: Value = serde_json::from_str(&verified.stdout).expect("one JSON document");
    assert_eq!(rows[0]["state"], "damaged");
    place.ghost(&["models", "list"]).with_code(0).said("brings it; the built-in model answers");
    place.ghost(&["models", "pull", MODEL]).with_code(0);
    place.ghost(&["models", "verify"]).with_code(0);
    std::fs::remove_file(&path).expect("it is there");
    let verified = place.ghost(&["models", "verify"]).with_code(1);
    assert!(verified.stdout.contains("missing"), "{}", verified.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_pull_goes_on_where_it_was() {
    let (place, hub) = place().await;
    hub.script().faults.push_back(Fault::Silence(TINY.len() / 2));
    let mut running = place.start(&["models", "pull", MODEL]);
    running.wait_for("here");
    running.interrupt();
    running.end().with_code(130).said("goes on where this one was");
    place.ghost(&["models", "pull", MODEL]).with_code(0);
    assert_eq!(hub.ranges().len(), 2);
    assert!(hub.ranges()[1].is_some(), "only the rest was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_cannot_be_says_what_to_try() {
    let (place, hub) = place().await;
    for (words, said) in [
        (&["models", "pull", "../../etc/passwd.gguf"][..], "is no repository"),
        (&["models", "pull", "owner/repo/../../x.gguf"], "is no file of a repository"),
        (&["models", "pull", "phi-4000"], "is no model of the catalogue (phi-3-mini"),
        (&["models", "pull", MODEL, "--revision", "a b"], "is no revision"),
        (&["models", "verify", "phi-3-mini"], "was not pulled"),
    ] {
        place.ghost(words).with_code(2).said(said);
    }
    assert_eq!(hub.journal(), []);
    hub.script().refusals.push_back((404, Vec::new()));
    place.ghost(&["models", "pull", MODEL]).with_code(1).said("look for its exact name there");
    hub.script().refusals.push_back((429, vec![("retry-after", "3600".to_owned())]));
    place.ghost(&["models", "pull", MODEL]).with_code(1).said("now; try again later, what has come is kept");
    place.ghost(&["models", "verify"]).with_code(0).said("no model was pulled");
}
