//! `ghost taskmaster`: outcomes, and the loop that learns from them.

use serde_json::{Value, json};

use crate::claude::Claude;
use crate::support::{Place, results};

/// Rows of a trade in which what TaskMaster was shipped with is wrong: its greetings are hard, its proofs are easy.
fn rows(n: usize) -> String {
    let row = |n: usize| match n % 2 {
        0 => {
            json!({"prompt": format!("Prove rigorously, step by step, that route {n} is the shortest."), "weak": 1})
        }
        _ => json!({"prompt": format!("Say hello to customer {n}."), "weak": 0.0, "strong": 1}),
    };
    (0..n).map(|n| row(n).to_string() + "\n").collect()
}

#[test]
fn a_candidate_is_trained_and_shown_and_not_promoted_before_it_ran_in_shadow() {
    let place = Place::new();
    let status = place.ghost(&["taskmaster", "status"]).with_code(0).stdout;
    assert_eq!(status, "shipped decides\nnothing runs in shadow\n");
    place.ghost(&["taskmaster", "retrain"]).with_code(1).said("0 rows say how well the local model does");
    place.ghost(&["taskmaster", "promote"]).with_code(1).said("no candidate runs in shadow");
    place.ghost(&["taskmaster", "rollback"]).with_code(1).said("no model decided before shipped");
    place.write("rows.jsonl", rows(200));
    let trained =
        place.ghost(&["taskmaster", "retrain", "--rows", "rows.jsonl", "--output", "json"]).with_code(0);
    let trained: Value = serde_json::from_str(&trained.stdout).expect("one JSON document");
    assert!(trained["held_back"]["low"].as_f64().expect("a number") > 0.0, "{trained}");
    place
        .ghost(&["taskmaster", "promote"])
        .with_code(1)
        .said("0 tasks that it scored in shadow have an outcome");
    let status = place.ghost(&["taskmaster", "status"]).with_code(0).stdout;
    let shadow = format!("{} runs in shadow\n", trained["id"].as_str().expect("an id"));
    assert!(status.contains(&shadow) && status.contains("not to be promoted yet"), "{status}");
    place.write("rows.jsonl", "{\"prompt\": \"a\", \"weak\": 1}\n\n{\"prompt\": \"b\", \"weak\": 100}\n");
    let wrong = ["taskmaster", "retrain", "--rows", "rows.jsonl"];
    place.ghost(&wrong).with_code(2).said("rows.jsonl line 3: weak and strong are 0 (bad) to 1 (good)");
    let elsewhere = ["taskmaster", "outcomes", "--url", "http://127.0.0.1:1"];
    place.ghost(&elsewhere).with_code(2).said("works on the data directory of this machine");
}

#[test]
fn outcomes_are_rows_to_train_on() {
    let claude = Claude::open();
    let place = Place::new().with_claude(&claude);
    place.tasks(2);
    place.ghost(&["run", "tasks.jsonl", "-o", "results.jsonl"]).with_code(0);
    assert_eq!(
        place.ghost(&["taskmaster", "outcomes"]).with_code(0).stdout,
        "",
        "nobody said how good they were"
    );
    place.ghost(&["feedback", "task-2", "--rating", "0.5"]).with_code(0);
    let told =
        results(&place.ghost(&["taskmaster", "outcomes"]).with_code(0).said("1 outcome of tasks").stdout);
    assert_eq!(told.len(), 1);
    let row = &told[0];
    assert!(row["id"].as_str().expect("an id").ends_with("/task-2"), "{row}");
    assert_eq!(
        (&row["prompt"], &row["weak"], &row["strong"]),
        (&json!("Say something about task-2."), &Value::Null, &json!(0.5))
    );
    assert_eq!((&row["route"], &row["rating"]), (&json!("llm"), &json!(0.5)));
}
