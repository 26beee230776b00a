//! Replays recorded outcomes through the loop in which TaskMaster learns, and tells each step: `scripts/learning-loop`.
//!
//! Outcomes are JSON lines with `prompt` and `weak`, as `ghost taskmaster outcomes` prints them; made-up ones where no file
//! is named. Exit code 1 where a step fails, as where the candidate is not better with confidence.

use std::path::Path;
use std::process::ExitCode;

use ghost_core::learning::outcomes::Row;
use ghost_tests::learning_loop::{made_up, replay};

#[tokio::main]
async fn main() -> ExitCode {
    let rows = match std::env::args().nth(1) {
        Some(file) => match read(file.as_ref()) {
            Ok(rows) => rows,
            Err(why) => return failed(&why),
        },
        None => made_up(400),
    };
    match replay(&rows, &mut |line| show(&line)).await {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

fn read(file: &Path) -> Result<Vec<Row>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let row = |(at, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| format!("{} line {}: {error}", file.display(), at + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(row).collect()
}

fn failed(why: &str) -> ExitCode {
    show(&format!("stopped: {why}"));
    ExitCode::FAILURE
}

#[expect(clippy::print_stdout, reason = "the report is this program's data")]
fn show(text: &str) {
    println!("{text}");
}
