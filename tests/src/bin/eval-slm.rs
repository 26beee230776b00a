//! Prints how good the tiny SLM is on tasks that its training never saw: `make eval-slm`.
//!
//! `--wrong` shows every wrong answer as well. Exit code 1 where a goal is missed.

use std::path::PathBuf;
use std::process::ExitCode;

use ghost_tests::slm_evaluation::{Subject, read};

#[tokio::main]
async fn main() -> ExitCode {
    let models = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../models"));
    let mut gguf = models.join("ghost-tiny.gguf");
    let mut show_wrong = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--wrong" => show_wrong = true,
            path => gguf = PathBuf::from(path),
        }
    }
    let table =
        std::fs::read_to_string(gguf.with_extension("toml")).expect("the capability table beside the model");
    let held_out = read(&models.join("eval/held-out.jsonl"));
    let beyond = read(concat!(env!("CARGO_MANIFEST_DIR"), "/data/beyond.jsonl").as_ref());
    let report = Subject::load(&gguf, &table).measure(&held_out, &beyond).await;
    if show_wrong {
        for wrong in &report.wrong {
            let expected = wrong.expected.as_deref().unwrap_or("(beyond the model)");
            show(&format!(
                "{}: {:?}\n  expected: {expected}\n  answered: {} ({:.3})\n",
                wrong.task.task_type,
                wrong.task.text(),
                wrong.answer.text,
                wrong.answer.confidence.unwrap_or(0.0)
            ));
        }
    }
    show(&report.to_string());
    if report.reaches_its_goals() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "the report is this program's data")]
fn show(text: &str) {
    println!("{text}");
}
