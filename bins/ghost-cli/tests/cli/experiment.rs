//! `ghost experiment`, on the data directory and on a running swarm.

use serde_json::Value;

use crate::claude::Claude;
use crate::support::{Place, results};

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).expect("one JSON document")
}

#[test]
fn tasks_are_dealt_to_arms_counted_and_compared() {
    let claude = Claude::open();
    let place = Place::new().with_claude(&claude);
    let start = [
        "experiment",
        "start",
        "cheaper",
        "--control",
        "now",
        "--arm",
        "haiku,model=claude-haiku-4-5",
        "--metric",
        "rating",
    ];
    place.ghost(&start).with_code(0).said("cheaper runs; `ghost experiment stop cheaper` ends it");
    place.ghost(&start).with_code(0).said("cheaper runs already");
    // So many that no hash has them all in one arm.
    place.tasks(40);
    place.ghost(&["run", "tasks.jsonl", "-o", "results.jsonl"]).with_code(0);
    let results = results(&std::fs::read_to_string(place.path("results.jsonl")).expect("there are results"));
    let haikus = results.iter().filter(|result| result["metadata"]["arm"] == "haiku").count();
    assert!((1..40).contains(&haikus), "{haikus} of 40");
    for result in &results {
        assert_eq!(result["metadata"]["experiment"], "cheaper");
        let id = result["task_id"].as_str().expect("an id");
        place.ghost(&["feedback", id, "--good"]).with_code(0);
    }
    let report = json_of(&place.ghost(&["experiment", "status", "--output", "json"]).with_code(0).stdout);
    let arms = report[0]["arms"].as_array().expect("arms");
    assert_eq!(
        arms[0]["tasks"].as_u64().zip(arms[1]["tasks"].as_u64()),
        Some((40 - haikus as u64, haikus as u64))
    );
    assert_eq!((&arms[1]["rating"]["n"], &arms[1]["rating"]["mean"]), (&haikus.into(), &1.0.into()));
    assert_eq!(arms[1]["against_control"]["conclusion"], "undecided");
    let told = place.ghost(&["experiment", "status", "cheaper"]).with_code(0).stdout;
    assert!(told.contains("haiku: LLM claude-haiku-4-5; weight 1\n"), "{told}");
    assert!(told.contains("haiku against now: undecided; "), "{told}");
    let story = place.ghost(&["explain", results[0]["task_id"].as_str().expect("an id")]).with_code(0).stdout;
    assert!(story.contains(" of the experiment cheaper\n"), "{story}");

    place.ghost(&["experiment", "stop", "cheaper"]).with_code(0).said("cheaper has stopped");
    place.ghost(&start).with_code(2).said("there was another experiment cheaper");
    place.ghost(&["submit", "--id", "later", "Say something about later."]).with_code(0);
    let later = json_of(&place.ghost(&["explain", "later", "--output", "json"]).with_code(0).stdout);
    assert_eq!(later["record"]["assignment"], Value::Null);
}

#[test]
fn what_makes_no_sense_is_told_with_what_would() {
    let place = Place::new();
    place.ghost(&["experiment", "status"]).with_code(0).said("there are no experiments");
    place.ghost(&["experiment", "status", "e"]).with_code(2).said("there is no experiment e");
    place.ghost(&["experiment", "stop", "e"]).with_code(2).said("there is no experiment e");
    place.ghost(&["experiment", "start", "e"]).with_code(2).said("--control");
    let start = ["experiment", "start", "e", "--control", "a", "--arm"];
    let with = |arm: &'static str| [&start[..], &[arm]].concat();
    place.ghost(&with("b,simple=0.5")).with_code(2).said("set both thresholds or neither");
    place.ghost(&with("b,colour=red")).with_code(2).said("an arm takes weight=N");
    place.write(
        "e.json",
        r#"{"name": "e", "arms": [{"name": "a"}, {"name": "b", "system_prompt": "Be brief."}]}"#,
    );
    place.ghost(&["experiment", "start", "--file", "e.json"]).with_code(0).said("e runs");
    place
        .ghost(&["experiment", "start", "f", "--control", "a", "--arm", "b"])
        .with_code(2)
        .said("the experiment e runs");
    place.write("bad.json", "{");
    place.ghost(&["experiment", "start", "--file", "bad.json"]).with_code(2).said("bad.json: EOF");
}
