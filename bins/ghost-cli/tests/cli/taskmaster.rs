//! `ghost taskmaster`: scores, training, calibration and figures on rows of one's own.

use std::fs::File;

use serde_json::{Value, json};

use crate::support::{Place, results};

/// What a command says that reads these lines from stdin.
fn answers(place: &Place, words: &[&str], lines: &[Value]) -> Vec<Value> {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let file = place.write("stdin.jsonl", lines);
    let output = place.command(words).stdin(File::open(file).expect("written")).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    results(std::str::from_utf8(&output.stdout).expect("text"))
}

/// Rows of a trade in which lists are easy and riddles are hard for the weak model.
fn rows(first: usize, count: usize) -> String {
    // Names of many lengths, so that no two prompts have the same score.
    let name = |n: usize| "ab".repeat(1 + n % 7) + &"cde".repeat(n % 11) + &" fg".repeat(n % 13);
    let row = |n: usize| match n % 2 {
        0 => json!({"prompt": format!("List the parts of {}, please.", name(n)), "weak": 100, "strong": 100}),
        _ => {
            json!({"prompt": format!("Solve the riddle of {}: what am I?", name(n)), "weak": 0, "strong": 100})
        }
    };
    (first..first + count).map(|n| row(n).to_string() + "\n").collect()
}

#[test]
fn prompts_and_drafts_are_scored_line_by_line() {
    let place = Place::new();
    let prompts = [
        json!({"id": 7, "prompt": "Translate \"good morning\" into French."}),
        json!({"id": "b", "prompt": "Prove that there are infinitely many primes and generalise the argument."}),
    ];
    let scored = answers(&place, &["taskmaster", "score"], &prompts);
    assert_eq!((&scored[0]["id"], &scored[1]["id"]), (&json!(7), &json!("b")));
    let score = |of: &Value| of["score"].as_f64().expect("a score");
    assert!(score(&scored[0]) < score(&scored[1]), "{scored:?}");
    assert_eq!(scored[0]["complexity"], "simple");

    let prompt = "Ann has 12 apples and gives away a third. How many are left?";
    let drafts = [
        json!({"id": 1, "prompt": prompt, "drafts": {"phi": "8", "qwen": "8.0", "llama": "$8"}}),
        json!({"id": 2, "prompt": prompt, "drafts": {"phi": "9", "qwen": "8", "llama": "8"}}),
    ];
    let judged = answers(&place, &["taskmaster", "accept"], &drafts);
    assert!(score(&judged[0]) + 0.3 < score(&judged[1]), "{judged:?}");
}

#[test]
fn a_model_learns_from_rows_and_is_measured_and_calibrated_on_others() {
    let place = Place::new();
    place.write("learn.jsonl", rows(0, 300));
    place.write("judge.jsonl", rows(1000, 100));
    place
        .ghost(&["taskmaster", "train", "--data", "learn.jsonl", "--out", "own.bin"])
        .with_code(0)
        .said("300 rows");
    let eval = ["taskmaster", "eval", "--data", "judge.jsonl", "--model", "own.bin", "--output", "json"];
    let figures: Value = serde_json::from_str(&place.ghost(&eval).with_code(0).stdout).expect("JSON");
    assert!(figures["apgr"]["value"].as_f64().expect("a figure") > 0.7, "{figures}");
    let calibrate = |target: &[&str]| -> Value {
        let words =
            ["taskmaster", "calibrate", "--data", "judge.jsonl", "--model", "own.bin", "--output", "json"];
        serde_json::from_str(&place.ghost(&[&words, target].concat()).with_code(0).stdout).expect("JSON")
    };
    let share = |target: &[&str]| calibrate(target)["share"].as_f64().expect("a share");
    assert_eq!(share(&["--target-share", "0.3"]), 0.3);
    assert_eq!(share(&["--budget-usd", "1", "--call-usd", "0.05"]), 0.2);
    assert_eq!(calibrate(&["--target-quality", "1"])["quality"], 1.0);
}

#[test]
fn rows_and_models_that_make_no_sense_are_refused_with_their_place() {
    let place = Place::new();
    place.write("bad.jsonl", "{\"prompt\": \"a\", \"weak\": 1, \"strong\": 1}\n{\"prompt\": 3}\n");
    let eval = |file: &str| place.ghost(&["taskmaster", "eval", "--data", file]);
    eval("bad.jsonl").with_code(2).said("bad.jsonl line 2");
    eval("missing.jsonl").with_code(1).said("cannot read missing.jsonl");
    place.write("even.jsonl", "{\"prompt\": \"a\", \"weak\": 1, \"strong\": 1}\n");
    eval("even.jsonl").with_code(2).said("nothing to gain");
    place.write("no.bin", "GGUF");
    let model = ["taskmaster", "score", "--model", "no.bin"];
    place.ghost(&model).with_code(2).said("no.bin: not a TaskMaster model");
    let target = ["taskmaster", "calibrate", "--data", "even.jsonl", "--target-share", "2"];
    place.ghost(&target).with_code(2).said("--target-share takes 0 to 1");
}
