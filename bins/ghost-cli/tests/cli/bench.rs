//! `ghost bench`, with the built-in model: what it prints, not how fast this machine is.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::Place;

/// Short, and nothing of this machine's own tools.
const QUICK: [&str; 8] = ["bench", "slm", "--tiny", "--quick", "--rounds", "1", "--output", "json"];

fn place() -> Place {
    let place = Place::new();
    let (cache, home) = (place.path("cache"), place.path("home"));
    let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
    place.with("XDG_CACHE_HOME", &text(cache)).with("HOME", &text(home)).with("PATH", "/nowhere")
}

fn report(place: &Place, more: &[&str]) -> (Value, String) {
    let ended = place.ghost(&[&QUICK[..], more].concat()).with_code(0);
    (serde_json::from_str(&ended.stdout).expect("one JSON document"), ended.stderr)
}

fn names(report: &Value) -> Vec<&str> {
    let rows = report["rows"].as_array().expect("a list");
    rows.iter().map(|row| row["name"].as_str().expect("a name")).collect()
}

fn row<'a>(report: &'a Value, name: &str) -> &'a Value {
    let rows = report["rows"].as_array().expect("a list");
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name} is missing in {report}"))
}

/// A folder of tools that say what a script says.
fn tools(place: &Place, scripts: &[(&str, &str)]) -> PathBuf {
    let folder = place.path("tools");
    std::fs::create_dir_all(&folder).expect("there is room");
    for (name, script) in scripts {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("there is room");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    folder
}

#[test]
fn without_a_reference_its_columns_stay_empty() {
    let place = place();
    let (report, said) = report(&place, &["--only", "decode,prefill,prefix"]);
    let prefix =
        ["", "/beyond_unread", "/unread", "/cached", "/first"].map(|rest| format!("prefix/512{rest}"));
    let paces = [1, 4, 16].map(|count| [format!("decode/{count}"), format!("prefill/{count}")]);
    let expected: Vec<String> = paces.into_iter().flatten().chain(prefix).collect();
    assert_eq!(names(&report), expected);
    for row in report["rows"].as_array().expect("a list") {
        assert!(row["value"].is_number() && row["unit"].is_string(), "{row}");
        assert!(row["reference"].is_null() && row["ratio"].is_null(), "{row}");
    }
    assert!(row(&report, "decode/1")["value"].as_f64() > Some(0.0));
    assert!(row(&report, "prefix/512/cached")["value"].as_f64() >= Some(512.0), "{report}");
    assert!(report["reference"]["batched_bench"].is_null());
    assert!(said.contains("make llama-reference"), "{said}");
    assert!(report["llama_cpp"].as_str().is_some_and(|text| text.starts_with("llama-cpp-sys-2 ")));
}

#[test]
fn the_reference_gets_our_flags_and_its_figures_make_the_ratios() {
    let place = place();
    let line = r#"{"pp": 16, "tg": 8, "pl": 4, "speed_pp": 0.5, "speed_tg": 0.25}"#;
    // It fails with four sequences, and with sixteen it ends once without a word.
    let bench = format!(
        "case \"$*\" in\n\
           *--version*) echo 'version: 7 (abcdef)' >&2; exit;;\n\
           *'-npl 4 '*) echo 'out of memory' >&2; exit 1;;\n\
           *'-npl 16 '*) if ! [ -e silent ]; then : >silent; exit; fi;;\n\
         esac\n\
         echo '{line}'"
    );
    let folder = tools(&place, &[("llama-batched-bench", &bench)]);
    let folder = folder.to_str().expect("UTF-8");
    let (report, said) = report(&place, &["--only", "decode", "--llama-bin", folder]);
    assert_eq!(names(&report), ["decode/1", "decode/4", "decode/16"]);
    let one = row(&report, "decode/1");
    let (value, ratio) = (one["value"].as_f64().expect("ours"), one["ratio"].as_f64().expect("a ratio"));
    assert_eq!(one["reference"], 0.25);
    assert!((ratio / (value / 0.25) - 1.0).abs() < 0.01, "{one}");
    let four = row(&report, "decode/4");
    assert!(four["reference"].is_null() && four["ratio"].is_null() && four["value"].is_number(), "{four}");
    assert!(said.contains("out of memory"), "{said}");
    assert_eq!(row(&report, "decode/16")["reference"], 0.25);
    assert_eq!(report["reference"]["version"], "7 (abcdef)");
    let commands = report["commands"].as_array().expect("a list");
    let sixteen = commands.iter().filter_map(Value::as_str).find(|text| text.contains("-npl 16"));
    let threads = report["model"]["threads"].to_string();
    assert!(
        sixteen.is_some_and(|text| text.contains(&format!("-t {threads} -tb {threads} -fa auto"))),
        "{commands:?}"
    );
}

#[test]
fn a_server_that_does_not_start_leaves_our_own_figures() {
    let place = place();
    let folder = tools(&place, &[("llama-server", "echo 'no such flag' >&2; exit 1")]);
    let folder = folder.to_str().expect("UTF-8");
    let (report, said) = report(&place, &["--only", "serve", "--llama-bin", folder]);
    assert_eq!(names(&report), ["serve/16/throughput", "serve/16/ttft_p99"]);
    assert!(row(&report, "serve/16/throughput")["ratio"].is_null());
    assert!(said.contains("no such flag"), "{said}");
}

#[test]
fn what_cannot_be_measured_is_said_before_anything_is() {
    let place = place();
    place.ghost(&["bench", "slm", "--llama-bin", "nowhere"]).with_code(2).said("no folder");
    place.ghost(&["bench", "slm", "--model", "nowhere.gguf"]).with_code(2).said("no file");
}

#[test]
fn a_model_of_ones_own_is_measured_with_a_recommendation() {
    let place = place();
    let bench = place.ghost(&["models", "bench", "ghost-tiny", "--output", "json"]).with_code(0);
    let report: Value = serde_json::from_str(&bench.stdout).expect("one JSON document");
    assert_eq!(report["model"], "ghost-tiny");
    let counts: Vec<_> =
        report["rows"].as_array().expect("a list").iter().map(|row| &row["sequences"]).collect();
    assert_eq!(counts, [1, 2, 4, 8, 16]);
    assert!(report["rows"][0]["decode"].as_f64() > Some(0.0));
    assert!(
        report["recommendation"][0].as_str().is_some_and(|words| words.contains("SLM_PARALLEL=")),
        "{report}"
    );
    place.ghost(&["models", "bench"]).with_code(2).said("name a file");
    place.ghost(&["models", "bench", "unheard-of"]).with_code(2).said("no such file");
}
